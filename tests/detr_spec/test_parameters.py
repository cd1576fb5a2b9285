"""The numbers that implementations are built with may be held in another dtype than the case is in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from in_buffers import in_buffers
from judging import judged

from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import EVERY_DTYPE, LIMITS
from detr_spec.cases import BoxCase
from detr_spec.configuration import Configuration, number_names, with_numbers
from detr_spec.detections.rules import above_threshold
from detr_spec.gradients import LayerObjective
from detr_spec.invariants import all_invariants
from detr_spec.invariants.box_answers import overlap_range
from detr_spec.losses import set_losses
from detr_spec.matching.costs import image_costs
from detr_spec.parameters import parameter
from detr_spec.profile import PARTS, BoxRules, Profile
from detr_spec.profiles import DEFORMABLE, DETR, RF_DETR_SEG
from detr_spec.tolerance import Interval, lift
from detr_spec.values import NARROW_DTYPES, Matching, Outputs, Target, round_to

ROUNDED = (0.1, 0.3, 1 / 3)
"""Numbers that float32 rounds, and every narrower dtype."""

DIALECTS = (DETR, DEFORMABLE)

DRAWN_BY_STRATEGIES = {"cost_weights", "loss_weights", "mask_weights"}
"""Numbers of a profile that cases take their configurations' from."""

COSTS_OF_MASKS = ("cost_mask", "cost_dice")
READ_ELSEWHERE = {"threshold", "loss_mask", "loss_dice", "one_to_many_weight", *COSTS_OF_MASKS}
"""Numbers that no definition reads here: what post-processing, the table of weights and sums of losses do, and costs of
dialects that match by masks."""


def numeric_fields(kind: type[Any]) -> Iterator[str]:
    """The fields of a dataclass that hold a number, or several, or perhaps none."""
    for name, hint in get_type_hints(kind).items():
        if name in {item.name for item in fields(kind)} and float in (hint, *get_args(hint)):
            yield name


def with_number(base: Profile, name: str, number: float, dtype: str = "float64") -> Configuration:
    """A configuration in which the field of that name has that number."""
    if name in numeric_fields(BoxRules):
        return exact_configuration(replace(base, boxes=BoxRules(**{name: number})), dtype)
    if name in numeric_fields(Profile):
        return exact_configuration(replace(base, **{name: number}), dtype)
    return with_numbers(exact_configuration(base, dtype), {name: number})


def exact_configuration(profile: Profile, dtype: str) -> Configuration:
    """A configuration whose parts have numbers that every dtype holds."""
    return Configuration(profile=profile, dtype=dtype, **{part: getattr(profile, part).exact() for part in PARTS})


def part_numbers(base: Profile) -> list[str]:
    """The numbers of a dialect's parts."""
    return [name for name in number_names(base) if "." in name]


def bases(name: str) -> list[Profile]:
    """The dialects that have a number of that name."""
    return [base for base in DIALECTS if "." not in name or name in part_numbers(base)]


FIELDS = [
    *(
        name
        for kind in (Configuration, Profile, BoxRules)
        for name in numeric_fields(kind)
        if name not in DRAWN_BY_STRATEGIES | READ_ELSEWHERE
    ),
    *(name for base in DIALECTS for name in part_numbers(base)),
]

BOXES = np.array([[[0.25, 0.5, 0.25, 0.125], [0.375, 0.453125, 0.3125, 0.25], [0.75, 0.75, 0.125, 0.125]]])
MASKS = np.array([[[[0.5, -1.0], [2.0, 0.25]]] * 3])
TARGETS = (Target([0], [[0.3125, 0.5, 0.25, 0.1875]], np.array([[[True, False], [True, True]]])),)
MATCHING = (Matching(np.array([1]), np.array([0])),)


def definitions(configuration: Configuration) -> list[Interval]:
    """The ranges of all that is defined for one image."""
    logits = np.array([[[0.5, -2.0], [1.0, 0.25], [-0.75, 0.0]]])[..., : configuration.columns]
    configuration = replace(configuration, masks=True)
    outputs = Outputs(logits, BOXES, MASKS)
    weights = configuration.term_weights
    gradient = LayerObjective(configuration, outputs, TARGETS, MATCHING, weights).range
    losses = set_losses(configuration, outputs, TARGETS, MATCHING)
    corners = np.array([[0.0, 0.0, 0.25, 0.25], [0.125, 0.125, 0.375, 0.25]])
    case = BoxCase(configuration=configuration, first=corners[:1], second=corners[1:])
    return [
        *image_costs(outputs, TARGETS, configuration),
        *(losses[name] for name in configuration.terms),
        gradient.logits,
        gradient.boxes,
        *(overlap_range(name, case, case.first, case.second) for name in ("iou", "giou")),
    ]


