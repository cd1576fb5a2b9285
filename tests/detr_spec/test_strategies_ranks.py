"""Cases of distributed calls: each load occurs, and is what it says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from detr_spec.cases import RankCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Cases, Domain
from detr_spec.losses import num_boxes_of_ranks
from detr_spec.profile import replace
from detr_spec.profiles import DETR, PROFILES
from detr_spec.strategies import LOADS, rank_cases
from detr_spec.values import InvalidValue, Outputs, Target


def draw(strategy: Cases, examples: int = 60, seed: int = 0, profile: str = "detr") -> list[RankCase]:
    found: list[RankCase] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy(Domain(PROFILES[profile])))
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found


def loads(case: RankCase) -> list[int]:
    """The number of boxes of each rank."""
    return [sum(map(len, targets)) for _, targets in case.batches]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_load_and_number_of_ranks_has_its_share(profile: str) -> None:
    cases = [case for seed in range(12) for case in draw(rank_cases(), 10, seed, profile)]
    for counts in (Counter(case.regime for case in cases), Counter(len(case.batches) for case in cases)):
        assert min(counts.values()) >= len(cases) / len(counts) / 4, counts
    assert {case.regime for case in cases} == set(LOADS)
    assert {len(case.batches) for case in cases} == {2, 3}
    assert {case.configuration.decoder_layers for case in cases} == {1, 2, 3}
    assert {len(targets) for case in cases for _, targets in case.batches} == {1, 2, 3}


def test_ranks_are_loaded_unevenly() -> None:
    cases = draw(rank_cases(loads=["uneven"]), 100)
    assert sum(len(set(loads(case))) > 1 for case in cases) > 20
    assert any(
        len(target) > outputs.queries for case in cases for outputs, targets in case.batches for target in targets
    )


def test_a_rank_has_no_boxes() -> None:
    cases = draw(rank_cases(loads=["rank-without-boxes"]))
    assert all(loads(case).count(0) == 1 for case in cases)
    assert {loads(case).index(0) for case in cases} == {0, 1, 2}


def test_there_are_fewer_boxes_than_ranks() -> None:
    cases = [case for seed in range(5) for case in draw(rank_cases(loads=["clamped"]), 12, seed)]
    assert all(0 < sum(loads(case)) < len(case.batches) for case in cases)
    assert any(2 in loads(case) for case in cases)


def test_nobody_has_boxes() -> None:
    assert all(sum(loads(case)) == 0 for case in draw(rank_cases(loads=["all-empty"])))


def test_an_unknown_load_is_refused() -> None:
    with pytest.raises(ValueError, match="no load is called 'even'; the loads are uneven, rank-without-boxes"):
        rank_cases(loads=["even"])


def test_the_union_has_all_images_in_order() -> None:
    case = draw(rank_cases(layers=(2, 2)), 20)[-1]
    outputs, targets = case.union
    start = 0
    for own, own_targets in case.batches:
        images = np.arange(start, start + own.batch)
        for layer, own_layer in zip(outputs.layers, own.layers, strict=True):
            np.testing.assert_array_equal(layer.logits[images], own_layer.logits)
            np.testing.assert_array_equal(layer.boxes[images], own_layer.boxes)
        assert tuple(targets[image] for image in images) == own_targets
        start += own.batch
    assert outputs.batch == len(targets) == start


def test_a_batch_with_a_target_too_few_is_refused() -> None:
    outputs = Outputs(np.zeros((2, 1, 2)), np.zeros((2, 1, 4)))
    target = Target(np.zeros(0, dtype=np.int64), np.zeros((0, 4)))
    with pytest.raises(InvalidValue, match="rank 1: the targets are 1 in number, and the images 2"):
        RankCase(configuration=Configuration(profile=DETR), batches=((outputs, (target, target)), (outputs, (target,))))


@pytest.mark.parametrize(
    ("counts", "declared", "expected"),
    [((3, 1), "mean", (2, 2)), ((1, 0, 0), "mean", (1, 1, 1)), ((0, 5, 1), "local", (1, 5, 1))],
)
def test_num_boxes_is_counted_over_ranks_as_declared(
    counts: tuple[int, ...], declared: Any, expected: tuple[int, ...]
) -> None:
    configuration = Configuration(profile=replace(DETR, rank_reduction=declared), dtype="float64")
    found = num_boxes_of_ranks(counts, configuration)
    assert [(float(one.lower), float(one.upper)) for one in found] == [(float(one), float(one)) for one in expected]


def test_num_boxes_may_be_divided_in_float32() -> None:
    (found, _, _) = num_boxes_of_ranks((3, 2, 0), Configuration(profile=DETR, dtype="float64"))
    in_float32 = float(np.float32(5) / np.float32(3))
    assert found.value == 5 / 3 != in_float32
    assert found.lower <= in_float32 <= found.upper
    assert found.upper - found.lower < 1e-6
