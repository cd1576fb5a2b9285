"""Overlaps as DAB-DETR and its successors have them: 1e-6 is added to each area before a division (norm §13)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..boxes import box_area, check_proper, upcast_half

EPSILON = 1e-6


def box_iou(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IoU and the union's area, each [n, m], of all pairs of xyxy boxes [n, 4] and [m, 4]."""
    return _iou_and_union(boxes1[:, None], boxes2[None, :])


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the generalised IoU [n, m] of all pairs of xyxy boxes [n, 4] and [m, 4].

    Raises ValueError as `detr_reference.boxes.generalized_box_iou` does.
    """
    check_proper(boxes1, "boxes1")
    check_proper(boxes2, "boxes2")
    return _generalized_iou(boxes1[:, None], boxes2[None, :])


def elementwise_generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the generalised IoU [n] of each box with the box at the same place in the other set.

    Raises ValueError as `generalized_box_iou` does.
    """
    check_proper(boxes1, "boxes1")
    check_proper(boxes2, "boxes2")
    return _generalized_iou(boxes1, boxes2)


def _iou_and_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and union area [...] of xyxy boxes [..., 4] that broadcast against each other."""
    boxes1, boxes2 = upcast_half(boxes1), upcast_half(boxes2)
    near, far = torch.maximum(boxes1[..., :2], boxes2[..., :2]), torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    intersection = (far - near).clamp(min=0).prod(dim=-1)
    union = box_area(boxes1) + box_area(boxes2) - intersection
    return intersection / (union + EPSILON), union


def _generalized_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    boxes1, boxes2 = upcast_half(boxes1), upcast_half(boxes2)
    iou, union = _iou_and_union(boxes1, boxes2)
    near, far = torch.minimum(boxes1[..., :2], boxes2[..., :2]), torch.maximum(boxes1[..., 2:], boxes2[..., 2:])
    enclosure = box_area(torch.cat([near, far], dim=-1))
    return iou - (enclosure - union) / (enclosure + EPSILON)