def moves(before: list[Interval], after: list[Interval]) -> bool:
    return any((first.value != second.value).any() for first, second in zip(before, after, strict=True))


@pytest.mark.parametrize("name", FIELDS)
def test_every_number_is_read_by_a_definition(name: str) -> None:
    pairs = [[with_number(base, name, number) for number in (0.1, 0.3)] for base in bases(name)]
    assert any(moves(*map(definitions, pair)) for pair in pairs)


@pytest.mark.parametrize("name", COSTS_OF_MASKS)
def test_weights_of_costs_of_masks_are_read_by_the_matching_cost(name: str) -> None:
    one, other = (Configuration(profile=RF_DETR_SEG, **{name: weight}).costs for weight in (0.1, 0.3))
    assert sum(first != second for first, second in zip(one, other, strict=True)) == 1


def ways_to_hold(name: str, number: float, dtype: str) -> set[float]:
    """A number as right implementations hold it; what is added to areas is in float32, as areas are."""
    narrow = name in numeric_fields(BoxRules) and dtype in NARROW_DTYPES
    return {number, *(float(round_to(number, held)) for held in ("float32", "float32" if narrow else dtype))}


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("name", FIELDS)
def test_a_number_that_is_held_in_another_dtype_gives_right_answers(name: str, dtype: str) -> None:
    base = bases(name)[0]
    for number in ROUNDED:
        ranges = definitions(with_number(base, name, number, dtype))
        for way in ways_to_hold(name, number, dtype) - {number}:
            for right, other in zip(ranges, definitions(with_number(base, name, way, dtype)), strict=True):
                assert (right.lower <= other.value).all()
                assert (other.value <= right.upper).all()


@pytest.mark.parametrize("name", FIELDS)
def test_nothing_is_given_up_for_a_number_that_every_dtype_holds(name: str) -> None:
    for base in bases(name):
        for exact in definitions(with_number(base, name, 0.5)):
            assert float((exact.upper - exact.lower).max()) < 1e-12


def test_a_parameter_is_itself_or_rounded() -> None:
    third = parameter(1 / 3, "bfloat16")
    assert float(third.value) == 1 / 3
    assert (float(third.lower), float(third.upper)) == (1 / 3, float(round_to(1 / 3, "bfloat16")))
    assert parameter(0.25, "float64").single
    # 1 − α in float32 alone, where α is one of its numbers.
    rest = 1.0 - parameter(float(np.float32(0.1)), "float64")
    assert rest.lower < np.float32(1) - np.float32(0.1) < rest.upper


@pytest.mark.parametrize("dtype", EVERY_DTYPE)
@pytest.mark.parametrize("number", ROUNDED)
def test_a_score_between_a_threshold_and_its_rounding_is_open(number: float, dtype: str) -> None:
    ends = sorted({number, *(float(round_to(number, held)) for held in ("float32", dtype))})
    scores = lift([ends[0] / 2, (ends[0] + ends[-1]) / 2, 2 * ends[-1]], "float64")
    shown = replace(DETR, detection=replace(DETR.detection, threshold=True))
    surely, maybe = above_threshold(scores, Configuration(profile=shown, dtype=dtype, threshold=number))
    assert surely.tolist() == [False, False, True]
    assert maybe.tolist() == [False, True, True]


def rotated(base: Profile, turn: int) -> tuple[Profile, dict[str, float]]:
    """The dialect with a rounded number in every field of the profile, and such numbers for those of configurations."""
    first, second, third = (ROUNDED[(place + turn) % len(ROUNDED)] for place in range(len(ROUNDED)))
    # A least divisor that acts hides the epsilons, so it is there in one of three.
    rules = BoxRules(least_divisor=first) if turn == 0 else BoxRules(iou_epsilon=first, giou_epsilon=second)
    profile = replace(
        base,
        boxes=rules,
        detection=replace(base.detection, threshold=True),
        cost_weights=(first, second, third),
        loss_weights=(first, second, third),
    )
    names = [*numeric_fields(Configuration), *part_numbers(base)]
    return profile, {name: ROUNDED[(place + turn) % len(ROUNDED)] for place, name in enumerate(names)}


@pytest.mark.thorough
@pytest.mark.parametrize(("base", "turn"), [(DETR, 0), (DETR, 1), (DEFORMABLE, 2)])
def test_an_implementation_with_its_numbers_in_buffers_is_not_accused(base: Profile, turn: int) -> None:
    profile, fixed = rotated(base, turn)
    subject = in_buffers(profile, replace(LIMITS, fixed=fixed))
    for item in all_invariants():
        if item.component in subject.components and item.id != "gradients.learnability":
            verdict = judged(item.id, subject, 3).verdict
            assert verdict not in (Verdict.VIOLATED, Verdict.ERROR), item.id
