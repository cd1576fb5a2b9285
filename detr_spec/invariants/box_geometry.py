"""Invariants of overlaps under geometry: moved boxes, nested boxes, boxes apart. norm §2, B5–B7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from detr_spec.cases import BoxCase
from detr_spec.invariant import invariant
from detr_spec.invariants.box_answers import (
    GIOU_SOURCE,
    NAMES,
    Build,
    needed,
    overlap_range,
    overlaps,
    pairs_range,
    pairwise,
    require_between,
    require_same,
    width,
)
from detr_spec.strategies import box_cases
from detr_spec.values import Floats, round_to
from detr_spec.violation import premise, require_within


def _power_of_two(least: float) -> float:
    """The smallest power of two that is not less than a number."""
    return float(2.0 ** np.ceil(np.log2(least)))


def _reach(case: BoxCase) -> float:
    """A power of two that no coordinate exceeds in magnitude."""
    return _power_of_two(max(float(np.abs(boxes).max()) for boxes in (case.first, case.second)))


def _on_grid(case: BoxCase) -> BoxCase:
    """The case with coordinates rounded to 2⁻¹⁸ of their reach, which float32 holds exactly when moved."""
    step = _reach(case) * 2.0**-18
    first, second = (np.round(boxes / step) * step for boxes in (case.first, case.second))
    return replace(case, first=first, second=second)


def _moved_alike(component: Build, case: BoxCase, how: str, move: Callable[[Floats], Floats]) -> None:
    """Raises `Violation` unless the overlaps stay the same when every box is moved by an exact operation."""
    first, second = move(case.first), move(case.second)
    dtype = case.configuration.dtype
    held = all((round_to(boxes, dtype) == boxes).all() for boxes in (first, second))
    premise(held, f"{dtype} cannot hold the boxes {how}")
    for name, overlap in overlaps(component(case.configuration)).items():
        before = pairwise(name, overlap, case.first, case.second)
        after = pairwise(name, overlap, first, second)
        ranges = [partial(pairs_range, name, case, *lists) for lists in ((case.first, case.second), (first, second))]
        require_same(f"{NAMES[name]} of boxes {how}", after, before, *ranges)


@invariant(
    "boxes.translation",
    number="B5",
    formula="GIoU(a + t, b + t) = GIoU(a, b), and so for IoU",
    source=GIOU_SOURCE,
    breaks="boxes clipped to [0, 1] inside; areas from corners instead of sides; distances from the origin",
    cases=box_cases(),
)
def translation(component: Build, case: BoxCase) -> None:
    """Moving all boxes by the same vector changes no overlap.

    Predictions may leave the image, and crops move everything.
    """
    shift = case.generator("translation").choice([-4.0, -3.0, -2.0, 2.0, 3.0, 4.0], size=2) * _reach(case)
    _moved_alike(component, _on_grid(case), "moved by one vector", lambda boxes: boxes + np.tile(shift, 2))


@invariant(
    "boxes.reflection",
    number="B5",
    formula="GIoU(−a, −b) = GIoU(a, b) along either axis, and so for IoU",
    source=GIOU_SOURCE,
    breaks="absolute values of coordinates; corners sorted by their distance from 0",
    cases=box_cases(),
)
def reflection(component: Build, case: BoxCase) -> None:
    """Reflecting all boxes along an axis changes no overlap.

    Flipped images are half of all training images.
    """
    axes = [(0,), (1,), (0, 1)][case.generator("reflection").integers(3)]

    def reflected(boxes: Floats) -> Floats:
        turned = np.array(boxes)
        for axis in axes:
            turned[:, [axis, axis + 2]] = -boxes[:, [axis + 2, axis]]
        return turned

    _moved_alike(component, case, "reflected", reflected)


@invariant(
    "boxes.swapped-axes",
    number="B5",
    formula="GIoU of boxes (y0, x0, y1, x1) = GIoU of (x0, y0, x1, y1), and so for IoU",
    source=GIOU_SOURCE,
    breaks="the width used twice; a width from one list with a height from the other; a wrong column",
    cases=box_cases(),
)
def swapped_axes(component: Build, case: BoxCase) -> None:
    """Exchanging x and y of all boxes changes no overlap.

    It shows a formula that treats the two axes differently, which square boxes hide.
    """
    _moved_alike(component, case, "with x and y exchanged", lambda boxes: boxes[:, [1, 0, 3, 2]])


@invariant(
    "boxes.scaling",
    number="B5",
    formula="GIoU(s·a, s·b) = GIoU(a, b) for s = (s_x, s_y) > 0, and so for IoU",
    source=GIOU_SOURCE,
    breaks="an undeclared epsilon or clamp; whole pixels (+ 1 in widths); distances as in DIoU in place of areas",
    applies=lambda profile: profile.boxes.are_exact,
    cases=box_cases(),
    rarity=3,
)
def scaling(component: Build, case: BoxCase) -> None:
    """Scaling x and y of all boxes, each by its own factor, changes no overlap.

    Otherwise the same boxes count differently in pixels and relative to the image, or in a wide image.
    """
    factors = 2.0 ** case.generator("scaling").choice(np.arange(-6, 7), size=2, replace=False)
    _moved_alike(component, case, "scaled", lambda boxes: boxes * np.tile(factors, 2))


@invariant(
    "boxes.nested",
    number="B6",
    formula="a ⊂ b ⇒ GIoU(a, b) = IoU(a, b) = |a| / (|b| + ε)",
    source=GIOU_SOURCE,
    breaks="the intersection's area wrong where one box covers the other; an enclosing box too large",
    cases=box_cases(regimes=("nested",)),
)
def nested(component: Build, case: BoxCase) -> None:
    """For a box inside another, both overlaps are the ratio of the areas.

    The enclosing box is then the larger box itself, so nothing is left to be subtracted.
    """
    for name, overlap in overlaps(component(case.configuration)).items():
        got = np.diagonal(pairwise(name, overlap, case.first, case.second))
        right = overlap_range(name, case, case.first, case.second)
        require_within(f"{NAMES[name]} of nested boxes", got, right)


_COMPASS = np.array([(1, 0), (0, 1), (1, 1), (1, -1), (-1, 0), (0, -1), (-1, 1), (-1, -1)], dtype=np.float64)


def _apart(case: BoxCase, steps: int) -> Floats:
    """The second boxes, moved so far in a direction of the compass that none meets a box of the first.

    Each step is a power of two, at least as long as the region that all boxes lie in.
    """
    numbers = np.concatenate([case.first.ravel(), case.second.ravel()])
    step = _power_of_two(float(np.ptp(numbers)))
    direction = case.generator("direction").choice(_COMPASS)
    moved: Floats = case.second + np.tile(direction, 2) * step * steps
    premise(
        bool((round_to(moved, case.configuration.dtype) == moved).all()),
        "the dtype cannot hold the moved boxes",
    )
    return moved


@invariant(
    "boxes.disjoint-not-positive",
    number="B7",
    formula="a ∩ b = ∅ ⇒ GIoU(a, b) ≤ 0",
    source=GIOU_SOURCE,
    breaks="negative widths not clamped at 0: two of them make a positive area for boxes apart on both axes",
    cases=box_cases(),
)
def disjoint_not_positive(component: Build, case: BoxCase) -> None:
    """Boxes that do not meet have a GIoU of at most 0.

    Matching prefers the larger GIoU: boxes apart must never look better than boxes that overlap.
    """
    case = _on_grid(case)
    overlap = needed(component(case.configuration), "giou")
    second = _apart(case, 1)
    got = pairwise("giou", overlap, case.first, second)
    allowance = width(pairs_range("giou", case, case.first, second))
    require_between("the GIoU of disjoint boxes is positive", got, most=allowance)


@invariant(
    "boxes.separation",
    number="B7",
    formula="GIoU(a, b + 2t) ≤ GIoU(a, b + t) for boxes disjoint from t on",
    source=GIOU_SOURCE,
    breaks="an enclosing box that does not grow; a penalty of the wrong sign, which pushes boxes apart",
    cases=box_cases(),
)
def separation(component: Build, case: BoxCase) -> None:
    """The GIoU of disjoint boxes does not grow as they move apart.

    This slope is the reason for GIoU: IoU is 0 at every distance.
    """
    case = _on_grid(case)
    overlap = needed(component(case.configuration), "giou")
    lists = [_apart(case, steps) for steps in (1, 2, 4)]
    values = [pairwise("giou", overlap, case.first, second) for second in lists]
    widths = [
        width(pairs_range("giou", case, case.first, second)) * np.fmax(np.abs(values).max(), 1.0) for second in lists
    ]
    for place in (1, 2):
        bound = values[place - 1] + np.maximum(widths[place - 1], widths[place])
        require_between("the GIoU of disjoint boxes grew with their distance", values[place], most=bound)
