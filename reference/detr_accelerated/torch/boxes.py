"""L1 distance and generalised IoU of boxes that broadcast against each other, one coordinate at a time.

With the four coordinates apart, the innermost dimension is that of the queries, which is long, and no dimension of
length four is ever reduced. The formulas are those of `detr_reference.boxes`; what is new is changed in place, as new
memory costs more than the arithmetic.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Coordinates: TypeAlias = tuple[Tensor, ...]


def l1_distance(boxes: Coordinates, target_boxes: Coordinates) -> Tensor:
    """Return the L1 distance [...] of boxes given by four coordinates [...] each."""
    x, y, width, height = ((first - second).abs_() for first, second in zip(boxes, target_boxes, strict=True))
    return x.add_(y).add_(width).add_(height)


def corners(boxes: Coordinates) -> Coordinates:
    """Return x0, y0, x1, y1, [...] each, of boxes given as centre x, centre y, width, height."""
    center_x, center_y, width, height = boxes
    return center_x - width / 2, center_y - height / 2, center_x + width / 2, center_y + height / 2


def overlap(boxes: Coordinates, target_boxes: Coordinates) -> tuple[Tensor, Tensor, Tensor]:
    """Return the areas [...] of intersection, union and enclosing box of boxes given by their corners."""
    x0, y0, x1, y1 = boxes
    target_x0, target_y0, target_x1, target_y1 = target_boxes
    width = torch.minimum(x1, target_x1).sub_(torch.maximum(x0, target_x0)).clamp_(min=0)
    height = torch.minimum(y1, target_y1).sub_(torch.maximum(y0, target_y0)).clamp_(min=0)
    intersection = width * height
    areas = (x1 - x0) * (y1 - y0) + (target_x1 - target_x0) * (target_y1 - target_y0)
    union = areas.sub_(intersection)
    enclosing_width = torch.maximum(x1, target_x1).sub_(torch.minimum(x0, target_x0))
    enclosing_height = torch.maximum(y1, target_y1).sub_(torch.minimum(y0, target_y0))
    return intersection, union, enclosing_width * enclosing_height


def generalized_iou(boxes: Coordinates, target_boxes: Coordinates) -> Tensor:
    """Return the generalised IoU [...] of boxes given by their corners; NaN for two boxes without area."""
    intersection, union, enclosure = overlap(boxes, target_boxes)
    return intersection / union - (enclosure - union) / enclosure
