"""The invariants of boxes hold for right implementations, however written, and each finds its defects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from exact import rational_giou
from hypothesis import given, settings
from judging import Failing, judged, own_invariants, share_fired
from numpy.typing import NDArray

from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import BOXES as REFERENCE
from detr_reference import box_area, generalized_box_iou
from detr_spec.cases import BoxCase
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Domain
from detr_spec.invariants.box_answers import overlap_range
from detr_spec.profile import BoxRules, Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.strategies import box_cases

Array = NDArray[Any]
Overlap = Callable[[Array, Array], Array]

BOXES = own_invariants("boxes")
EXAMPLES = 30
NARROW, NARROW_LIMITS = "boxes.narrow-to-float32", Limits(dtypes=("float16", "bfloat16"))


def areas(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Intersection, union and enclosing area of boxes that broadcast."""
    sides = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    hull = np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])
    own = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)]
    intersection = sides.prod(-1)
    return intersection, own[0] + own[1] - intersection, hull.prod(-1)


def check(*lists: Array) -> None:
    for boxes in lists:
        if not (boxes[:, 2:] >= boxes[:, :2]).all():
            raise ValueError("boxes must have x0 <= x1 and y0 <= y1")


def pairs(formula: Overlap, checked: bool = True) -> Overlap:
    """The pairwise form of a formula on boxes that broadcast."""

    def overlap(first: Array, second: Array) -> Array:
        if checked:
            check(first, second)
        with np.errstate(all="ignore"):
            return formula(first[:, None], second[None, :])

    return overlap


def iou(a: Array, b: Array) -> Array:
    intersection, union, _ = areas(a, b)
    return intersection / union


def giou(a: Array, b: Array) -> Array:
    _, union, enclosing = areas(a, b)
    return iou(a, b) - (enclosing - union) / enclosing


def elementwise(first: Array, second: Array) -> Array:
    check(first, second)
    return giou(first, second)


def corners(boxes: Array) -> Array:
    low = boxes[:, :2] - boxes[:, 2:] / 2
    return np.concatenate([low, low + boxes[:, 2:]], axis=1)


def centres(boxes: Array) -> Array:
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + size / 2, size], axis=1)


RIGHT = {
    "cxcywh_to_xyxy": corners,
    "xyxy_to_cxcywh": centres,
    "iou": pairs(iou),
    "giou": pairs(giou),
    "elementwise_giou": elementwise,
}


def implementation(profile: Profile = DETR, **boxes: Callable[..., Array]) -> Implementation:
    return numpy_implementation(name="changed", profile=profile, boxes=RIGHT | boxes)


@pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda profile: profile.name)
@pytest.mark.parametrize("item", BOXES, ids=lambda item: item.id)
def test_each_holds_and_fires_on_the_reference(item: Any, profile: Profile) -> None:
    limits = NARROW_LIMITS if item.id == NARROW else None
    subject = torch_implementation(name="reference", profile=profile, boxes=REFERENCE, limits=limits)
    assert share_fired(item.id, subject, EXAMPLES) > 0.9


def wide(overlap: Overlap) -> Overlap:
    """The overlap computed in float64 and rounded to the dtype of the boxes."""
    return lambda first, second: overlap(first.astype(np.float64), second.astype(np.float64)).astype(first.dtype)


def share_of_hull_kept(a: Array, b: Array) -> Array:
    _, union, enclosing = areas(a, b)
    return iou(a, b) + union / enclosing - 1


def one_at_a_time(a: Array, b: Array) -> Array:
    _, union, enclosing = areas(a, b)
    return (iou(a, b) - 1) + union / enclosing


