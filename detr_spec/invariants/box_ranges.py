"""The ranges in which right box operations answer, from the rounding of a dtype in every usual order of evaluation."""

from __future__ import annotations

import numpy as np

from detr_spec import boxes
from detr_spec.configuration import Configuration
from detr_spec.tolerance import Interval, hull, lift
from detr_spec.values import Floats


def corners_range(given: Interval) -> Interval:
    """The corners (x0, y0, x1, y1) of boxes in cxcywh [..., 4], the far one reached from the centre or the near one."""
    low = given[..., :2] - given[..., 2:] * 0.5
    from_near = np.concatenate([low, low + given[..., 2:]], axis=-1)
    return hull(boxes.cxcywh_to_xyxy(given), from_near)


def centres_range(given: Interval) -> Interval:
    """The (cx, cy, w, h) of boxes in xyxy [..., 4], the centre as a mean of corners or half a side from the near one."""
    low, size = given[..., :2], given[..., 2:] - given[..., :2]
    from_near = np.concatenate([low + size * 0.5, size], axis=-1)
    return hull(boxes.xyxy_to_cxcywh(given), from_near)


def iou_range(first: Floats, second: Floats, configuration: Configuration) -> Interval:
    """The IoU of boxes in xyxy with broadcasting; [..., 4] and [..., 4] → [...]."""
    dtype = configuration.dtype
    return boxes.elementwise_iou(lift(first, dtype), lift(second, dtype), configuration.profile.boxes)


def giou_range(first: Floats, second: Floats, configuration: Configuration) -> Interval:
    """The GIoU of boxes in xyxy with broadcasting; [..., 4] and [..., 4] → [...].

    Without an epsilon, IoU − (E − U)/E is also IoU + U/E − 1, which rounds where the first form is exact.
    """
    rules = configuration.profile.boxes
    a, b = lift(first, configuration.dtype), lift(second, configuration.dtype)
    direct = boxes.elementwise_giou(a, b, rules)
    if rules.giou_epsilon:
        return direct
    _, union = boxes.intersection_and_union(a, b)
    return hull(direct, boxes.elementwise_iou(a, b, rules) + union / boxes.enclosing_area(a, b) - 1.0)
