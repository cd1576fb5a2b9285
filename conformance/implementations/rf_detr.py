"""Matcher, criterion, box operations and post-processing of rf-detr (https://github.com/roboflow/rf-detr).

Declared: the logarithms of its focal cost have no epsilon; unions and enclosing areas below 1e-7 are raised to it; no
box is refused, as negative sides count as 0; costs that are not finite are replaced by one that is greater than all
others; boxes are clamped to the image; the encoder's own predictions have losses. The focal γ is fixed, as documented.
The costs are rounded to float32 before they are assigned, so what depends on a matching is not judged in float64. Of
mixed precision, narrow logits beside boxes in float32 are declared; its L1 cost asks for boxes of one dtype.

It is judged twice: with the focal loss in one group, and as it trains by default, with the IoU-aware loss and groups of
queries. Its masks are compared at random points, and not judged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rfdetr.models.criterion import SetCriterion
from rfdetr.models.matcher import HungarianMatcher
from rfdetr.models.postprocess import PostProcess
from rfdetr.utilities.box_ops import box_cxcywh_to_xyxy, box_iou, box_xyxy_to_cxcywh, generalized_box_iou
from torch import nn

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.costs import FocalCost
from detr_spec.implementation import ComponentLimits, Limits
from detr_spec.profile import BoxRules, DetectionRules
from detr_spec.profiles import DEFORMABLE, LW_DETR

UP_TO_FLOAT32 = ("float32", "float16", "bfloat16")
NARROW_LOGITS = ("float16-logits", "bfloat16-logits")
ALL_DTYPES = (*UP_TO_FLOAT32, "float64")

PROFILE = replace(
    DEFORMABLE,
    class_cost=FocalCost(epsilon=0.0),
    non_finite_logits="rank-last",
    non_finite_boxes="rank-last",
    boxes=BoxRules(least_divisor=1e-7, invalid="unchecked"),
    keys=replace(DEFORMABLE.keys, encoder_loss="{loss}_enc"),
    detection=DetectionRules(rule="top-k", clamp=True),
)


def matcher(configuration: Configuration) -> HungarianMatcher:
    """The matcher."""
    return HungarianMatcher(*configuration.cost_weights, focal_alpha=configuration.class_cost.alpha)


def criterion(configuration: Configuration) -> SetCriterion:
    """The criterion, with a matcher of its own."""
    return SetCriterion(
        configuration.num_classes,
        matcher(configuration),
        configuration.weight_dict,
        configuration.class_loss.alpha,
        configuration.losses,
    )


class MatcherOfGroups(nn.Module):
    """The matcher as the criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.groups = configuration.profile.matching.groups
        self.matcher = matcher(configuration)

    def forward(self, outputs: Any, targets: Any) -> Any:
        """The pairs of each image."""
        return self.matcher(outputs, targets, group_detr=self.groups if self.training else 1)


def criterion_as_trained(configuration: Configuration) -> SetCriterion:
    """The criterion with the loss and the groups that it trains with."""
    return SetCriterion(
        configuration.num_classes,
        matcher(configuration),
        configuration.weight_dict,
        configuration.class_loss.alpha,
        configuration.losses,
        group_detr=configuration.profile.matching.groups,
        ia_bce_loss=True,
    )


LIMITS = Limits(
    dtypes=(*UP_TO_FLOAT32, *NARROW_LOGITS),
    fixed={"class_cost.gamma": 2.0, "class_loss.gamma": 2.0},
    components={
        "boxes": ComponentLimits(dtypes=ALL_DTYPES),
        "postprocess": ComponentLimits(dtypes=(*ALL_DTYPES, *NARROW_LOGITS)),
    },
)

AS_TRAINED = torch_implementation(
    name="rf-detr-as-trained",
    profile=replace(
        PROFILE,
        name=LW_DETR.name,
        summary=LW_DETR.summary,
        class_loss=LW_DETR.class_loss,
        loss_weights=LW_DETR.loss_weights,
        matching=LW_DETR.matching,
    ),
    limits=LIMITS,
    matcher=MatcherOfGroups,
    criterion=criterion_as_trained,
)

IMPLEMENTATION = torch_implementation(
    name="rf-detr",
    profile=PROFILE,
    limits=LIMITS,
    boxes={
        "cxcywh_to_xyxy": box_cxcywh_to_xyxy,
        "xyxy_to_cxcywh": box_xyxy_to_cxcywh,
        "iou": lambda first, second: box_iou(first, second)[0],
        "giou": generalized_box_iou,
    },
    matcher=matcher,
    criterion=criterion,
    postprocess=lambda configuration: PostProcess(configuration.top_k),
)
IMPLEMENTATIONS = IMPLEMENTATION, AS_TRAINED
