"""What losses with overlaps as targets need of a decoder layer."""

from __future__ import annotations

import torch
from torch import Tensor

from ..batch import Outputs, Pairs, Targets, matched_queries, matched_targets
from ..boxes import box_cxcywh_to_xyxy, elementwise_box_iou


def overlap_targets(outputs: Outputs, targets: Targets, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return which logit is that of its query's target, bool [B, Q, K], and the IoU of the pair there, 0 elsewhere.

    The IoU has no gradient.
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
    quality[place] = elementwise_box_iou(boxes, target_boxes).to(logits.dtype)
    return positive, quality
