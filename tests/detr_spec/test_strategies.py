"""Each regime occurs and is what its name says; cases follow from the seed, and obey profile and limits."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from detr_conformance.encoding.reports import plain
from detr_conformance.judging.search import BATCH
from detr_spec.boxes import cxcywh_to_xyxy
from detr_spec.cases import BoxCase, CostCase, HiddenCase, SetCase
from detr_spec.configuration import number_of
from detr_spec.costs import CiouCost
from detr_spec.implementation import Limits
from detr_spec.invariant import Cases, Domain
from detr_spec.matching.assignment import unique_optimum
from detr_spec.matching.costs import image_costs
from detr_spec.parameters import is_held_by_all
from detr_spec.profile import FurtherCost, FurtherLoss, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.strategies import (
    ALL_REGIMES,
    BOX_REGIMES,
    COST_REGIMES,
    box_cases,
    coco_images,
    cost_cases,
    detection_cases,
    hidden_cases,
    set_cases,
)
from detr_spec.terms import BoxCiou, BoxCiouThroughWeight
from detr_spec.tolerance import SPACING
from detr_spec.values import DTYPES, part_dtypes, round_to

PROFILES = [DETR, DEFORMABLE]
SETS, BOXES, COSTS, HIDDEN, DETECTIONS = (
    set_cases(layers=(1, 3)),
    box_cases(),
    cost_cases(problems=(1, 3)),
    hidden_cases(),
    detection_cases(),
)
STRATEGIES = {"sets": SETS, "boxes": BOXES, "costs": COSTS, "hidden": HIDDEN, "detections": DETECTIONS}


def draw(strategy: Cases, domain: Domain, count: int, seed: int = 0) -> list[Any]:
    cases: list[Any] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy(domain))
    def collect(case: Any) -> None:
        cases.append(case)

    collect()
    return cases


@cache
def some(name: str, profile: str, small: bool = False) -> tuple[Any, ...]:
    """Cases in fresh batches, as a search draws them."""
    [declared] = [item for item in PROFILES if item.name == profile]
    domain, batches = Domain(declared, small=small), 10 if small else 25
    return tuple(case for seed in range(batches) for case in draw(STRATEGIES[name], domain, BATCH, seed))


def sets(regime: str) -> list[SetCase]:
    """Cases of one regime, of both profiles."""
    return [case for profile in PROFILES for case in some("sets", profile.name) if case.regime == regime]


def all_boxes(case: SetCase) -> np.ndarray[Any, Any]:
    """Predicted and target boxes in cxcywh."""
    predicted = [layer.boxes.reshape(-1, 4) for layer in case.outputs.layers]
    return np.concatenate([*predicted, *(target.boxes for target in case.targets)])


@pytest.mark.parametrize(
    ("strategy", "regimes"),
    [(SETS, ALL_REGIMES), (BOXES, BOX_REGIMES), (COSTS, COST_REGIMES), (DETECTIONS, ALL_REGIMES)],
)
def test_every_regime_has_its_share(strategy: Cases, regimes: tuple[str, ...]) -> None:
    """In many short runs: within a run Hypothesis repeats a case with changes, and the regime with it."""
    counts = Counter(case.regime for seed in range(20) for case in draw(strategy, Domain(PROFILES[seed % 2]), 12, seed))
    assert set(counts) == set(regimes)
    assert min(counts.values()) >= sum(counts.values()) / len(regimes) / 4, counts


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_highest_logit_of_undecided_queries_is_told_by_fine_digits_or_is_0(dtype: str) -> None:
    domain = Domain(DEFORMABLE, Limits(dtypes=(dtype,)))
    cases = draw(set_cases(regimes=["undecided"], least_classes=2), domain, 40)
    logits = [case.outputs.logits.reshape(-1, case.configuration.columns) for case in cases]
    highest = [np.sort(rows, axis=1)[:, ::-1] for rows in logits]
    assert all((rows[:, 0] - rows[:, -1] < 0.25).all() for rows in highest)
    assert sum((rows[:, 0] == 0).sum() for rows in highest) > 5
    narrower = {"float64": "float32", "float32": "bfloat16"}.get(dtype)
    if narrower is not None:
        told = [(rows[:, 0] > rows[:, 1]) & (np.diff(round_to(rows[:, :2], narrower))[:, 0] == 0) for rows in highest]
        assert sum(some.sum() for some in told) > 5


@pytest.mark.parametrize("regime", ALL_REGIMES)
def test_a_regime_asked_for_is_the_only_one(regime: str) -> None:
    assert {case.regime for case in draw(set_cases(regimes=[regime]), Domain(DETR), 5)} == {regime}


def test_an_unknown_regime_is_refused() -> None:
    with pytest.raises(ValueError, match="no regime is called 'crowd'; the regimes are general, confident"):
        set_cases(regimes=["general", "crowd"])


@pytest.mark.parametrize("name", STRATEGIES)
def test_cases_are_determined_by_the_seed(name: str) -> None:
    first, again, other = (draw(STRATEGIES[name], Domain(DETR), 15, seed) for seed in (3, 3, 4))
    assert [plain(case) for case in first] == [plain(case) for case in again]
    assert [plain(case) for case in first] != [plain(case) for case in other]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("name", STRATEGIES)
def test_cases_belong_to_the_profile_and_hold_what_the_dtype_holds(name: str, profile: Profile) -> None:
    seeds = set()
    for case in some(name, profile.name):
        assert case.configuration.profile is profile
        seeds.add(case.seed)
        for numbers in arrays(case):
            np.testing.assert_array_equal(round_to(numbers, case.configuration.dtype), numbers)
            assert np.isfinite(numbers).all()
    assert len(seeds) > 10
    assert {case.configuration.dtype for case in some(name, profile.name)} == {"float32", "float64"}


def arrays(case: Any) -> list[np.ndarray[Any, Any]]:
    """The real numbers of a case."""
    if isinstance(case, SetCase):
        return [all_boxes(case), *(layer.logits for layer in case.outputs.layers)]
    if isinstance(case, BoxCase):
        return [case.first, case.second]
    if isinstance(case, HiddenCase):
        return [case.hidden]
    assert isinstance(case, CostCase)
    return list(case.costs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_coarse_dtypes_are_obeyed(dtype: str) -> None:
    domain = Domain(DETR, Limits(dtypes=(dtype,)))
    for strategy in STRATEGIES.values():
        for case in draw(strategy, domain, 40):
            assert case.configuration.dtype == dtype
            for numbers in arrays(case):
                np.testing.assert_array_equal(round_to(numbers, dtype), numbers)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_an_implementation_fixes_stays(name: str) -> None:
    fixed = {"class_loss.alpha": 0.3, "cost_giou": 7.0, "top_k": 9, "threshold": 0.05}
    for case in draw(STRATEGIES[name], Domain(DEFORMABLE, Limits(fixed=fixed)), 30):
        for field, number in fixed.items():
            assert number_of(case.configuration, field) == number
        assert case.configuration.fixed == ("class_loss.alpha", "cost_giou", "threshold", "top_k")


def test_configurations_are_the_profiles_and_others() -> None:
    configurations = [case.configuration for case in some("sets", "deformable")]
    own = [item for item in configurations if item.cost_weights == DEFORMABLE.cost_weights]
    assert 0.3 < len(own) / len(configurations) < 0.8
    assert len({item.cost_weights for item in configurations}) > 15
    assert len({item.class_loss for item in configurations}) > 5
    assert {item.decoder_layers for item in configurations} == {1, 2, 3}
    for item in configurations:
        assert item.dtype == "float32" or all(map(is_held_by_all, item.class_loss.numbers.values()))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_share_of_cases_is_large(profile: Profile) -> None:
    cases = some("sets", profile.name)
    large = [case for case in cases if case.outputs.queries > 6 or case.configuration.num_classes > 4]
    assert 0.05 < len(large) / len(cases) < 0.5
    assert max(case.outputs.queries for case in cases) > 20
    assert max(len(target) for case in cases for target in case.targets) > 8


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_small_cases_are_small_and_on_the_grid(profile: Profile) -> None:
    for case in some("sets", profile.name, small=True):
        assert case.regime != "coco"
        assert case.outputs.queries <= 6
        assert case.outputs.batch <= 3
        assert case.configuration.num_classes <= 4
        assert max(len(target) for target in case.targets) <= 9
        for numbers in arrays(case):
            assert (numbers * 2**30 % 1 == 0).all()
    assert all(max(len(case.first), len(case.second)) <= 4 for case in some("boxes", profile.name, small=True))
    assert all(max(cost.shape) <= 6 for case in some("costs", profile.name, small=True) for cost in case.costs)
    assert all((case.hidden * 64 % 1 == 0).all() for case in some("hidden", profile.name, small=True))


def test_images_have_no_more_targets_than_queries_unless_the_regime_says_so() -> None:
    for profile in PROFILES:
        for case in some("sets", profile.name):
            crowded = any(len(target) > case.outputs.queries for target in case.targets)
            assert crowded == (case.regime == "more-targets-than-queries")


def test_sizes_are_pixels_and_mostly_not_square() -> None:
    sizes = np.concatenate([case.sizes for case in some("sets", "detr")])
    assert sizes.min() >= 1
    assert sizes.max() > 500
    assert (sizes[:, 0] != sizes[:, 1]).mean() > 0.5


def test_general_boxes_are_proper_and_unrelated() -> None:
    for case in sets("general"):
        assert (all_boxes(case)[:, 2:] >= 1 / 64).all()
        assert all(np.abs(layer.logits).max() <= 6 for layer in case.outputs.layers)


def test_confident_queries_predict_every_target() -> None:
    for case in sets("confident"):
        for layer in case.outputs.layers:
            for image, target in enumerate(case.targets):
                hits = [
                    np.flatnonzero((layer.logits[image, :, label] == 8.0) & (layer.boxes[image] == box).all(-1))
                    for label, box in zip(target.labels, target.boxes, strict=True)
                ]
                assert all(len(found) for found in hits)
                sure = (layer.logits[image, :, : case.configuration.num_classes] == 8.0).any(-1)
                assert sure.sum() == len(target)
                if case.configuration.profile.has_no_object:
                    assert (layer.logits[image, ~sure, -1] == 8.0).all()


def test_ties_are_exact() -> None:
    tied = 0
    for case in sets("tied"):
        for image in range(case.outputs.batch):
            rows = np.concatenate([case.outputs.logits[image], case.outputs.boxes[image]], axis=-1)
            distinct = len(np.unique(rows, axis=0))
            assert distinct <= max(case.outputs.queries // 2, 1)
            tied += distinct < case.outputs.queries
    assert tied > 20


def test_tied_costs_have_no_unique_optimum_and_general_ones_mostly_do() -> None:
    share = {}
    for regime in ("tied", "general", "confident"):
        cases = [case for case in sets(regime) if case.outputs.queries > 1 and len(case.targets[0])]
        unique = [
            unique_optimum(image_costs(case.outputs.main, case.targets, case.configuration)[0]) is not None
            for case in cases
        ]
        share[regime] = sum(unique) / len(unique)
    assert share["tied"] < 0.3
    assert share["general"] > 0.7
    assert share["confident"] > 0.7


def test_crowded_targets_are_of_one_class_and_nearly_coincide() -> None:
    for case in sets("crowded"):
        assert all((target.labels == 0).all() for target in case.targets)
        assert np.abs(all_boxes(case) - [0.5, 0.5, 0.25, 0.25]).max() <= 3 / 64


def test_empty_images_come_alone_and_among_others() -> None:
    empty = [sum(len(target) == 0 for target in case.targets) for case in sets("empty")]
    batches = [len(case.targets) for case in sets("empty")]
    assert min(empty) >= 1
    assert any(some == whole for some, whole in zip(empty, batches, strict=True))
    assert any(some < whole for some, whole in zip(empty, batches, strict=True))


def test_degenerate_targets_or_predictions_have_zero_sides_and_finite_costs() -> None:
    kinds: dict[bool, set[tuple[bool, ...]]] = {False: set(), True: set()}
    for case in sets("degenerate"):
        predicted = case.outputs.boxes[..., 2:].reshape(-1, 2) == 0
        truth = np.concatenate([target.boxes[:, 2:] for target in case.targets]) == 0
        of_predictions = bool(predicted.any())
        flat, proper = (predicted, truth) if of_predictions else (truth, predicted)
        assert flat.any(axis=-1).all()
        assert not proper.any()
        for cost in image_costs(case.outputs.main, case.targets, case.configuration):
            assert np.isfinite(cost.value).all()
        kinds[of_predictions] |= set(map(tuple, flat.tolist()))
    assert kinds[False] == kinds[True] == {(True, True), (True, False), (False, True)}


SHAPES: list[dict[str, Any]] = [
    {"overlap_cost": CiouCost()},
    {"overlap_loss": BoxCiou()},
    {"further_costs": (FurtherCost(cost=CiouCost()),)},
    {"further_losses": (FurtherLoss(key="loss_shape", term=BoxCiouThroughWeight()),)},
]


@pytest.mark.parametrize("parts", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16-predictions", "bfloat16"])
def test_a_dialect_that_compares_shapes_is_given_none_without_a_height(parts: dict[str, Any], dtype: str) -> None:
    """Not even where the corners of a narrow dtype are as far apart as it can tell; a box may have no width."""
    domain = Domain(replace(DETR, **parts), Limits(dtypes=(dtype,)))
    flat = []
    for case in draw(set_cases(regimes=("degenerate", "tiny-boxes"), layers=(1, 2), targets=(1, 5)), domain, 60):
        own = part_dtypes(dtype)
        sets = [(layer.boxes, own.boxes) for layer in case.outputs.layers]
        sets += [(target.boxes, own.targets) for target in case.targets]
        for boxes, held in sets:
            centres, halves = boxes[..., 1], boxes[..., 3] / 2
            assert (round_to(centres + halves, held) > round_to(centres - halves, held)).all()
            flat.append((boxes[..., 2] == 0).any())
    assert any(flat)


def test_a_dialect_without_shapes_is_given_boxes_without_a_height() -> None:
    cases = draw(set_cases(regimes=("degenerate",), targets=(1, 5)), Domain(DETR), 20)
    assert any((target.boxes[:, 3] == 0).any() for case in cases for target in case.targets)


def test_saturated_logits_are_far_from_0_or_very_far() -> None:
    values = {float(value) for case in sets("saturated") for value in np.unique(np.abs(case.outputs.logits))}
    assert values == {0.0, 60.0, 120.0, 240.0, 480.0}


def test_tiny_boxes_are_tiny_and_some_overlap() -> None:
    overlaps = 0
    for case in sets("tiny-boxes"):
        boxes = all_boxes(case)
        assert (boxes[:, 2:] < 1e-3).all()
        assert (boxes[:, 2:] > 0).all()
        apart = np.abs(boxes[:1, :2] - boxes[1:, :2]) < (boxes[:1, 2:] + boxes[1:, 2:]) / 2
        overlaps += bool(apart.all(axis=-1).any())
    assert overlaps > len(sets("tiny-boxes")) / 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_minute_boxes_have_areas_below_every_epsilon_and_exact_corners(dtype: str) -> None:
    domain = Domain(DETR, Limits(dtypes=(dtype,)))
    largest = 1e-8 if dtype.startswith("float16") else 1e-14
    for case in draw(set_cases(regimes=("minute-boxes",), targets=(1, 5)), domain, 20):
        boxes = all_boxes(case)
        corners = cxcywh_to_xyxy(boxes)
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] > 0).all()
        assert np.array_equal(corners, round_to(corners, dtype))
        assert np.prod(np.ptp(corners.reshape(-1, 2, 2), axis=(0, 1))) < largest


def test_one_class_is_one_class() -> None:
    assert {case.configuration.num_classes for case in sets("one-class")} == {1}


def test_coco_cases_hold_real_labels_up_to_90() -> None:
    known = {(tuple(image.target.labels[:1]), tuple(image.target.boxes[:1].ravel())) for image in coco_images()}
    labels = set()
    for case in sets("coco"):
        assert case.configuration.num_classes == 91
        for target in case.targets:
            labels |= set(target.labels.tolist())
            if len(target) and case.configuration.dtype == "float64":
                assert (tuple(target.labels[:1]), tuple(target.boxes[:1].ravel())) in known
    assert max(labels) <= 90
    assert min(labels) >= 1
    assert len(labels) > 10


def test_the_coco_sample() -> None:
    images = coco_images()
    assert len(images) == 160
    labels = np.concatenate([image.target.labels for image in images])
    assert labels.min() >= 1
    assert labels.max() <= 90
    assert all(len(image.target) for image in images)
    assert any(len(image.target) > 20 for image in images)
    assert all(min(image.size) > 0 for image in images)
    boxes = np.concatenate([image.target.boxes for image in images])
    assert (boxes[:, 2:] > 0).all()
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    assert corners.min() > -0.01
    assert corners.max() < 1.01


def boxes_of(regime: str) -> list[BoxCase]:
    return [case for case in some("boxes", "detr") if case.regime == regime]


def test_box_regimes_are_what_they_say() -> None:
    for case in some("boxes", "detr"):
        for boxes in (case.first, case.second):
            assert (boxes[:, 2:] > boxes[:, :2]).all()
    for case in boxes_of("identical"):
        np.testing.assert_array_equal(case.first, case.second)
    for case in boxes_of("nested"):
        assert len(case.first) == len(case.second)
        assert (case.first[:, :2] >= case.second[:, :2]).all()
        assert (case.first[:, 2:] <= case.second[:, 2:]).all()
    for case in boxes_of("tiny-boxes"):
        assert (case.first[:, 2:] - case.first[:, :2] < 1e-3).all()
    for case in boxes_of("crowded"):
        low = np.maximum(case.first[:, None, :2], case.second[None, :, :2])
        assert (np.minimum(case.first[:, None, 2:], case.second[None, :, 2:]) > low).all()
    assert any(len(case.first) != len(case.second) for case in boxes_of("general"))


def costs_of(regime: str) -> list[CostCase]:
    return [case for case in some("costs", "detr") if case.regime == regime]


def test_cost_regimes_are_what_they_say() -> None:
    shapes = {cost.shape for case in some("costs", "detr") for cost in case.costs}
    assert {n < m for n, m in shapes} == {True, False}
    assert any(n > m for n, m in shapes)
    assert any(n == m for n, m in shapes)
    assert all(cost.size == 0 for case in costs_of("empty") for cost in case.costs)
    assert all(cost.shape == (1, 1) for case in costs_of("one-by-one") for cost in case.costs)
    assert all((cost < 0).all() for case in costs_of("negative") for cost in case.costs)
    assert all((cost >= 2.0**12).all() for case in costs_of("large-offset") for cost in case.costs)
    assert {value for case in costs_of("tied") for cost in case.costs for value in np.unique(cost)} == {
        0.0,
        1.0,
        2.0,
    }
    for case in costs_of("near-resolution"):
        steps = [(cost - 1.0) / SPACING[case.configuration.dtype] for cost in case.costs]
        assert all((step % 1 == 0).all() and step.max(initial=0) <= 7 * 2**12 for step in steps)


def test_problems_of_one_shape_where_the_limits_say_so() -> None:
    domain = Domain(DETR, Limits(equal_shapes=True))
    shapes = [{cost.shape for cost in case.costs} for case in draw(cost_cases(problems=(2, 3)), domain, 60)]
    assert all(len(found) == 1 for found in shapes)
    assert any(len({cost.shape for cost in case.costs}) > 1 for case in some("costs", "detr"))


def test_hidden_states_have_the_configured_shape() -> None:
    for case in some("hidden", "detr"):
        layers, _, _, size = case.hidden.shape
        assert (layers, size) == (case.configuration.decoder_layers, case.configuration.hidden_dim)
    assert {case.configuration.hidden_dim for case in some("hidden", "detr")} == {4, 8}


def test_as_many_detections_as_there_can_be_are_asked_for_and_more_where_wanted() -> None:
    pairs = [
        (case.configuration.top_k, case.outputs.queries * case.configuration.num_classes)
        for case in some("detections", "deformable")
    ]
    assert all(1 <= top_k <= count for top_k, count in pairs)
    assert any(top_k == count for top_k, count in pairs)
    assert any(1 < top_k < count for top_k, count in pairs)
    beyond = draw(detection_cases(beyond=True), Domain(DEFORMABLE), 40)
    assert all(case.configuration.top_k > case.outputs.queries * case.configuration.num_classes for case in beyond)
    assert any(case.configuration.top_k == 100 for case in beyond)


def test_failures_shrink_to_something_that_can_be_read() -> None:
    smallest = hypothesis.find(
        set_cases(images=(1, 1))(Domain(DETR, small=True)),
        lambda case: len(case.targets[0]) == 2 and np.abs(case.outputs.logits).max() > 1,
        settings=settings(max_examples=200, database=None, suppress_health_check=list(HealthCheck)),
        random=random.Random(0),
    )
    assert smallest.outputs.queries == 2
    assert np.count_nonzero(smallest.outputs.logits) <= 2
