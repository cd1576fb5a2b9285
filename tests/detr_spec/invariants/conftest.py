"""Which invariants a subject fails, without the search for the smallest case."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings

from detr_conformance.search import BATCH, batch_seed
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant, all_invariants
from detr_spec.violation import NotProvided, PremiseFailed, Raised, Violation

Failing = Callable[..., set[str]]


def _fails(item: Invariant, subject: Implementation, examples: int) -> bool:
    component = subject.component(item.component)
    failures: list[Exception] = []

    @settings(
        max_examples=BATCH,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=item.cases(Domain(subject.profile, subject.limits)))
    def run(case: Any) -> None:
        if failures:
            return
        try:
            item.check(component, case)
        except (PremiseFailed, NotProvided):
            return
        except (Violation, Raised) as failure:
            failures.append(failure)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for batch in range(-(-examples // BATCH)):
            if not failures:
                hypothesis.seed(batch_seed(0, item.id, batch))(run)()
    return bool(failures)


@pytest.fixture
def failing() -> Failing:
    """A function from a subject to the ids of the invariants that it fails, of all or of those named."""

    def find(subject: Implementation, among: Collection[str] | None = None, examples: int = 30) -> set[str]:
        asked = [
            item for item in all_invariants() if item.component in subject.components and item.applies(subject.profile)
        ]
        return {item.id for item in asked if (among is None or item.id in among) and _fails(item, subject, examples)}

    return find
