"""Which invariants a subject fails, without the search for the smallest case."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import hypothesis
import pytest
from judging import Failing, drawing

from detr_conformance.judging.search import BATCH, batch_seed
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import all_invariants
from detr_spec.violation import NotProvided, PremiseFailed, Raised, Violation

ENOUGH = 12
"""How many cases an invariant gets that may be expected to fail, however long they take."""


def _fails(item: Invariant, subject: Implementation, examples: int) -> bool:
    component = subject.component(item.component)
    failures: list[Exception] = []

    given = hypothesis.given(case=item.cases(Domain(subject.profile, subject.limits)))

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
        for batch, start in enumerate(range(0, examples, BATCH)):
            if not failures:
                drawn = drawing(min(BATCH, examples - start))(given(run))
                hypothesis.seed(batch_seed(0, item.id, batch))(drawn)()
    return bool(failures)


@pytest.fixture
def failing() -> Failing:
    """A function from a subject to the ids of the invariants that it fails, of all or of those named.

    With `suspected`, the other invariants get a third of the examples: that they fail is not what is expected.
    """

    def find(
        subject: Implementation,
        among: Collection[str] | None = None,
        examples: int = 30,
        suspected: Collection[str] | None = None,
    ) -> set[str]:
        asked = [
            item for item in all_invariants() if item.component in subject.components and item.applies(subject.profile)
        ]

        def cases(item: Invariant) -> int:
            if suspected is None:
                return max(item.affordable(examples), min(examples, ENOUGH))
            return examples if item.id in suspected else item.affordable(-(-examples // 3))

        return {item.id for item in asked if (among is None or item.id in among) and _fails(item, subject, cases(item))}

    return find
