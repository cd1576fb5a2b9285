"""Invariants of box operations: formats, and the range of overlaps. norm §2, B1–B4."""

from __future__ import annotations

from functools import partial

import numpy as np

from detr_spec import boxes as definitions
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
from detr_spec.tolerance import lift
from detr_spec.values import Floats, round_to
from detr_spec.violation import require_shape, require_within


def _centres(case: BoxCase) -> Floats:
    """The case's first boxes as cxcywh that its dtype holds."""
    return round_to(definitions.xyxy_to_cxcywh(case.first), case.configuration.dtype)


@invariant(
    "boxes.cxcywh-to-xyxy",
    number="B1",
    formula="(cx, cy, w, h) → (cx − w/2, cy − h/2, cx + w/2, cy + h/2)",
    source="norm §2",
    breaks="the corner taken for the centre; w and h exchanged; the whole side added instead of half of it",
    cases=box_cases(),
)
def cxcywh_to_xyxy(component: Build, case: BoxCase) -> None:
    """Corners lie half a side from the centre.

    The heads speak in centres and GIoU in corners. A wrong conversion bends the matching and the loss alike,
    so no comparison between those two shows it.
    """
    operation = needed(component(case.configuration), "cxcywh_to_xyxy")
    centres = _centres(case)
    expected = definitions.cxcywh_to_xyxy(lift(centres, case.configuration.dtype))
    require_within("cxcywh_to_xyxy", operation(centres).value, expected)


@invariant(
    "boxes.xyxy-to-cxcywh",
    number="B1",
    formula="(x0, y0, x1, y1) → ((x0 + x1)/2, (y0 + y1)/2, x1 − x0, y1 − y0)",
    source="norm §2",
    breaks="the corner left in place of the centre; sides halved; coordinates exchanged",
    cases=box_cases(),
)
def xyxy_to_cxcywh(component: Build, case: BoxCase) -> None:
    """The centre is the mean of the corners, and the sides are their differences.

    Data sets give corners and the loss wants centres: a slip here moves every target.
    """
    operation = needed(component(case.configuration), "xyxy_to_cxcywh")
    expected = definitions.xyxy_to_cxcywh(lift(case.first, case.configuration.dtype))
    require_within("xyxy_to_cxcywh", operation(case.first).value, expected)


@invariant(
    "boxes.round-trip",
    number="B1",
    formula="xyxy(cxcywh(b)) = b and cxcywh(xyxy(b)) = b",
    source="norm §2",
    breaks="a conversion that works in place, or in whole pixels; two that disagree about the far corner",
    cases=box_cases(),
)
def round_trip(component: Build, case: BoxCase) -> None:
    """Converting boxes to the other format and back gives the same boxes, from either format.

    Targets are converted when they are loaded and again when they are compared.
    """
    operations, dtype = component(case.configuration), case.configuration.dtype
    to_corners, to_centres = needed(operations, "cxcywh_to_xyxy"), needed(operations, "xyxy_to_cxcywh")
    centres = _centres(case)
    corners = to_corners(centres).value
    require_shape("cxcywh_to_xyxy", corners, centres.shape)
    expected = definitions.xyxy_to_cxcywh(definitions.cxcywh_to_xyxy(lift(centres, dtype)))
    require_within("cxcywh → xyxy → cxcywh", to_centres(corners).value, expected)
    centres = to_centres(case.first).value
    require_shape("xyxy_to_cxcywh", centres, case.first.shape)
    expected = definitions.cxcywh_to_xyxy(definitions.xyxy_to_cxcywh(lift(case.first, dtype)))
    require_within("xyxy → cxcywh → xyxy", to_corners(centres).value, expected)


@invariant(
    "boxes.symmetric",
    number="B2",
    formula="GIoU(a, b) = GIoU(b, a)ᵀ, and so for IoU",
    source=GIOU_SOURCE,
    breaks="one list's areas used for both; the enclosing box taken from one list; a matrix not turned",
    cases=box_cases(),
)
def symmetric(component: Build, case: BoxCase) -> None:
    """Exchanging the two lists of boxes transposes the matrix of overlaps.

    Predictions and targets play the same part in an overlap, whichever comes first in the call.
    """
    for name, overlap in overlaps(component(case.configuration)).items():
        forward = pairwise(name, overlap, case.first, case.second)
        backward = pairwise(name, overlap, case.second, case.first).T
        right = partial(pairs_range, name, case, case.first, case.second)
        require_same(f"{NAMES[name]} with its arguments exchanged", backward, forward, right)


@invariant(
    "boxes.in-range",
    number="B3",
    formula="0 ≤ IoU ≤ 1 and −1 ≤ GIoU ≤ 1",
    source=GIOU_SOURCE,
    breaks="a negative width counted as overlap; integer arithmetic that wraps; a loss for an overlap",
    cases=box_cases(),
)
def in_range(component: Build, case: BoxCase) -> None:
    """IoU lies in [0, 1] and GIoU in [−1, 1].

    A value beyond the range outweighs the other terms of the matching cost, and 1 − GIoU may fall below 0.
    """
    for name, overlap in overlaps(component(case.configuration)).items():
        got = pairwise(name, overlap, case.first, case.second)
        allowance = width(pairs_range(name, case, case.first, case.second))
        least = 0.0 if name == "iou" else -1.0
        require_between(f"{NAMES[name]} leaves its range", got, least=least - allowance, most=1.0 + allowance)


@invariant(
    "boxes.giou-below-iou",
    number="B3",
    formula="GIoU ≤ IoU",
    source=GIOU_SOURCE,
    breaks="the penalty added instead of subtracted; the union in place of the enclosing area",
    cases=box_cases(),
)
def giou_below_iou(component: Build, case: BoxCase) -> None:
    """GIoU is at most IoU.

    The difference is the empty share of the enclosing box, which draws boxes that do not touch together.
    """
    operations = component(case.configuration)
    iou, giou = (pairwise(name, needed(operations, name), case.first, case.second) for name in NAMES)
    allowance = sum(width(pairs_range(name, case, case.first, case.second)) for name in NAMES)
    require_between("GIoU exceeds IoU", giou, most=iou + allowance)


@invariant(
    "boxes.identical",
    number="B4",
    formula="GIoU(b, b) = IoU(b, b) = |b| / (|b| + ε), which is 1 without an epsilon",
    source="norm §2: no epsilon anywhere; profiles may declare one",
    breaks="an epsilon in a denominator that nobody declared: 10⁻⁶ makes it 0.50 for a box of side 0.001",
    cases=box_cases(),
)
def identical(component: Build, case: BoxCase) -> None:
    """A box overlaps itself completely: both overlaps are 1, less what a declared epsilon or least divisor takes.

    Where it is less, a perfect prediction of a small object is charged a loss that no training can remove.
    """
    for name, overlap in overlaps(component(case.configuration)).items():
        got = np.diagonal(pairwise(name, overlap, case.first, case.first))
        right = overlap_range(name, case, case.first, case.first)
        require_within(f"{NAMES[name]} of a box with itself", got, right)
