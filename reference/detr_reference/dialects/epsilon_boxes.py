"""Overlaps as DAB-DETR and its successors have them: 1e-6 is added to each area before a division (norm §13)."""

from __future__ import annotations

from torch import Tensor

from ..boxes import check_proper
from ..overlaps import overlaps_with_epsilon

EPSILON = 1e-6


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the IoU [n, m] of all pairs of xyxy boxes [n, 4] and [m, 4]."""
    return _overlaps(boxes1[:, None], boxes2[None, :])[0]


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the generalised IoU [n, m] of all pairs of xyxy boxes [n, 4] and [m, 4].

    Raises ValueError as `detr_reference.boxes.generalized_box_iou` does.
    """
    check_proper(boxes1, "boxes1")
    check_proper(boxes2, "boxes2")
    return _overlaps(boxes1[:, None], boxes2[None, :])[1]


def elementwise_generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the generalised IoU [n] of each box with the box at the same place in the other set.

    Raises ValueError as `generalized_box_iou` does.
    """
    check_proper(boxes1, "boxes1")
    check_proper(boxes2, "boxes2")
    return _overlaps(boxes1, boxes2)[1]


def _overlaps(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    return overlaps_with_epsilon(boxes1, boxes2, EPSILON)
