"""Invariants of box operations on proper boxes: formats, IoU and GIoU. norm §2, B1–B7 and B9."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detr_spec import boxes as definitions
from detr_spec.cases import BoxCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import BoxOperations
from detr_spec.invariant import invariant
from detr_spec.invariants.box_ranges import (
    answer_of,
    centres_range,
    corners_range,
    needed,
    overlaps,
    pair_range,
    pairwise,
    range_of,
    require_between,
    require_proper,
    width,
)
from detr_spec.profile import Profile
from detr_spec.strategies import box_cases
from detr_spec.tolerance import Interval, lift
from detr_spec.values import Floats, round_to
from detr_spec.violation import NotProvided, premise, require_close, require_shape, require_within

Build = Callable[[Configuration], BoxOperations]
GIOU_SOURCE = "Rezatofighi et al. 2019, Generalized Intersection over Union"


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

    The heads speak in centres and GIoU in corners. A wrong conversion bends the matching and the loss alike, so no other
    comparison between the two shows it.
    """
    operation = needed(component(case.configuration), "cxcywh_to_xyxy")
    centres = _centres(case)
    expected = corners_range(lift(centres, case.configuration.dtype))
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
    expected = centres_range(lift(case.first, case.configuration.dtype))
    require_within("xyxy_to_cxcywh", operation(case.first).value, expected)


@invariant(
    "boxes.round-trip",
    number="B1",
    formula="xyxy(cxcywh(b)) = b and cxcywh(xyxy(b)) = b",
    source="norm §2",
    breaks="a conversion that works in place, or in whole pixels; two conversions that disagree about the far corner",
    cases=box_cases(),
)
def round_trip(component: Build, case: BoxCase) -> None:
    """Converting boxes to the other format and back gives the same boxes, from either format.

    Targets are converted when they are loaded and again when they are compared.
    """
    operations, dtype = component(case.configuration), case.configuration.dtype
    to_corners, to_centres = needed(operations, "cxcywh_to_xyxy"), needed(operations, "xyxy_to_cxcywh")
    centres, corners = _centres(case), case.first
    require_within(
        "cxcywh → xyxy → cxcywh",
        to_centres(_converted(to_corners, centres)).value,
        centres_range(corners_range(lift(centres, dtype))),
    )
    require_within(
        "xyxy → cxcywh → xyxy",
        to_corners(_converted(to_centres, corners)).value,
        corners_range(centres_range(lift(corners, dtype))),
    )


@invariant(
    "boxes.symmetric",
    number="B2",
    formula="GIoU(a, b) = GIoU(b, a)ᵀ, and so for IoU",
    source=GIOU_SOURCE,
    breaks="one list's areas used for both; the enclosing box taken from one list; a matrix that is not turned",
    cases=box_cases(),
)
def symmetric(component: Build, case: BoxCase) -> None:
    """Exchanging the two lists of boxes transposes the matrix of overlaps.

    Predictions and targets play the same part in an overlap, whichever comes first in the call.
    """
    for name, overlap in overlaps(component(case.configuration)).items():
        forward = pairwise(name, overlap, case.first, case.second)
        backward = pairwise(name, overlap, case.second, case.first).T
        allowance = width(pair_range(name, case, case.first, case.second), forward, backward)
        require_close(f"{name} with its arguments exchanged", backward, forward, allowance)


