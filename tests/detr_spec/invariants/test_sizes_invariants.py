"""The invariants of large sizes: the reference holds them, and the cases are as large as they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from judging import judged

from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_conformance.implementations.solver import SOLVER
from detr_conformance.judging.search import search
from detr_spec.cases import RankCase, SetCase
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Cases, Domain
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.strategies import (
    large_box_cases,
    large_cost_cases,
    large_detection_cases,
    large_mask_cases,
    large_rank_cases,
    large_set_cases,
    many_layer_cases,
)

INVARIANTS = tuple(item for item in all_invariants() if item.check.__module__ == "detr_spec.invariants.sizes")
EXAMPLES = 60
"""Large cases are a tenth of these."""


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("id", [item.id for item in INVARIANTS if item.component != "assignment"])
def test_it_holds_and_fires_on_the_reference(id: str, reference: Implementation) -> None:
    _require_holds(id, reference)


@pytest.mark.parametrize("id", [item.id for item in INVARIANTS if item.component == "assignment"])
def test_it_holds_and_fires_on_the_solver(id: str) -> None:
    _require_holds(id, SOLVER)


def _require_holds(id: str, subject: Implementation) -> None:
    judgement = judged(id, subject, EXAMPLES)
    assert judgement.verdict is Verdict.HOLDS
    assert judgement.fired > judgement.examples / 2


def drawn(cases: Cases, profile: Profile = DETR, count: int = 6, *, small: bool = False) -> list[Any]:
    """Cases of a strategy, as a search draws them."""
    found: list[Any] = []
    (any_invariant,) = find_invariants("criterion.large-sizes")
    keeping = replace(any_invariant, cases=cases, check=lambda _, case: found.append(case))
    search(keeping, Domain(profile, Limits(), small=small), None, count, seed=0)
    return found


def test_sets_have_more_than_a_byte_and_narrow_floats_can_count() -> None:
    cases: list[SetCase] = drawn(large_set_cases(), count=20)
    many = [case for case in cases if case.regime == "many-targets"]
    assert {case.regime for case in cases} == {"many-targets", "many-queries", "many-pairs"}
    for case in many:
        lengths = [len(target) for target in case.targets]
        assert len(lengths) > 16
        assert lengths[0] > 256
        assert sum(lengths) > 2048
        assert float(np.float16(sum(lengths))) != sum(lengths)
        assert max(target.labels.max() for target in case.targets) > 255
    assert all(case.outputs.queries > 256 for case in cases if case.regime != "many-targets")
    assert all(len(case.targets[0]) > 256 for case in cases if case.regime == "many-pairs")


def test_detections_have_more_than_two_bytes_can_count() -> None:
    for case in drawn(large_detection_cases(), DEFORMABLE):
        assert case.sizes.min() > 2**15
        assert case.outputs.queries * case.configuration.num_classes > 2**16
        assert case.configuration.top_k > 256


def test_objects_have_more_pixels_than_two_bytes_count() -> None:
    for case in drawn(large_mask_cases()):
        assert min(target.masks.sum(axis=(1, 2)).min() for target in case.targets) > 2**15
        assert case.outputs.masks is not None


def test_ranks_have_more_targets_than_float16_counts() -> None:
    cases: list[RankCase] = drawn(large_rank_cases())
    for case in cases:
        total = sum(len(target) for _, targets in case.batches for target in targets)
        assert total > 2048
        assert float(np.float16(total)) != total


def test_layers_have_numbers_of_two_digits() -> None:
    assert all(case.configuration.decoder_layers > 11 for case in drawn(many_layer_cases()))


def test_lists_and_matrices_are_longer_than_a_byte_counts() -> None:
    assert all(len(case.first) > 256 for case in drawn(large_box_cases()))
    assert all(max(case.costs[0].shape) > 256 for case in drawn(large_cost_cases()))


@pytest.mark.parametrize("cases", [large_set_cases(), large_detection_cases(), large_rank_cases(), large_box_cases()])
def test_small_domains_have_small_cases(cases: Cases) -> None:
    for case in drawn(cases, small=True):
        arrays = [case.first] if hasattr(case, "first") else [getattr(case, "outputs", None) or case.batches[0][0]]
        assert max(np.shape(getattr(arrays[0], "logits", arrays[0]))) < 100
