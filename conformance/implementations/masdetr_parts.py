"""Matcher, criterion, box operations and post-processing of MAS-DETR, a descendant of RF-DETR.

Declared, as documented: the logarithms of its focal cost have no epsilon; unions and enclosing areas below 1e-7 are
raised to it; no box is refused, as negative sides count as 0; costs that are not finite are replaced by one that is
greater than all others; boxes are clamped to the image; the encoder's own predictions have losses; the focal γ is
fixed. The costs are rounded to float32 before they are assigned. Labels, columns and the number of targets are not
looked at.

It is judged twice: with the focal loss in one group, and as it trains by default, with the IoU-aware loss and groups of
queries. Its masks are compared at random points, and not judged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from families import UNCHECKED, box_operations
from masdetr.models.criterion import SetCriterion
from masdetr.models.matcher import HungarianMatcher
from masdetr.models.postprocess import PostProcess
from masdetr.utilities import box_ops
from torch import nn

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.costs import FocalCost
from detr_spec.implementation import Limits
from detr_spec.profile import BoxRules, DetectionRules
from detr_spec.profiles import DEFORMABLE, LW_DETR

FOCAL = replace(
    DEFORMABLE,
    class_cost=FocalCost(epsilon=0.0),
    non_finite_logits="rank-last",
    non_finite_boxes="rank-last",
    narrow_dtypes="unchecked",
    **UNCHECKED,
    boxes=BoxRules(least_divisor=1e-7, invalid="unchecked"),
    keys=replace(DEFORMABLE.keys, encoder_loss="{loss}_enc"),
    detection=DetectionRules(rule="top-k", clamp=True),
)
AS_TRAINED = replace(
    FOCAL,
    name=LW_DETR.name,
    summary=LW_DETR.summary,
    class_loss=LW_DETR.class_loss,
    loss_weights=LW_DETR.loss_weights,
    matching=LW_DETR.matching,
)
LIMITS = Limits(dtypes=("float32",), fixed={"class_cost.gamma": 2.0, "class_loss.gamma": 2.0})


class Matcher(nn.Module):
    """The matcher as the criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.groups = configuration.profile.matching.groups
        self.matcher = HungarianMatcher(*configuration.cost_weights, focal_alpha=configuration.class_cost.alpha)

    def forward(self, outputs: Any, targets: Any) -> Any:
        """The pairs of each image."""
        return self.matcher(outputs, targets, group_detr=self.groups if self.training else 1)


def criterion(configuration: Configuration) -> SetCriterion:
    """The criterion, with a matcher of its own."""
    return SetCriterion(
        configuration.num_classes,
        Matcher(configuration).matcher,
        configuration.weight_dict,
        configuration.class_loss.alpha,
        configuration.losses,
        group_detr=configuration.profile.matching.groups,
        ia_bce_loss=configuration.profile.matching.groups > 1,
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="masdetr",
        profile=FOCAL,
        limits=LIMITS,
        boxes=box_operations(box_ops),
        matcher=Matcher,
        criterion=criterion,
        postprocess=lambda configuration: PostProcess(configuration.top_k),
    ),
    torch_implementation(name="masdetr", profile=AS_TRAINED, limits=LIMITS, matcher=Matcher, criterion=criterion),
)
