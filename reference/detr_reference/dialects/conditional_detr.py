"""Conditional DETR: the focal losses of Deformable DETR, of the decoder's queries alone.

Meng et al. 2021, "Conditional DETR for Fast Training Convergence"; norm §13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..criterion import FocalSetCriterion, Matcher
from ..matcher import HungarianMatcher, focal_cost
from ..postprocess import TopKPostProcess

ConditionalDETRPostProcess = TopKPostProcess
"""Conditional DETR takes the 100 highest scores of an image."""


class ConditionalDETRMatcher(HungarianMatcher):
    """Matches with the focal class cost. Conditional DETR and its successors train with 2, 5, 2."""

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ) -> None:
        super().__init__(cost_class, cost_bbox, cost_giou, class_cost=focal_cost(focal_alpha, focal_gamma))


class ConditionalDETRCriterion(FocalSetCriterion):
    """The losses of Deformable DETR. Conditional DETR trains with weights 2, 5, 2, its successors with 1, 5, 2."""

    def __init__(
        self,
        num_classes: int,
        matcher: Matcher,
        weight_dict: Mapping[str, float],
        focal_alpha: float,
        losses: Sequence[str],
        focal_gamma: float = 2.0,
    ) -> None:
        super().__init__(num_classes, matcher, weight_dict, losses, focal_alpha, focal_gamma)
