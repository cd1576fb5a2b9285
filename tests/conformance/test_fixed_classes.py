"""An implementation whose number of classes is fixed is asked with that number, whatever else cases would have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detr_conformance import check
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_conformance.judging.search import search
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain
from detr_spec.invariants import all_invariants

FEW = 2


def with_classes(implementation: Implementation, count: float) -> Implementation:
    limits = replace(implementation.limits, fixed={**implementation.limits.fixed, "num_classes": count})
    return replace(implementation, limits=limits)


@pytest.mark.parametrize("count", [1, 3, 3.0])
def test_cases_of_every_invariant_have_the_fixed_number_of_classes(count: float) -> None:
    seen: set[tuple[str, int]] = set()
    for implementation in IMPLEMENTATIONS:
        own = with_classes(implementation, count)
        for invariant in all_invariants():
            if invariant.applies(own.profile) and invariant.component in own.components:
                watched = replace(
                    invariant,
                    check=lambda _, case, name=invariant.component: seen.add((name, case.configuration.num_classes)),
                )
                search(watched, Domain(own.profile, own.limits), None, FEW, 0)  # type: ignore[arg-type]
    assert {number for _, number in seen} == {int(count)}
    assert all(isinstance(number, int) for _, number in seen)
    assert len(seen) > 8


def test_the_reference_holds_with_three_classes() -> None:
    report = check(
        [with_classes(implementation, 3) for implementation in IMPLEMENTATIONS],
        components=["matcher", "criterion", "postprocess"],
        examples=3,
    )
    assert report.exit_code == 0


def test_what_fails_keeps_the_fixed_number_of_classes() -> None:
    wrong = replace(IMPLEMENTATIONS[1], postprocess=IMPLEMENTATIONS[0].postprocess, name="wrong")
    report = check(
        with_classes(wrong, 3), invariants=["postprocess.foreground-labels", "postprocess.scores"], examples=20
    )
    assert report.violated
    for _, judgement in report.violated:
        assert judgement.counterexample is not None
        assert judgement.counterexample.vector is not None
        assert judgement.counterexample.vector["configuration"]["num_classes"] == 3
