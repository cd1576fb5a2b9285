"""Hypothesis strategies for every kind of case, in named regimes."""

from detr_spec.strategies.apart import apart_cases
from detr_spec.strategies.calls import called_cases
from detr_spec.strategies.close_calls import close_calls
from detr_spec.strategies.coco import CocoImage, coco_images
from detr_spec.strategies.detections import detection_cases
from detr_spec.strategies.distributions import edge_terms, with_edges
from detr_spec.strategies.features import feature_cases, image_cases, padding_regime, sizes_regime
from detr_spec.strategies.large import (
    large_box_cases,
    large_cost_cases,
    large_detection_cases,
    large_mask_cases,
    large_rank_cases,
    large_set_cases,
    many_layer_cases,
)
from detr_spec.strategies.learning import learning_cases
from detr_spec.strategies.masks import mask_cases
from detr_spec.strategies.mixed import mixed_cases
from detr_spec.strategies.promises import Promised, either
from detr_spec.strategies.ranks import LOADS, rank_cases
from detr_spec.strategies.regimes import REGIMES
from detr_spec.strategies.sets import ALL_REGIMES, DISTINCT_REGIMES, set_cases
from detr_spec.strategies.simple import BOX_REGIMES, COST_REGIMES, box_cases, cost_cases, hidden_cases

__all__ = [
    "ALL_REGIMES",
    "BOX_REGIMES",
    "COST_REGIMES",
    "DISTINCT_REGIMES",
    "LOADS",
    "REGIMES",
    "CocoImage",
    "Promised",
    "apart_cases",
    "box_cases",
    "called_cases",
    "close_calls",
    "coco_images",
    "cost_cases",
    "detection_cases",
    "edge_terms",
    "either",
    "feature_cases",
    "hidden_cases",
    "image_cases",
    "large_box_cases",
    "large_cost_cases",
    "large_detection_cases",
    "large_mask_cases",
    "large_rank_cases",
    "large_set_cases",
    "learning_cases",
    "many_layer_cases",
    "mask_cases",
    "mixed_cases",
    "padding_regime",
    "rank_cases",
    "set_cases",
    "sizes_regime",
    "with_edges",
]
