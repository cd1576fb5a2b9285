"""Invariants of broken and flat boxes, overlaps by definition, empty lists, and effects. norm §2, B8–B11."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from hypothesis.strategies import SearchStrategy

from detr_spec import boxes as definitions
from detr_spec.cases import BoxCase
from detr_spec.invariant import SHOULD, Domain, invariant
from detr_spec.invariants.box_answers import (
    GIOU_SOURCE,
    NAMES,
    Build,
    Operation,
    needed,
    overlap_range,
    overlaps,
    pairs_range,
    pairwise,
    provided,
    require_same,
)
from detr_spec.invariants.shared import require_refusal, require_unchanged
from detr_spec.profile import Profile
from detr_spec.strategies import Promised, box_cases
from detr_spec.values import NARROW_DTYPES, Floats
from detr_spec.violation import NotProvided, premise, require, require_equal, require_shape, require_within

BOX_CASES = box_cases()


def _require_broken_refused(what: str, overlap: Operation, case: BoxCase, spoil: Callable[[Floats], None]) -> None:
    """Raises `Violation` unless each list with one broken box is refused beside the other list as it is."""
    chance = case.generator("spoilt box")
    lists = []
    for given in (case.first, case.second):
        broken = given.copy()
        spoil(broken[chance.integers(len(broken))])
        lists.append(broken)
    for pair in ((lists[0], case.second), (case.first, lists[1])):
        require_refusal(what, sound=partial(overlap, case.first, case.second), broken=partial(overlap, *pair))


@invariant(
    "boxes.negative-size-refused",
    number="B8",
    formula="GIoU raises if x1 < x0 or y1 < y0 in any box of either argument",
    source="norm §2",
    breaks="only one argument, one axis or one box looked at; sizes clamped to 0 in silence",
    applies=lambda profile: profile.boxes.invalid == "refuse",
    cases=BOX_CASES,
)
def negative_size_refused(component: Build, case: BoxCase) -> None:
    """GIoU refuses a box whose corners are exchanged on an axis, in either argument.

    Boxes in the wrong format look like this. Answered with a number, they train a model that never converges.
    """
    overlap = needed(component(case.configuration), "giou")
    axes = [[0], [1], [0, 1]][case.generator("axes").integers(3)]

    def exchange_corners(box: Floats) -> None:
        for axis in axes:
            box[[axis, axis + 2]] = box[[axis + 2, axis]]

    _require_broken_refused("a box of negative size", overlap, case, exchange_corners)


@invariant(
    "boxes.nan-refused",
    number="B8",
    formula="GIoU raises if any coordinate of either argument is NaN",
    source="norm §2",
    breaks="a check written as x1 < x0, which is false for NaN; minima and maxima that drop NaN",
    applies=lambda profile: profile.boxes.invalid == "refuse",
    cases=BOX_CASES,
)
def nan_refused(component: Build, case: BoxCase) -> None:
    """GIoU refuses a NaN coordinate, in either argument.

    It is the first sign of a run that has diverged, and the last chance to say so.
    """
    overlap = needed(component(case.configuration), "giou")
    column = case.generator("column").integers(4)

    def forget(box: Floats) -> None:
        box[column] = np.nan

    _require_broken_refused("a box with a NaN", overlap, case, forget)


def _flattened(boxes: Floats, axes: tuple[int, ...]) -> Floats:
    """The boxes with the far corner moved to the near one along the axes: segments, or points."""
    flat = np.array(boxes)
    for axis in axes:
        flat[:, axis + 2] = flat[:, axis]
    return flat


def _on_one_line(boxes: Floats, axis: int, at: float) -> Floats:
    """The boxes as segments of one line: both coordinates of the axis are `at`."""
    flat = np.array(boxes)
    flat[:, [axis, axis + 2]] = at
    return flat


def divides_by_zero(profile: Profile) -> bool:
    """Dialects whose GIoU of two points is 0/0, and NaN."""
    rules = profile.boxes
    return rules.zero_over_zero == "nan" and rules.iou_epsilon * rules.giou_epsilon == 0 and rules.least_divisor is None


@invariant(
    "boxes.zero-over-zero",
    number="B8",
    formula="GIoU = NaN where U = 0 (without ε in the IoU) or E = 0 (without ε in the GIoU)",
    source="norm §2: two points at one place, two different points, two collinear segments",
    breaks="an undeclared epsilon or clamp; NaN replaced by a number that then looks like an overlap",
    applies=divides_by_zero,
    cases=BOX_CASES,
)
def zero_over_zero(component: Build, case: BoxCase) -> None:
    """GIoU is NaN where it is 0/0: for two points at one place or at two, and for two segments of one line.

    There is no right number, and a made-up one hides that data or predictions have collapsed.
    """
    overlap, rules = needed(component(case.configuration), "giou"), case.configuration.profile.boxes
    proper = pairwise("giou", overlap, case.first, case.second)
    premise(bool(np.isfinite(proper).any()), "the GIoU of proper boxes is no number either")
    axis = int(case.generator("axis").integers(2))
    points, line = _flattened(case.first, (0, 1)), float(case.first[0, axis])
    kinds = {
        "two points at one place": (points[:1], points[:1]),
        "two points": (points, _flattened(case.second, (0, 1))),
        "two segments of one line": (
            _on_one_line(case.first, axis, line),
            _on_one_line(case.second, axis, line),
        ),
    }
    for kind, (first, second) in kinds.items():
        undefined = np.isnan(definitions.giou(first, second, rules))
        got = pairwise("giou", overlap, first, second)[undefined]
        message = f"the GIoU of {kind} is a number"
        require(bool(np.isnan(got).all()), message, expected=np.nan, got=got)


@invariant(
    "boxes.flat-against-proper",
    number="B8",
    formula="GIoU(a, b) = −(E − |b|)/E for |a| = 0 < |b|",
    source="norm §2: a point against a proper box is finite",
    breaks="flat boxes refused together with negative ones; a division by the smaller area",
    cases=BOX_CASES,
)
def flat_against_proper(component: Build, case: BoxCase) -> None:
    """The GIoU of a point or a segment with a proper box is finite and as defined, in either order.

    Annotations of zero width occur in real data, and the loss must live with them.
    """
    overlap = needed(component(case.configuration), "giou")
    axes = [(0,), (1,), (0, 1)][case.generator("axes").integers(3)]
    flat = _flattened(case.first, axes)
    for first, second in ((flat, case.second), (case.second, flat)):
        got = overlap(first, second).value
        require_within("GIoU of flat and proper boxes", got, pairs_range("giou", case, first, second))


@invariant(
    "boxes.iou-definition",
    number="B9",
    formula="IoU = I / (U + ε), I = |a ∩ b|, U = |a| + |b| − I",
    source="norm §2",
    breaks="the union not reduced by the intersection; the wrong corners compared; an undeclared epsilon",
    cases=BOX_CASES,
    rarity=3,
)
def iou_definition(component: Build, case: BoxCase) -> None:
    """Each entry of the pairwise IoU is the area of the intersection over the area of the union.

    The other invariants of boxes say what IoU is like; this one says what it is.
    """
    _equal_to_definition(component, case, "iou")


@invariant(
    "boxes.giou-definition",
    number="B9",
    formula="GIoU = IoU − (E − U) / (E + ε), E the area of the smallest box that encloses both",
    source=f"{GIOU_SOURCE}, algorithm 1; norm §2",
    breaks="the enclosing box from wrong corners; the penalty over U; an undeclared epsilon; DIoU or CIoU",
    cases=BOX_CASES,
    rarity=3,
)
def giou_definition(component: Build, case: BoxCase) -> None:
    """Each entry of the pairwise GIoU is IoU less the share of the enclosing box that the union leaves empty.

    GIoU enters the matching cost and the loss with the largest weight but one.
    """
    _equal_to_definition(component, case, "giou")


def _equal_to_definition(component: Build, case: BoxCase, name: str) -> None:
    overlap = needed(component(case.configuration), name)
    expected = pairs_range(name, case, case.first, case.second)
    require_within(NAMES[name], overlap(case.first, case.second).value, expected)


@invariant(
    "boxes.elementwise-giou",
    number="B9",
    formula="elementwise GIoU(a, b)_i = GIoU(a, b)_ii",
    source="norm §2",
    breaks="an epsilon in one form alone; two write-ups of one formula that drifted apart",
    cases=BOX_CASES,
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
    right = partial(overlap_range, "giou", case, first, second)
    require_same("elementwise_giou against the diagonal", got, diagonal, right)


@invariant(
    "boxes.empty-lists",
    number="B9",
    formula="shape(IoU([0, 4], [m, 4])) = [0, m] and shape(IoU([n, 4], [0, 4])) = [n, 0]; so for the others",
    source="norm §2: empty against 3 has shape [0, 3]",
    breaks="images without objects: reductions over nothing, reshapes that guess a length, a lost dimension",
    cases=box_cases(count=(1, 3)),
)
def empty_lists(component: Build, case: BoxCase) -> None:
    """Empty lists of boxes give empty answers of the right shape, from every operation that answers other lists.

    Images without objects occur in every data set, and stop the training where they are not answered.
    """
    operations, none = component(case.configuration), np.zeros((0, 4))
    n, m = len(case.first), len(case.second)
    calls: dict[str, list[tuple[tuple[Floats, ...], tuple[int, ...]]]] = {
        "cxcywh_to_xyxy": [((case.first,), (n, 4)), ((none,), (0, 4))],
        "xyxy_to_cxcywh": [((case.first,), (n, 4)), ((none,), (0, 4))],
        "elementwise_giou": [((case.first, case.first), (n,)), ((none, none), (0,))],
    }
    calls |= {
        name: [
            ((case.first, case.second), (n, m)),
            ((none, case.second), (0, m)),
            ((case.first, none), (n, 0)),
            ((none, none), (0, 0)),
        ]
        for name in ("iou", "giou")
    }
    for name, operation in provided(operations, calls).items():
        for arguments, shape in calls[name]:
            lengths = " and ".join(str(len(boxes)) for boxes in arguments)
            require_shape(f"{name} of lists of {lengths} boxes", operation(*arguments).value, shape)


@invariant(
    "boxes.inputs-unchanged",
    number="B10",
    formula="boxes after the call = before",
    source="norm §2: box operations are functions of their arguments",
    breaks="corners written over centres; coordinates clamped or sorted in place",
    cases=BOX_CASES,
)
def inputs_unchanged(component: Build, case: BoxCase) -> None:
    """No operation changes the boxes that it is given.

    The same boxes go to the L1 loss next, which then compares centres with corners.
    """
    operations, both = component(case.configuration), (case.first, case.second)
    count = min(map(len, both))
    arguments: dict[str, tuple[Floats, ...]] = {
        "cxcywh_to_xyxy": (definitions.xyxy_to_cxcywh(case.first),),
        "xyxy_to_cxcywh": (case.first,),
        "iou": both,
        "giou": both,
        "elementwise_giou": tuple(boxes[:count] for boxes in both),
    }
    for name, operation in provided(operations, arguments).items():
        require_unchanged(operation(*arguments[name]), name)


def _narrow_cases(domain: Domain) -> SearchStrategy[BoxCase]:
    """Cases in the narrow dtypes that the implementation declares; in any of its dtypes where it declares none."""
    narrow = tuple(dtype for dtype in domain.limits.dtypes if dtype in NARROW_DTYPES)
    return BOX_CASES(domain.in_dtypes(narrow or domain.limits.dtypes))


@invariant(
    "boxes.narrow-to-float32",
    number="B11",
    level=SHOULD,
    formula="dtype(a) = dtype(b) ∈ {float16, bfloat16} ⇒ dtype(IoU) = dtype(GIoU) = float32",
    source="norm §2: float16 in, float32 out, as areas are computed in float32",
    breaks="areas in float16, where those of small boxes are 0 and those of boxes in pixels infinite",
    cases=Promised(_narrow_cases, BOX_CASES.admits),
)
def narrow_to_float32(component: Build, case: BoxCase) -> None:
    """Overlaps of float16 and bfloat16 boxes come in float32.

    A box of a thousandth of the image has an area of a millionth, which float16 rounds by a tenth or drops.
    """
    if case.configuration.dtype not in NARROW_DTYPES:
        raise NotProvided("float16 and bfloat16 are not among the declared dtypes")
    for name, overlap in overlaps(component(case.configuration)).items():
        dtypes = overlap(case.first, case.second).observation.dtypes
        if not dtypes:
            raise NotProvided("the dtypes of overlaps cannot be seen")
        for got in dtypes.values():
            message = f"the {NAMES[name]} of {case.configuration.dtype} boxes is in {got}"
            require_equal(message, got, "float32")
