"""The part of the matching cost that boxes have: L1 distance and generalised IoU of each target with each query."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .boxes import corners, l1_distance, overlap
from .compiled import compiled
from .predictions import in_parts


def write_box_costs(cost: Tensor, boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float) -> None:
    """Write cost_bbox · L1 - cost_giou · GIoU into the costs [P, T, Q]; NaN where neither box has an area.

    boxes: [P, Q, 4]. target_boxes: [B, T, 4], those of problem p being image p % B's. Both are cxcywh, and of the dtype
    of the costs. On the CPU it is compiled where numba is installed.
    """
    kernel = compiled("numba_costs", "write_box_costs") if cost.device.type == "cpu" else None
    if kernel is None:
        write_box_costs_in_torch(cost, boxes, target_boxes, cost_bbox, cost_giou)
    else:
        arrays = [tensor.detach().numpy() for tensor in (boxes, target_boxes, cost)]
        kernel(*arrays, *np.array([cost_bbox, cost_giou], arrays[0].dtype))


def write_box_costs_in_torch(
    cost: Tensor, boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float
) -> None:
    """Write what `write_box_costs` does, on any device."""
    coordinates = boxes.transpose(1, 2).contiguous()
    repeated = target_boxes.repeat(len(boxes) // len(target_boxes), 1, 1)
    for written, of_queries, of_targets in in_parts(cost[0].numel(), cost, coordinates, repeated):
        queries = of_queries[:, :, None].unbind(1)
        objects = of_targets[..., None, :].unbind(-1)
        found = l1_distance(queries, objects).mul_(cost_bbox)
        # GIoU = I / U - (E - U) / E, taken away in place.
        intersection, union, enclosure = overlap(corners(queries), corners(objects))
        found.addcdiv_(intersection, union, value=-cost_giou)
        torch.addcdiv(found, union.sub_(enclosure), enclosure, value=-cost_giou, out=written)
