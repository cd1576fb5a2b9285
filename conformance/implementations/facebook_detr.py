"""The losses of facebookresearch/detr itself, as its package `detr` on PyPI has them, of August 2020.

Its modules are called `models` and `util`. They read torchvision's version as a number of one digit after the point,
take 0.10 and later for 0.1, and then import what torchvision no longer has; so the version is another one meanwhile.
"""

from __future__ import annotations

from unittest.mock import patch

import torchvision

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration

with patch.object(torchvision, "__version__", "0.9"):
    from models.detr import PostProcess, SetCriterion
    from models.matcher import HungarianMatcher
    from util.box_ops import box_cxcywh_to_xyxy, box_iou, box_xyxy_to_cxcywh, generalized_box_iou


def matcher(configuration: Configuration) -> HungarianMatcher:
    """The matcher."""
    return HungarianMatcher(*configuration.cost_weights)


def criterion(configuration: Configuration) -> SetCriterion:
    """The criterion, with a matcher of its own."""
    return SetCriterion(
        configuration.num_classes,
        matcher(configuration),
        configuration.weight_dict,
        configuration.class_loss.eos_coef,
        configuration.losses,
    )


IMPLEMENTATION = torch_implementation(
    name="facebookresearch/detr",
    profile="detr",
    boxes={
        "cxcywh_to_xyxy": box_cxcywh_to_xyxy,
        "xyxy_to_cxcywh": box_xyxy_to_cxcywh,
        "iou": lambda first, second: box_iou(first, second)[0],
        "giou": generalized_box_iou,
    },
    matcher=matcher,
    criterion=criterion,
    masks=criterion,
    postprocess=lambda _: PostProcess(),
)
