"""The part of the matching cost that boxes have: L1 distance and generalised IoU of each target with each query."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..batch.predictions import in_parts
from ..compiled.calling import compiled_for, in_threads, shares, threads_worth
from .boxes import corners, l1_distance, overlap

ELEMENTS_WORTH_A_THREAD = 2**18


def box_costs(boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float) -> Tensor:
    """Return cost_bbox · L1 - cost_giou · GIoU, [P, T, Q], of P problems; NaN where neither box has an area.

    boxes: [P, Q, 4]. target_boxes: [B, T, 4], those of problem p being image p % B's. Both are cxcywh, of one dtype.
    On the CPU it is compiled where numba is installed.
    """
    cost = _compiled_costs(boxes, target_boxes, cost_bbox, cost_giou)
    if cost is None:
        return torch.cat(list(box_costs_in_parts(boxes, target_boxes, cost_bbox, cost_giou)))
    return cost


def box_costs_in_parts(boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float) -> Iterator[Tensor]:
    """Return what `box_costs` does, in the parts of `in_parts`."""
    elements = target_boxes.shape[1] * boxes.shape[1]
    cost = _compiled_costs(boxes, target_boxes, cost_bbox, cost_giou)
    if cost is not None:
        yield from (part for (part,) in in_parts(elements, cost))
        return
    coordinates = boxes.transpose(1, 2).contiguous()
    repeated = target_boxes.repeat(len(boxes) // len(target_boxes), 1, 1)
    for of_queries, of_targets in in_parts(elements, coordinates, repeated):
        yield _box_costs_in_torch(of_queries, of_targets, cost_bbox, cost_giou)


def _compiled_costs(boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float) -> Tensor | None:
    """Return what `box_costs` does, or None where nothing compiled is for that."""
    kernel = compiled_for(boxes, "costs", "write_box_costs")
    if kernel is None:
        return None
    cost = boxes.new_empty(len(boxes), target_boxes.shape[1], boxes.shape[1])
    targets, own_boxes, own_cost = (tensor.detach().contiguous().numpy() for tensor in (target_boxes, boxes, cost))
    weights = np.array([cost_bbox, cost_giou], targets.dtype)
    # Whole layers, as the first of the targets are those of the first image.
    parts = shares(len(boxes), threads_worth(cost.numel(), ELEMENTS_WORTH_A_THREAD), at_once=len(targets))
    in_threads(len(parts), [partial(kernel, own_boxes[part], targets, own_cost[part], *weights) for part in parts])
    return cost


def _box_costs_in_torch(boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float) -> Tensor:
    """Return the costs [b, T, Q] of boxes [b, 4, Q] and target_boxes [b, T, 4]."""
    queries = boxes[:, :, None].unbind(1)
    objects = target_boxes[..., None, :].unbind(-1)
    cost = l1_distance(queries, objects).mul_(cost_bbox)
    # GIoU = I / U - (E - U) / E, taken away in place.
    intersection, union, enclosure = overlap(corners(queries), corners(objects))
    cost.addcdiv_(intersection, union, value=-cost_giou)
    return cost.addcdiv_(union.sub_(enclosure), enclosure, value=-cost_giou)
