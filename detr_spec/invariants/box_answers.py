"""Asking box operations, and the ranges in which right ones answer, whatever their order of evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from detr_spec import boxes
from detr_spec.cases import BoxCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import BoxOperations
from detr_spec.tolerance import Interval, hull, lift
from detr_spec.values import Answer, Floats
from detr_spec.violation import NotProvided, Violation, require_close, require_shape

Build = Callable[[Configuration], BoxOperations]
Operation = Callable[..., Answer[Floats]]

GIOU_SOURCE = "Rezatofighi et al. 2019, Generalized Intersection over Union"

NAMES = {"iou": "IoU", "giou": "GIoU"}
"""The pairwise overlaps, as `BoxOperations` and as people call them."""


def needed(operations: BoxOperations, name: str) -> Operation:
    """The operation of that name; raises `NotProvided` where it is missing."""
    operation: Operation | None = getattr(operations, name)
    if operation is None:
        raise NotProvided(f"the box component provides no {name}")
    return operation


def overlaps(operations: BoxOperations) -> dict[str, Operation]:
    """The pairwise overlaps that are provided, by name; raises `NotProvided` where there is none."""
    provided = {name: getattr(operations, name) for name in NAMES if getattr(operations, name) is not None}
    if not provided:
        raise NotProvided("the box component provides neither iou nor giou")
    return provided


def pairwise(name: str, overlap: Operation, first: Floats, second: Floats) -> Floats:
    """The overlap of every pair; raises `Violation` unless the answer has shape [n, m]."""
    value = overlap(first, second).value
    require_shape(NAMES[name], value, (len(first), len(second)))
    return value


def corners_range(given: Interval) -> Interval:
    """The corners of boxes in cxcywh [..., 4]; the far corner from the centre, or from the near corner."""
    low = given[..., :2] - given[..., 2:] * 0.5
    from_near = np.concatenate([low, low + given[..., 2:]], axis=-1)
    return hull(boxes.cxcywh_to_xyxy(given), cast(Interval, from_near))


def centres_range(given: Interval) -> Interval:
    """The cxcywh of boxes in xyxy [..., 4]; the centre amid the corners, or half a side from the near one."""
    low, size = given[..., :2], given[..., 2:] - given[..., :2]
    from_near = np.concatenate([low + size * 0.5, size], axis=-1)
    return hull(boxes.xyxy_to_cxcywh(given), cast(Interval, from_near))


def overlap_range(name: str, case: BoxCase, first: Floats, second: Floats) -> Interval:
    """The overlap of boxes in xyxy, position by position with broadcasting; [..., 4] and [..., 4] → [...].

    Without an epsilon the GIoU, IoU − (E − U)/E, is IoU + U/E − 1, which rounds where that form is exact.
    """
    rules, dtype = case.configuration.profile.boxes, case.configuration.dtype
    a, b = lift(first, dtype), lift(second, dtype)
    iou: Interval = boxes.elementwise_iou(a, b, rules)
    if name == "iou":
        return iou
    giou: Interval = boxes.elementwise_giou(a, b, rules)
    if rules.giou_epsilon:
        return giou
    _, union = boxes.intersection_and_union(a, b)
    return hull(giou, iou + union / boxes.enclosing_area(a, b) - 1.0)


def pairs_range(name: str, case: BoxCase, first: Floats, second: Floats) -> Interval:
    """The overlap of every pair; [n, 4] and [m, 4] → [n, m]."""
    return overlap_range(name, case, first[:, None, :], second[None, :, :])


def width(right: Interval) -> Floats:
    """How far apart two right answers may be."""
    return np.asarray(right.upper - right.lower)


def require_same(what: str, got: Floats, expected: Floats, *ranges: Callable[[], Interval]) -> None:
    """Raises `Violation` unless two answers of one implementation agree as far as two right ones do.

    `ranges` give those in which right answers lie, asked for only where the answers differ.
    Answers beyond 1, where no overlap is, may differ in proportion: a wrong scale has its own invariant.
    """
    if np.array_equal(got, expected):
        return
    scale = np.fmax(np.fmax(np.abs(got), np.abs(expected)), 1.0)
    allowance = np.max([width(right()) for right in ranges], axis=0) * scale
    require_close(what, got, expected, allowance)


def require_between(what: str, got: Floats, *, least: ArrayLike = -np.inf, most: ArrayLike = np.inf) -> None:
    """Raises `Violation` at the first number outside its bounds, or NaN."""
    lower, upper = np.broadcast_to(least, got.shape), np.broadcast_to(most, got.shape)
    outside = np.argwhere(~((got >= lower) & (got <= upper)))
    if outside.size:
        where = tuple(int(index) for index in outside[0])
        bounds = [float(lower[where]), float(upper[where])]
        raise Violation(f"{what}, at {list(where)}", expected=bounds, got=float(got[where]))