@invariant(
    "boxes.in-range",
    number="B3",
    formula="0 ≤ IoU ≤ 1 and −1 ≤ GIoU ≤ 1",
    source=GIOU_SOURCE,
    breaks="a negative width counted as overlap; integer or half-precision arithmetic that wraps; a loss for an overlap",
    cases=box_cases(),
)
def in_range(component: Build, case: BoxCase) -> None:
    """IoU lies in [0, 1] and GIoU in [−1, 1].

    A value beyond the range outweighs the other terms of the matching cost, and 1 − GIoU becomes a negative loss.
    """
    for name, overlap in overlaps(component(case.configuration)).items():
        got = pairwise(name, overlap, case.first, case.second)
        allowance = width(pair_range(name, case, case.first, case.second))
        least = 0.0 if name == "iou" else -1.0
        require_between(f"{name} leaves its range", got, least - allowance, 1.0 + allowance)


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

    The difference is the empty share of the enclosing box, which is what pulls boxes that do not touch together.
    """
    operations = component(case.configuration)
    needed(operations, "iou"), needed(operations, "giou")
    iou, giou = (pairwise(name, overlap, case.first, case.second) for name, overlap in overlaps(operations).items())
    allowance = sum(width(pair_range(name, case, case.first, case.second)) for name in ("iou", "giou"))
    require_between("GIoU exceeds IoU", giou, np.full(giou.shape, -np.inf), iou + allowance)


@invariant(
    "boxes.identical",
    number="B4",
    formula="GIoU(b, b) = IoU(b, b) = |b| / (|b| + ε), which is 1 without an epsilon",
    source="norm §2: no epsilon anywhere; profiles may declare one",
    breaks="an epsilon in a denominator that nobody declared: 10⁻⁶ makes it 0.50 for a box of side 0.001",
    cases=box_cases(),
)
def identical(component: Build, case: BoxCase) -> None:
    """A box overlaps itself completely: both overlaps are 1, less what a declared epsilon takes.

    Where it is less, a perfect prediction of a small object is charged a loss that no training can remove.
    """
    require_proper(case)
    area = definitions.area(case.first)
    for name, overlap in overlaps(component(case.configuration)).items():
        got = np.diagonal(pairwise(name, overlap, case.first, case.first))
        right = range_of(name, case, case.first, case.first)
        share = area / (area + case.configuration.profile.boxes.iou_epsilon)
        require_within(f"{name} of a box with itself", got, Interval(share, right.lower, right.upper, right.dtype))


def _moved_alike(component: Build, case: BoxCase, how: str, move: Callable[[Floats], Floats]) -> None:
    """Raises `Violation` unless both overlaps stay as they are when every box is moved by an exact operation."""
    first, second = move(case.first), move(case.second)
    dtype = case.configuration.dtype
    held = all((round_to(boxes, dtype) == boxes).all() for boxes in (first, second))
    premise(held, f"{dtype} cannot hold the boxes {how}")
    for name, overlap in overlaps(component(case.configuration)).items():
        before = pairwise(name, overlap, case.first, case.second)
        after = pairwise(name, overlap, first, second)
        ranges = pair_range(name, case, case.first, case.second), pair_range(name, case, first, second)
        allowance = np.maximum(*(width(item, before, after) for item in ranges))
        require_close(f"{name} of boxes {how}", after, before, allowance)


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
    shift = case.generator("translation").choice([-4.0, -3.0, -2.0, 2.0, 3.0, 4.0], size=2)
    _moved_alike(component, case, "moved by one vector", lambda boxes: boxes + np.tile(shift, 2))


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
        turned = boxes.copy()
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


def no_epsilon(profile: Profile) -> bool:
    """Dialects whose overlaps have no epsilon, so that they do not depend on the unit."""
    return profile.boxes.iou_epsilon == 0 and profile.boxes.giou_epsilon == 0


@invariant(
    "boxes.scaling",
    number="B5",
    formula="GIoU(s·a, s·b) = GIoU(a, b) for s = (s_x, s_y) > 0, and so for IoU",
    source=GIOU_SOURCE,
    breaks="an undeclared epsilon; whole pixels (+ 1 in widths); distances as in DIoU in place of areas",
    applies=no_epsilon,
    cases=box_cases(),
)
def scaling(component: Build, case: BoxCase) -> None:
    """Scaling x and y of all boxes, each by its own factor, changes no overlap.

    Otherwise the same boxes count differently in pixels and relative to the image, or in images of different shape.
    """
    factors = 2.0 ** case.generator("scaling").choice(np.arange(-6, 7), size=2, replace=False)
    _moved_alike(component, case, "scaled", lambda boxes: boxes * np.tile(factors, 2))


@invariant(
    "boxes.nested",
    number="B6",
    formula="a ⊂ b ⇒ GIoU(a, b) = IoU(a, b) = |a| / (|b| + ε)",
    source=GIOU_SOURCE,
    breaks="the intersection's area wrong where one box covers the other; an enclosing box too large",
    cases=box_cases(regimes=("nested", "identical")),
)
def nested(component: Build, case: BoxCase) -> None:
    """For a box inside another, both overlaps are the ratio of the areas.

    The enclosing box is then the larger box itself, so nothing is left to be subtracted.
    """
    require_proper(case)
    ratio = definitions.area(case.first) / (
        definitions.area(case.second) + case.configuration.profile.boxes.iou_epsilon
    )
    for name, overlap in overlaps(component(case.configuration)).items():
        got = np.diagonal(pairwise(name, overlap, case.first, case.second))
        right = range_of(name, case, case.first, case.second)
        require_within(f"{name} of nested boxes", got, Interval(ratio, right.lower, right.upper, right.dtype))


_COMPASS = np.array([(1, 0), (0, 1), (1, 1), (1, -1), (-1, 0), (0, -1), (-1, 1), (-1, -1)], dtype=np.float64)


def _apart(case: BoxCase, steps: int) -> Floats:
    """The second boxes, moved so far in a direction of the compass that none meets a box of the first.

    Each step is a power of two, at least as long as the region that all boxes lie in.
    """
    numbers = np.concatenate([case.first.ravel(), case.second.ravel()])
    step = 2.0 ** np.ceil(np.log2(max(float(np.ptp(numbers)), 2.0**-20)))
    direction = case.generator("direction").choice(_COMPASS)
    moved = case.second + np.tile(direction, 2) * step * steps
    premise(bool((round_to(moved, case.configuration.dtype) == moved).all()), "the dtype cannot hold the moved boxes")
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
    overlap = needed(component(case.configuration), "giou")
    second = _apart(case, 1)
    got = pairwise("giou", overlap, case.first, second)
    allowance = width(pair_range("giou", case, case.first, second))
    require_between("GIoU of disjoint boxes is positive", got, np.full(got.shape, -np.inf), allowance)


@invariant(
    "boxes.separation",
    number="B7",
    formula="GIoU(a, b + 2t) ≤ GIoU(a, b + t) for boxes disjoint from t on",
    source=GIOU_SOURCE,
    breaks="an enclosing box that does not grow, or a penalty with the wrong sign: nothing pulls boxes together",
    cases=box_cases(),
)
def separation(component: Build, case: BoxCase) -> None:
    """The GIoU of disjoint boxes does not grow as they move apart.

    This slope is the reason for GIoU: IoU is 0 at every distance.
    """
    overlap = needed(component(case.configuration), "giou")
    lists = [_apart(case, steps) for steps in (1, 2, 4)]
    values = [pairwise("giou", overlap, case.first, second) for second in lists]
    widths = [width(pair_range("giou", case, case.first, second), *values) for second in lists]
    for place in (1, 2):
        bound = values[place - 1] + np.maximum(widths[place - 1], widths[place])
        require_between("GIoU grew with the distance", values[place], np.full(bound.shape, -np.inf), bound)


@invariant(
    "boxes.iou",
    number="B9",
    formula="IoU = I / (U + ε), I = |a ∩ b|, U = |a| + |b| − I",
    source="norm §2",
    breaks="the union not reduced by the intersection; the wrong corners compared; an undeclared epsilon",
    cases=box_cases(),
)
def iou(component: Build, case: BoxCase) -> None:
    """Each entry of the pairwise IoU is the area of the intersection over the area of the union.

    The other invariants of boxes say what IoU is like; this one says what it is.
    """
    _equal_to_definition(component, case, "iou")


@invariant(
    "boxes.giou",
    number="B9",
    formula="GIoU = IoU − (E − U) / (E + ε), E the area of the smallest box that encloses both",
    source=f"{GIOU_SOURCE}, algorithm 1; norm §2",
    breaks="the enclosing box from the wrong corners; the penalty over U instead of E; an undeclared epsilon; DIoU or CIoU",
    cases=box_cases(),
)
def giou(component: Build, case: BoxCase) -> None:
    """Each entry of the pairwise GIoU is IoU less the share of the enclosing box that the union leaves empty.

    GIoU enters the matching cost and the loss with the largest weight but one.
    """
    _equal_to_definition(component, case, "giou")


def _equal_to_definition(component: Build, case: BoxCase, name: str) -> None:
    require_proper(case)
    overlap = needed(component(case.configuration), name)
    expected = pair_range(name, case, case.first, case.second)
    require_within(name, overlap(case.first, case.second).value, expected)


@invariant(
    "boxes.elementwise-giou",
    number="B9",
    formula="elementwise GIoU(a, b)_i = GIoU(a, b)_ii",
    source="norm §2",
    breaks="an epsilon in one form alone; two write-ups of one formula that drifted apart",
    cases=box_cases(),
)
def elementwise_giou(component: Build, case: BoxCase) -> None:
    """The diagonal of the pairwise GIoU is the elementwise GIoU.

    The matcher uses one form and the loss the other: what is matched must be what is trained.
    """
    operations = component(case.configuration)
    pairs, elementwise = needed(operations, "giou"), needed(operations, "elementwise_giou")
    count = min(len(case.first), len(case.second))
    first, second = case.first[:count], case.second[:count]
    diagonal = np.diagonal(pairwise("giou", pairs, first, second))
    got = elementwise(first, second).value
    require_shape("elementwise_giou", got, (count,))
    allowance = width(range_of("giou", case, first, second), diagonal, got)
    require_close("elementwise_giou against the diagonal", got, diagonal, allowance)


@invariant(
    "boxes.empty-lists",
    number="B9",
    formula="shape(IoU([0, 4], [m, 4])) = [0, m] and shape(IoU([n, 4], [0, 4])) = [n, 0]; so for every operation",
    source="norm §2: empty against 3 has shape [0, 3]",
    breaks="an image without objects: reductions over nothing, reshapes that guess a length, a lost dimension",
    cases=box_cases(count=(1, 3)),
)
def empty_lists(component: Build, case: BoxCase) -> None:
    """Empty lists of boxes give empty answers of the right shape, from every operation.

    Images without objects occur in every data set, and stop the training where they are not answered.
    """
    operations, none = component(case.configuration), np.zeros((0, 4))
    n, m = len(case.first), len(case.second)
    calls = {
        "cxcywh_to_xyxy": [((none,), (0, 4))],
        "xyxy_to_cxcywh": [((none,), (0, 4))],
        "elementwise_giou": [((none, none), (0,))],
    }
    calls |= {
        name: [((none, case.second), (0, m)), ((case.first, none), (n, 0)), ((none, none), (0, 0))]
        for name in ("iou", "giou")
    }
    provided = {name: getattr(operations, name) for name in calls if getattr(operations, name) is not None}
    if not provided:
        raise NotProvided("the box component provides no operation")
    for name, operation in provided.items():
        for arguments, shape in calls[name]:
            require_shape(f"{name} of empty lists", operation(*arguments).value, shape)


def _centres(case: BoxCase) -> Floats:
    """The case's first boxes as cxcywh that its dtype holds."""
    return round_to(definitions.xyxy_to_cxcywh(case.first), case.configuration.dtype)


def _converted(operation: Callable[[Floats], object], boxes: Floats) -> Floats:
    return answer_of("the converted boxes", operation, boxes)
