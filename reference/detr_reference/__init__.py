"""DETR's set prediction in readable PyTorch, in two dialects.

The softmax dialect of DETR: `DetectionHeads`, `HungarianMatcher`, `SetCriterion`, `PostProcess`. The sigmoid
dialect of Deformable DETR: `DetectionHeads(no_object=False)`, `HungarianMatcher(class_cost=focal_cost())`,
`FocalSetCriterion`, `TopKPostProcess`. What passes between them is described in `detr_reference.batch`.
"""

from __future__ import annotations

from .boxes import (
    box_area,
    box_cxcywh_to_xyxy,
    box_iou,
    box_xyxy_to_cxcywh,
    elementwise_generalized_box_iou,
    generalized_box_iou,
)
from .criterion import FocalSetCriterion, SetCriterion, build_weight_dict
from .heads import MLP, DetectionHeads
from .losses import dice_loss, sigmoid_focal_loss, weighted_cross_entropy
from .matcher import HungarianMatcher, focal_cost, negative_probability_cost
from .postprocess import PostProcess, TopKPostProcess

__all__ = [
    "MLP",
    "DetectionHeads",
    "FocalSetCriterion",
    "HungarianMatcher",
    "PostProcess",
    "SetCriterion",
    "TopKPostProcess",
    "box_area",
    "box_cxcywh_to_xyxy",
    "box_iou",
    "box_xyxy_to_cxcywh",
    "build_weight_dict",
    "dice_loss",
    "elementwise_generalized_box_iou",
    "focal_cost",
    "generalized_box_iou",
    "negative_probability_cost",
    "sigmoid_focal_loss",
    "weighted_cross_entropy",
]
