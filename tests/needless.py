"""What a failing case holds that its failure does not need."""

from __future__ import annotations

from typing import Any

from detr_conformance.judging.parts import parts
from detr_conformance.judging.reduction import kind_of, may_be_drawn, without
from detr_conformance.judging.search import search_case
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant


def needless(invariant: Invariant, implementation: Implementation, case: Any) -> list[str]:
    """The parts of a failing case of which one thing can be left out, so that what is left fails in the same way."""
    domain = Domain(implementation.profile, implementation.limits.of(invariant.component))
    component = implementation.component(invariant.component)
    failure = search_case(invariant, component, case).failure
    assert failure is not None

    def fails_alike(index: int, number: int) -> bool:
        left = without(case, index, number, number + 1)
        if left is None or not may_be_drawn(invariant, domain, case, left):
            return False
        found = search_case(invariant, component, left)
        return found.failure is not None and kind_of(found.failure) == kind_of(failure)

    return [
        part.name
        for index, part in enumerate(parts(case))
        if any(fails_alike(index, number) for number in range(part.size))
    ]
