"""Strategies for what drawn numbers seldom reach: close calls of the matcher, and hidden states that saturate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from detr_spec.implementation import Limits
from detr_spec.invariant import Cases, Domain
from detr_spec.matching.costs import image_costs
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.strategies import close_calls, hidden_cases
from detr_spec.strategies.close_calls import price_of_pair
from detr_spec.values import round_to

EVERY_DTYPE = Limits(dtypes=("float32", "float64", "float16"))


def drawn(cases: Cases, domain: Domain, count: int) -> list[Any]:
    found: list[Any] = []

    @seed(0)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(domain))
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found


@pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda profile: profile.name)
def test_most_close_calls_are_close_and_either_query_may_be_the_cheaper(profile: Profile) -> None:
    leads = []
    for case in drawn(close_calls(), Domain(profile, Limits(dtypes=("float64",))), 100):
        for cost in image_costs(case.outputs.main, case.targets, case.configuration):
            leads.append(price_of_pair(cost.value, 1, 0))
    close = [lead for lead in leads if abs(lead) < 1e-4]
    assert len(close) > len(leads) / 2
    assert min(sum(lead > 0 for lead in close), sum(lead < 0 for lead in close)) > len(close) / 5


def test_close_calls_decide_beyond_rounding_in_float32() -> None:
    domain = Domain(DETR, Limits(dtypes=("float32",)))
    decided = [
        bool(cost.upper[0, 0] < cost.lower[1, 0] or cost.upper[1, 0] < cost.lower[0, 0])
        for case in drawn(close_calls(), domain, 200)
        if case.outputs.queries == 2
        for cost in image_costs(case.outputs.main, case.targets, case.configuration)
    ]
    assert np.mean(decided) > 0.8


@pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda profile: profile.name)
@pytest.mark.parametrize("kind", ["many classes", "as many targets as queries"])
def test_some_close_calls_have_many_classes_and_some_as_many_targets_as_queries(kind: str, profile: Profile) -> None:
    close = 0
    cases = drawn(close_calls(), Domain(profile, Limits(dtypes=("float64",))), 100)
    for case in cases:
        for cost in image_costs(case.outputs.main, case.targets, case.configuration):
            square = cost.shape[0] == cost.shape[1] > 3
            asked = case.configuration.num_classes >= 80 if kind == "many classes" else square
            close += asked and abs(price_of_pair(cost.value, 1, 0)) < 1e-6
    assert close > 10


def test_half_of_the_close_calls_are_about_tiny_boxes_some_of_which_overlap() -> None:
    cases = drawn(close_calls(), Domain(DETR, Limits(dtypes=("float64",))), 100)
    pairs = [(case.outputs.boxes[i, 0], case.targets[i].boxes[0]) for case in cases for i in range(len(case.targets))]
    tiny = [(box, target) for box, target in pairs if max(box[2:]) < 1e-3]
    assert all(target[2:].max() < 1e-3 for _, target in tiny)
    assert 0.3 * len(pairs) < len(tiny) < 0.7 * len(pairs)
    overlap = [(np.abs(box - target)[:2] < (box + target)[2:] / 2).all() for box, target in tiny]
    assert 0.2 < np.mean(overlap) < 0.9


@pytest.mark.parametrize("dtype", EVERY_DTYPE.dtypes)
def test_close_calls_hold_numbers_of_their_dtype(dtype: str) -> None:
    for case in drawn(close_calls(), replace(Domain(DETR, EVERY_DTYPE), dtype=dtype), 30):
        for numbers in (case.outputs.logits, case.outputs.boxes, case.targets[0].boxes):
            assert np.array_equal(numbers, round_to(numbers, dtype))


def test_some_hidden_states_saturate_the_sigmoid() -> None:
    cases = drawn(hidden_cases(), Domain(DETR), 100)
    highest = {"general": 0.0, "saturated": 0.0}
    for case in cases:
        highest[case.regime] = max(highest[case.regime], float(np.abs(case.hidden).max()))
    assert highest["general"] <= 2.0
    assert highest["saturated"] > 100.0
    assert 0.1 < sum(case.regime == "saturated" for case in cases) / len(cases) < 0.6
