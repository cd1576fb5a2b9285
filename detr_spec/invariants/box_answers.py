"""Asking box operations, and the ranges in which right ones answer, whatever their order of evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from detr_spec import boxes
from detr_spec.cases import BoxCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import BoxOperations
from detr_spec.tolerance import Interval, lift
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


def provided(operations: BoxOperations, names: Iterable[str]) -> dict[str, Operation]:
    """The operations of those names that there are; raises `NotProvided` where there is none."""
    found = {name: getattr(operations, name) for name in names if getattr(operations, name) is not None}
    if not found:
        raise NotProvided(f"the box component provides none of {', '.join(names)}")
    return found


def overlaps(operations: BoxOperations) -> dict[str, Operation]:
    """The pairwise overlaps that are provided, by name; raises `NotProvided` where there is none."""
    return provided(operations, NAMES)


def pairwise(name: str, overlap: Operation, first: Floats, second: Floats) -> Floats:
    """The overlap of every pair; raises `Violation` unless the answer has shape [n, m]."""
    value = overlap(first, second).value
    require_shape(NAMES[name], value, (len(first), len(second)))
    return value


def overlap_range(name: str, case: BoxCase, first: Floats, second: Floats) -> Interval:
    """The overlap of boxes in xyxy, position by position with broadcasting; [..., 4] and [..., 4] → [...]."""
    dtype = case.configuration.dtype
    rules = case.configuration.profile.boxes.held(dtype)
    overlap = boxes.elementwise_iou if name == "iou" else boxes.elementwise_giou
    right: Interval = overlap(lift(first, dtype), lift(second, dtype), rules)
    return right


def pairs_range(name: str, case: BoxCase, first: Floats, second: Floats) -> Interval:
    """The overlap of every pair; [n, 4] and [m, 4] → [n, m]."""
    return overlap_range(name, case, first[:, None, :], second[None, :, :])


def width(right: Interval) -> Floats:
    """How far apart two right answers may be."""
    return np.asarray(right.upper - right.lower)


def require_same(what: str, got: Floats, expected: Floats, *ranges: Callable[[], Interval]) -> None:
    """Raises `Violation` unless two answers of one implementation agree as far as two right ones do.

    `ranges` return the ranges of right answers; they are called only if the answers differ. Answers beyond 1, where no
    overlap is, may differ in proportion: a wrong scale has its own invariant.
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
