"""What losses with overlaps as targets need of a decoder layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..batch import Outputs, Pairs, Targets, matched_queries, matched_targets
from ..boxes import box_cxcywh_to_xyxy, elementwise_box_iou


def overlap_targets(
    outputs: Outputs,
    targets: Targets,
    pairs: Pairs,
    overlap: Callable[[Tensor, Tensor], Tensor] = elementwise_box_iou,
) -> tuple[Tensor, Tensor]:
    """Return which logit is that of its query's target, bool [B, Q, K], and the overlap there, 0 elsewhere.

    The overlap has no gradient. overlap: from two lists of xyxy boxes [M, 4], paired one to one, to [M].
    """
    logits: Tensor = outputs["pred_logits"]
    where = matched_queries(pairs)
    labels = matched_targets([target["labels"] for target in targets], pairs)
    boxes = box_cxcywh_to_xyxy(outputs["pred_boxes"][where].detach())
    target_boxes = box_cxcywh_to_xyxy(matched_targets([target["boxes"] for target in targets], pairs))
    positive = torch.zeros_like(logits, dtype=torch.bool)
    quality = torch.zeros_like(logits)
    place = *where, labels
    positive[place] = True
    quality[place] = overlap(boxes, target_boxes).to(logits.dtype)
    return positive, quality
