"""Group DETR: groups of queries that are matched each by itself in training.

Chen et al. 2023, "Group DETR: Fast DETR Training with Group-Wise One-to-Many Assignment"; norm §3 and §13.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from ..batch import Outputs, Pairs, Targets
from ..boxes import upcast_half
from ..criterion import FocalSetCriterion
from .conditional_detr import ConditionalDETRMatcher, ConditionalDETRPostProcess

GroupDETRPostProcess = ConditionalDETRPostProcess
"""Group DETR takes the 100 highest scores of an image."""


class GroupDETRMatcher(ConditionalDETRMatcher):
    """Matches each group of queries with all targets, with the focal class cost."""

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Targets, group_detr: int = 1) -> Pairs:
        """Return for each image the matched (query indices, target indices), those of the first group first.

        A target has a query in each of the group_detr groups, which are equal parts of the queries in their order.

        Raises ValueError if the number of queries is no multiple of group_detr, and as `HungarianMatcher`.
        """
        queries = outputs["pred_logits"].shape[1]
        if queries % group_detr:
            raise ValueError(f"{queries} queries are not {group_detr} groups of equal size")
        size = queries // group_detr
        starts = range(0, queries, size)
        groups = [
            super(GroupDETRMatcher, self).forward(
                {name: outputs[name][:, start : start + size] for name in ("pred_logits", "pred_boxes")}, targets
            )
            for start in starts
        ]
        return [
            (
                torch.cat([start + pairs[0] for start, pairs in zip(starts, image, strict=True)]),
                torch.cat([pairs[1] for pairs in image]),
            )
            for image in zip(*groups, strict=True)
        ]


class GroupDETRCriterion(FocalSetCriterion):
    """The losses of Deformable DETR, with groups in training.

    In training mode queries are group_detr groups, and num_boxes counts each target once for each group, unless
    sum_group_losses; in evaluation they are one group. Group DETR trains with 11 groups, LW-DETR with 13.

    matcher: called with outputs, targets and the number of groups by the name group_detr, as `GroupDETRMatcher`.
    """

    matcher: Callable[..., Pairs]

    def __init__(
        self,
        num_classes: int,
        matcher: Callable[..., Pairs],
        weight_dict: Mapping[str, float],
        focal_alpha: float,
        losses: Sequence[str],
        group_detr: int = 1,
        sum_group_losses: bool = False,
        focal_gamma: float = 2.0,
    ) -> None:
        super().__init__(num_classes, matcher, weight_dict, losses, focal_alpha, focal_gamma)
        self.group_detr = group_detr
        self.sum_group_losses = sum_group_losses

    @property
    def groups(self) -> int:
        """The number of groups in the present mode."""
        return self.group_detr if self.training else 1

    def num_boxes(self, outputs: Outputs, targets: Targets) -> float:
        """Return what the losses of matched pairs are divided by: each target counts once for each group."""
        counted = 1 if self.sum_group_losses else self.groups
        repeated = [{"labels": target["labels"].repeat(counted)} for target in targets]
        return super().num_boxes(outputs, repeated)

    def _match(self, outputs: Outputs, targets: Targets) -> Pairs:
        predictions = {name: upcast_half(outputs[name]) for name in ("pred_logits", "pred_boxes")}
        return self.matcher(predictions, targets, group_detr=self.groups)
