"""LW-DETR: groups of queries that are matched each by itself in training, and IoU-aware targets.

Chen et al. 2024, "LW-DETR: A Transformer Replacement to YOLO for Real-Time Detection"; norm §11.
"""

from __future__ import annotations

from torch import Tensor

from ..batch import Outputs, Pairs, Targets
from ..postprocess import TopKPostProcess
from ..quality import iou_aware_loss
from .group_detr import GroupDETRCriterion, GroupDETRMatcher
from .targets import overlap_targets

FLOOR = 0.01
"""The least target of a matched pair."""

LWDETRMatcher = GroupDETRMatcher
"""LW-DETR's matcher is that of Group DETR; it trains with 2, 5, 2."""

LWDETRPostProcess = TopKPostProcess
"""LW-DETR takes the 300 highest scores of an image."""


class LWDETRCriterion(GroupDETRCriterion):
    """The losses of Group DETR, with IoU-aware targets of the classes. LW-DETR trains with 13 groups."""

    def _classification(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> Tensor:
        positive, quality = overlap_targets(outputs, targets, pairs)
        logits: Tensor = outputs["pred_logits"]
        losses = iou_aware_loss(logits, positive, quality, self.focal_alpha, self.focal_gamma, FLOOR)
        return losses.sum() / num_boxes
