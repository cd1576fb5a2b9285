"""The part of the matching cost that boxes have: L1 distance and generalised IoU of each target with each query."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from .boxes import corners, l1_distance, overlap

Array: TypeAlias = np.ndarray[Any, Any]
Kernel: TypeAlias = Callable[[Array, Array, Any, Any, Array], None]


def box_costs(boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float) -> Tensor:
    """Return cost_bbox · L1 - cost_giou · GIoU, [b, T, Q], for b problems; NaN where neither box has an area.

    boxes: [b, 4, Q]. target_boxes: [b, T, 4]. Both are cxcywh, contiguous, and of one dtype. On the CPU it is compiled
    where numba is installed.
    """
    kernel = _kernel() if boxes.device.type == "cpu" else None
    if kernel is None:
        return box_costs_in_torch(boxes, target_boxes, cost_bbox, cost_giou)
    cost = boxes.new_empty(len(boxes), target_boxes.shape[1], boxes.shape[2])
    weights = np.array([cost_bbox, cost_giou], cost.numpy().dtype)
    kernel(boxes.numpy(), target_boxes.numpy(), weights[0], weights[1], cost.numpy())
    return cost


def box_costs_in_torch(boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float) -> Tensor:
    """Return what `box_costs` does, on any device."""
    queries = boxes[:, :, None].unbind(1)
    objects = target_boxes[..., None, :].unbind(-1)
    cost = l1_distance(queries, objects).mul_(cost_bbox)
    # GIoU = I / U - (E - U) / E, taken away in place.
    intersection, union, enclosure = overlap(corners(queries), corners(objects))
    cost.addcdiv_(intersection, union, value=-cost_giou)
    return cost.addcdiv_(union.sub_(enclosure), enclosure, value=-cost_giou)


@cache
def _kernel() -> Kernel | None:
    if find_spec("numba") is None:
        return None
    from .numba_costs import write_box_costs  # noqa: PLC0415  it takes a second to import

    kernel: Kernel = write_box_costs
    return kernel
