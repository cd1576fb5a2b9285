"""IoU and GIoU with an epsilon in their divisors, as later dialects have them (norm §13 and §14)."""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import box_area, upcast_half


def overlap_areas(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the areas [...] of intersection, union and enclosing box of xyxy boxes [..., 4], with broadcasting.

    float16 and bfloat16 give float32.
    """
    boxes1, boxes2 = upcast_half(boxes1), upcast_half(boxes2)
    largest_near = torch.maximum(boxes1[..., :2], boxes2[..., :2])
    smallest_far = torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    width, height = (smallest_far - largest_near).clamp(min=0).unbind(-1)
    intersection = width * height
    union = box_area(boxes1) + box_area(boxes2) - intersection
    near = torch.minimum(boxes1[..., :2], boxes2[..., :2])
    far = torch.maximum(boxes1[..., 2:], boxes2[..., 2:])
    return intersection, union, box_area(torch.cat([near, far], dim=-1))


def overlaps_with_epsilon(boxes1: Tensor, boxes2: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return IoU and GIoU [...] of xyxy boxes [..., 4] with epsilon added to both divisors, with broadcasting.

    IoU = I / (U + epsilon), GIoU = IoU - (E - U) / (E + epsilon); see `overlap_areas`.
    """
    intersection, union, enclosure = overlap_areas(boxes1, boxes2)
    iou = intersection / (union + epsilon)
    return iou, iou - (enclosure - union) / (enclosure + epsilon)


def overlaps_of_raised_areas(boxes1: Tensor, boxes2: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Return IoU and GIoU [...] of xyxy boxes [..., 4] whose union and enclosing box have at least an area.

    U and E are raised before the one is taken from the other; with broadcasting; see `overlap_areas`.
    """
    intersection, union, enclosure = overlap_areas(boxes1, boxes2)
    union, enclosure = union.clamp(min=least), enclosure.clamp(min=least)
    iou = intersection / union
    return iou, iou - (enclosure - union) / enclosure