def intersection_taken_from_one(a: Array, b: Array) -> Array:
    intersection, _, _ = areas(a, b)
    own = [(box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b)]
    return intersection / ((own[0] - intersection) + own[1])


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"iou": pairs(intersection_taken_from_one), "giou": pairs(share_of_hull_kept)},
        {"iou": wide(pairs(iou)), "giou": pairs(one_at_a_time)},
    ],
    ids=["numpy", "rearranged", "partly-wider"],
)
def test_other_right_implementations_are_not_accused(failing: Failing, changed: dict[str, Overlap]) -> None:
    assert failing(implementation(**changed)) == set()


def iou_of(sides: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The IoU of every pair in torch, the sides of the intersection as they are given by their dtype."""

    def overlap(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        a, b = first[:, None], second[None]
        side = sides((torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0))
        intersection = side.prod(-1).float()
        return intersection / (box_area(a) + box_area(b) - intersection)

    return overlap


HALVES: dict[str, dict[str, Any]] = {
    "reference": REFERENCE,
    "sides in the dtype of the boxes, as torchvision has them": {"iou": iou_of(torch.Tensor.float)},
}


@pytest.mark.parametrize("name", HALVES)
def test_half_precision_is_not_accused(failing: Failing, name: str) -> None:
    subject = torch_implementation(name=name, profile=DETR, boxes=HALVES[name], limits=NARROW_LIMITS)
    assert failing(subject) == set()


def test_areas_in_half_precision_are_found_behind_a_float32_answer(failing: Failing) -> None:
    boxes = {"iou": iou_of(lambda sides: sides)}
    subject = torch_implementation(name="half", profile=DETR, boxes=boxes, limits=NARROW_LIMITS)
    expected = {"boxes.identical", "boxes.nested", "boxes.iou-definition"}
    assert failing(subject, among=expected | {NARROW}) == expected


def test_overlaps_in_half_precision_are_found_and_asked_for_only_where_it_is_declared(failing: Failing) -> None:
    def halved(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return generalized_box_iou(first, second).to(first.dtype)

    subject = torch_implementation(name="halved", profile=DETR, boxes={"giou": halved}, limits=NARROW_LIMITS)
    expected = {NARROW, "boxes.giou-definition"}
    assert failing(subject, among=expected) == expected
    assert judged(NARROW, implementation(), 5).verdict is Verdict.NOT_PROVIDED


def with_epsilon(epsilon: float) -> Overlap:
    def formula(a: Array, b: Array) -> Array:
        intersection, union, enclosing = areas(a, b)
        return intersection / (union + epsilon) - (enclosing - union) / (enclosing + epsilon)

    return formula


def iou_with_epsilon(a: Array, b: Array) -> Array:
    intersection, union, _ = areas(a, b)
    return intersection / (union + 1e-6)


def test_a_declared_epsilon_is_no_violation(failing: Failing) -> None:
    rules = BoxRules(iou_epsilon=1e-6, giou_epsilon=1e-6)
    subject = implementation(
        replace(DETR, boxes=rules),
        iou=pairs(iou_with_epsilon),
        giou=pairs(with_epsilon(1e-6)),
        elementwise_giou=with_epsilon(1e-6),
    )
    assert failing(subject) == set()
    assert judged("boxes.scaling", subject, 100).verdict is Verdict.NOT_APPLICABLE


LEAST = 1e-6


def raised_iou(a: Array, b: Array) -> Array:
    intersection, union, _ = areas(a, b)
    return intersection / np.maximum(union, LEAST)


def raised_giou(a: Array, b: Array) -> Array:
    intersection, union, enclosing = areas(a, b)
    return intersection / np.maximum(union, LEAST) - (enclosing - union) / np.maximum(enclosing, LEAST)


RAISED = {"iou": pairs(raised_iou), "giou": pairs(raised_giou), "elementwise_giou": raised_giou}


def test_a_declared_least_divisor_is_no_violation(failing: Failing) -> None:
    subject = implementation(replace(DETR, boxes=BoxRules(least_divisor=LEAST)), **RAISED)
    assert failing(subject) == set()
    for of_areas_alone in ("boxes.scaling", "boxes.zero-over-zero"):
        assert judged(of_areas_alone, subject, 100).verdict is Verdict.NOT_APPLICABLE


def test_a_least_divisor_is_found_where_none_or_another_is_declared(failing: Failing) -> None:
    definitions = {"boxes.identical", "boxes.iou-definition", "boxes.giou-definition"}
    assert definitions | {"boxes.scaling", "boxes.zero-over-zero"} <= failing(implementation(**RAISED))
    assert definitions <= failing(implementation(replace(DETR, boxes=BoxRules(least_divisor=2 * LEAST)), **RAISED))
    assert definitions <= failing(implementation(replace(DETR, boxes=BoxRules(least_divisor=LEAST))))


def test_a_declared_epsilon_that_is_not_there_is_found(failing: Failing) -> None:
    subject = implementation(replace(DETR, boxes=BoxRules(iou_epsilon=1e-6, giou_epsilon=1e-6)))
    assert {"boxes.identical", "boxes.iou-definition", "boxes.giou-definition"} <= failing(subject)


def not_clamped(a: Array, b: Array) -> Array:
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    _, union, enclosing = areas(a, b)
    intersection = sides.prod(-1)
    return intersection / union - (enclosing - union) / enclosing


def penalty_added(a: Array, b: Array) -> Array:
    return 2 * iou(a, b) - giou(a, b)


def penalty_over_union(a: Array, b: Array) -> Array:
    _, union, enclosing = areas(a, b)
    return iou(a, b) - (enclosing - union) / union


def share_of_hull_charged(a: Array, b: Array) -> Array:
    _, union, enclosing = areas(a, b)
    return iou(a, b) - union / enclosing


def enclosing_first_alone(a: Array, b: Array) -> Array:
    _, union, _ = areas(a, b)
    enclosing = (a[..., 2:] - a[..., :2]).prod(-1) + 0 * union
    return iou(a, b) - (enclosing - union) / enclosing


def union_not_reduced(a: Array, b: Array) -> Array:
    intersection, union, _ = areas(a, b)
    return intersection / (union + intersection)


def over_smaller_area(a: Array, b: Array) -> Array:
    intersection, _, _ = areas(a, b)
    return intersection / np.minimum(*((box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)))


def distance_iou(a: Array, b: Array) -> Array:
    between = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    hull = np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])
    return iou(a, b) - (between**2).sum(-1) / (hull**2).sum(-1)


def width_used_twice(a: Array, b: Array) -> Array:
    return giou(a[..., [0, 0, 2, 2]], b[..., [0, 0, 2, 2]])


def clipped(a: Array, b: Array) -> Array:
    return giou(np.clip(a, 0, 1), np.clip(b, 0, 1))


def without_signs(a: Array, b: Array) -> Array:
    return giou(np.abs(a), np.abs(b))


def in_whole_pixels(a: Array, b: Array) -> Array:
    return giou(a + np.array([0, 0, 1, 1], a.dtype), b + np.array([0, 0, 1, 1], b.dtype))


def first_argument_checked(first: Array, second: Array) -> Array:
    check(first)
    return pairs(giou, checked=False)(first, second)


def strictly_checked(first: Array, second: Array) -> Array:
    for boxes in (first, second):
        if not (boxes[:, 2:] > boxes[:, :2]).all():
            raise ValueError("boxes must have an area")
    return pairs(giou)(first, second)


def nan_missed(first: Array, second: Array) -> Array:
    for boxes in (first, second):
        if (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError("boxes must have x0 <= x1 and y0 <= y1")
    return pairs(giou, checked=False)(first, second)


def numbers_for_nan(first: Array, second: Array) -> Array:
    return np.nan_to_num(pairs(giou)(first, second))


def squeezed(first: Array, second: Array) -> Array:
    return pairs(giou)(first, second).squeeze()


def at_least_one(first: Array, second: Array) -> Array:
    first = first if len(first) else np.zeros((1, 4), first.dtype)
    return pairs(giou)(first, second)


def corner_for_centre(boxes: Array) -> Array:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def centre_for_corner(boxes: Array) -> Array:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def corners_in_place(boxes: Array) -> Array:
    boxes[:] = corners(boxes)
    return boxes


def corners_by_stride(boxes: Array) -> Array:
    return corners(boxes) * boxes.strides[-1]


DEFECTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "corners by the layout in memory": ({"cxcywh_to_xyxy": corners_by_stride}, {"boxes.ways-of-calling"}),
    "centres taken for corners, both ways": (
        {"cxcywh_to_xyxy": corner_for_centre, "xyxy_to_cxcywh": centre_for_corner},
        {"boxes.cxcywh-to-xyxy", "boxes.xyxy-to-cxcywh"},
    ),
    "width and height exchanged one way": (
        {"xyxy_to_cxcywh": lambda boxes: centres(boxes)[:, [0, 1, 3, 2]]},
        {"boxes.xyxy-to-cxcywh", "boxes.round-trip"},
    ),
    "corners written over centres": ({"cxcywh_to_xyxy": corners_in_place}, {"boxes.inputs-unchanged"}),
    "corners rounded": (
        {"cxcywh_to_xyxy": lambda boxes: np.round(corners(boxes), 3)},
        {"boxes.cxcywh-to-xyxy", "boxes.round-trip"},
    ),
    "enclosing box of the first list": (
        {"giou": pairs(enclosing_first_alone)},
        {"boxes.symmetric", "boxes.giou-definition"},
    ),
    "matrix transposed": (
        {"giou": lambda a, b: pairs(giou)(b, a)},
        {"boxes.symmetric", "boxes.giou-definition"},
    ),
    "negative widths not clamped": (
        {"giou": pairs(not_clamped)},
        {"boxes.disjoint-not-positive", "boxes.giou-definition"},
    ),
    "penalty added": (
        {"giou": pairs(penalty_added)},
        {"boxes.giou-below-iou", "boxes.separation", "boxes.giou-definition"},
    ),
    "penalty over the union": (
        {"giou": pairs(penalty_over_union)},
        {"boxes.in-range", "boxes.giou-definition"},
    ),
    "share of the hull charged": (
        {"giou": pairs(share_of_hull_charged)},
        {"boxes.separation", "boxes.identical"},
    ),
    "loss for an overlap": (
        {"giou": lambda a, b: 1 - pairs(giou)(a, b)},
        {"boxes.in-range", "boxes.identical"},
    ),
    "union not reduced": (
        {"iou": pairs(union_not_reduced)},
        {"boxes.identical", "boxes.nested", "boxes.iou-definition"},
    ),
    "intersection over the smaller area": (
        {"iou": pairs(over_smaller_area)},
        {"boxes.nested", "boxes.iou-definition"},
    ),
    "distances for areas": (
        {"giou": pairs(distance_iou)},
        {"boxes.nested", "boxes.scaling", "boxes.giou-definition"},
    ),
    "undeclared epsilon": (
        {"giou": pairs(with_epsilon(1e-6))},
        {"boxes.identical", "boxes.scaling", "boxes.giou-definition", "boxes.elementwise-giou"},
    ),
    "undeclared small epsilon": (
        {"giou": pairs(with_epsilon(1e-9)), "elementwise_giou": with_epsilon(1e-9)},
        {"boxes.identical", "boxes.scaling", "boxes.giou-definition"},
    ),
    "epsilon in the elementwise form": ({"elementwise_giou": with_epsilon(1e-7)}, {"boxes.elementwise-giou"}),
    "clipped to the image": ({"giou": pairs(clipped)}, {"boxes.translation", "boxes.giou-definition"}),
    "signs dropped": ({"giou": pairs(without_signs)}, {"boxes.reflection", "boxes.giou-definition"}),
    "width used twice": ({"giou": pairs(width_used_twice)}, {"boxes.swapped-axes", "boxes.giou-definition"}),
    "whole pixels": ({"giou": pairs(in_whole_pixels)}, {"boxes.scaling", "boxes.giou-definition"}),
    "nothing checked": (
        {"giou": pairs(giou, checked=False)},
        {"boxes.negative-size-refused", "boxes.nan-refused"},
    ),
    "first argument checked": (
        {"giou": first_argument_checked},
        {"boxes.negative-size-refused", "boxes.nan-refused"},
    ),
    "NaN not checked": ({"giou": nan_missed}, {"boxes.nan-refused"}),
    "flat boxes refused": ({"giou": strictly_checked}, {"boxes.flat-against-proper", "boxes.zero-over-zero"}),
    "numbers for NaN": ({"giou": numbers_for_nan}, {"boxes.zero-over-zero"}),
    "dimensions squeezed": ({"giou": squeezed}, {"boxes.empty-lists", "boxes.giou-definition"}),
    "at least one row": ({"giou": at_least_one}, {"boxes.empty-lists"}),
    "NaN everywhere": (
        {"giou": lambda a, b: np.full((len(a), len(b)), np.nan)},
        {"boxes.in-range", "boxes.disjoint-not-positive", "boxes.separation", "boxes.flat-against-proper"},
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_found(failing: Failing, name: str) -> None:
    changed, expected = DEFECTS[name]
    assert failing(implementation(**changed), among=expected) == expected


def test_every_invariant_finds_a_defect() -> None:
    assert {item.id for item in BOXES} == {NARROW}.union(*(expected for _, expected in DEFECTS.values()))


@pytest.mark.parametrize(
    ("name", "accused"),
    [
        ("NaN not checked", "boxes.nan-refused"),
        ("at least one row", "boxes.empty-lists"),
    ],
)
def test_a_defect_at_the_edge_is_accused_once(failing: Failing, name: str, accused: str) -> None:
    assert failing(implementation(**DEFECTS[name][0])) == {accused}


def test_a_wrong_scale_is_not_accused_of_asymmetry(failing: Failing) -> None:
    found = failing(implementation(giou=lambda a, b: 100 * pairs(giou)(a, b)))
    moved = {
        "boxes.symmetric",
        "boxes.translation",
        "boxes.reflection",
        "boxes.swapped-axes",
        "boxes.scaling",
    }
    assert not moved & found


def test_missing_operations_are_not_provided() -> None:
    subject = numpy_implementation(name="IoU alone", boxes={"iou": pairs(iou)})
    verdicts = {item.id: judged(item.id, subject, 5).verdict for item in BOXES}
    about_iou = {"symmetric", "in-range", "identical", "translation", "reflection", "swapped-axes", "scaling"}
    others = {"nested", "iou-definition", "empty-lists", "inputs-unchanged", "ways-of-calling"}
    held = {f"boxes.{name}" for name in about_iou | others}
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.HOLDS} == held
    assert {verdict for name, verdict in verdicts.items() if name not in held} == {Verdict.NOT_PROVIDED}


def test_what_a_profile_leaves_open_is_not_asked(failing: Failing) -> None:
    profile = replace(DETR, boxes=BoxRules(invalid="unchecked", zero_over_zero="unchecked"))
    subject = implementation(profile, giou=lambda a, b: np.nan_to_num(pairs(giou, checked=False)(a, b)))
    assert failing(subject) == set()


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(case=box_cases()(Domain(DETR, small=True)))
def test_the_rational_giou_lies_in_the_range_of_right_answers(case: BoxCase) -> None:
    for first in case.first:
        for second in case.second:
            exact, right = rational_giou(first, second), overlap_range("giou", case, first, second)
            assert right.lower <= exact <= right.upper
            spacing = {"float32": 2.0**-23, "float64": 2.0**-52}[case.configuration.dtype]
            assert float(right.upper - right.lower) <= 16 * spacing
