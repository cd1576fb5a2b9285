"""Draws the set of vectors: few and small cases that show, together, everything there is to show.

Cases are drawn from each invariant's own strategy and run on the reference, so a vector meets the premise of every
invariant that it names, and a right implementation passes it. What is to be shown, the aspects, are each invariant in
each profile and dtype, and each regime and flag of each component in each profile. Of all cases those are taken that
show most for their length, until all is shown; then what others show as well is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detr_conformance.base.version import installed_version
from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_conformance.implementations.solver import solver
from detr_conformance.judging.search import Search, search
from detr_conformance.vectors.checks import arrays_of
from detr_conformance.vectors.expected import expected_values
from detr_conformance.vectors.flags import flags_of
from detr_conformance.vectors.reading import one_line
from detr_conformance.vectors.vector import Provenance, Vector, to_document
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import all_invariants
from detr_spec.violation import PremiseFailed

SEED = 0
DRAWS = 12
FEWEST_DRAWS = 6
"""How many cases are drawn for each invariant and profile; fewer for those that take long."""

FEW = 2
"""How many images, queries and targets large cases have: real COCO targets are large by their classes."""

TELLING = 6
"""How many different numbers a case has that is not as simple as can be, where an invariant has such a case."""

Aspect = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A vector that may be taken, its length as text, and the aspects that it shows."""

    vector: Vector
    length: int
    aspects: frozenset[Aspect]


def right_solver() -> Implementation:
    """The specification's own solver, also of several problems in one call."""
    return numpy_implementation(
        name="right solver", solver=solver, batch_solver=lambda costs: [solver(cost) for cost in costs]
    )


def drawn_vectors(
    implementations: Sequence[Implementation], invariants: Sequence[Invariant] | None = None, draws: int = DRAWS
) -> tuple[Vector, ...]:
    """The set of vectors, from cases that right implementations have passed; by component, profile and length."""
    pool: dict[str, Vector] = {}
    for invariant in all_invariants() if invariants is None else invariants:
        for implementation in implementations:
            if invariant.applies(implementation.profile) and invariant.component in implementation.components:
                _add_cases(pool, invariant, implementation, draws)
    candidates = [candidate for vector in pool.values() if (candidate := _candidate(vector)) is not None]
    chosen = _without_needless(_covering(candidates))
    return tuple(candidate.vector for candidate in sorted(chosen, key=_place))


def _add_cases(pool: dict[str, Vector], invariant: Invariant, implementation: Implementation, draws: int) -> None:
    """Adds the cases that an invariant holds for, those that tell something alone where there are any."""
    found: dict[str, Any] = {}
    component = implementation.component(invariant.component)
    limits = implementation.limits.of(invariant.component)
    count = max(FEWEST_DRAWS, invariant.affordable(draws))
    small = Domain(implementation.profile, limits, small=True)
    few = Domain(implementation.profile, limits, most=FEW)
    for domain in (small, few):
        cases, done = cases_that_hold(invariant, domain, component, count, SEED)
        if done.failure is not None:
            raise ValueError(f"{implementation.name} violates {invariant.id}: {done.failure}")
        found = cases | found
    telling = {key: case for key, case in found.items() if _is_telling(case)}
    add_drawn(pool, invariant, telling or found, SEED)


def cases_that_hold(
    invariant: Invariant, domain: Domain, component: Any, count: int, seed: int
) -> tuple[dict[str, Any], Search]:
    """Those of so many cases that an invariant holds for, by what makes them the same, and what happened."""
    found: dict[str, Any] = {}

    def check(component: Any, case: Any) -> None:
        invariant.check(component, case)
        found.setdefault(case_key(invariant.component, case), case)

    # Under one id, equal strategies draw equal cases, which then serve several invariants.
    watched = replace(invariant, id=invariant.component, check=check)
    return found, search(watched, domain, component, count, seed)


def add_drawn(pool: dict[str, Vector], invariant: Invariant, cases: Mapping[str, Any], seed: int) -> None:
    """Adds vectors of cases that an invariant holds for; one that others hold for as well gets its name added."""
    for key, case in cases.items():
        names = pool[key].invariants if key in pool else ()
        provenance = Provenance("drawn", installed_version(), seed)
        pool[key] = Vector(invariant.component, (*names, invariant.id), case, provenance)


def case_key(component: str, case: Any) -> str:
    """What makes two cases of a component the same."""
    document = to_document(Vector(component, ("",), case, Provenance("", "", 0)))
    return json.dumps([document[name] for name in ("component", "profile", "configuration", "case")])


def _is_telling(case: Any) -> bool:
    numbers = [array.ravel() for _, array in arrays_of(case) if array.dtype.kind == "f"]
    return bool(numbers) and len(np.unique(np.concatenate(numbers))) >= TELLING


def _candidate(vector: Vector) -> Candidate | None:
    """The candidate that a vector is; None where a right answer is not known to be one of a few."""
    try:
        expected = expected_values(vector.component, vector.case)
    except PremiseFailed:
        return None
    whole = replace(vector, expected=expected, flags=flags_of(vector.case, expected))
    case, configuration = whole.case, whole.case.configuration
    profile = configuration.profile.name
    aspects = {(name, profile, configuration.dtype) for name in whole.invariants}
    aspects |= {(whole.component, profile, told) for told in (f"regime {case.regime}", *whole.flags)}
    return Candidate(whole, len(one_line(whole)), frozenset(aspects))


def _covering(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that show together what all do: again and again the one that shows most that is new for its length."""
    left = sorted(candidates, key=_place)
    missing = {aspect for candidate in candidates for aspect in candidate.aspects}
    chosen: list[Candidate] = []
    while missing:
        best = max(left, key=lambda candidate: len(candidate.aspects & missing) / candidate.length)
        chosen.append(best)
        left.remove(best)
        missing -= best.aspects
        left = [candidate for candidate in left if candidate.aspects & missing]
    return chosen


def _without_needless(chosen: Sequence[Candidate]) -> list[Candidate]:
    """Those without which something would not be shown; the longest are given up first."""
    kept = sorted(chosen, key=lambda candidate: (-candidate.length, _place(candidate)))
    for candidate in tuple(kept):
        others = {aspect for other in kept if other is not candidate for aspect in other.aspects}
        if candidate.aspects <= others:
            kept.remove(candidate)
    return kept


def _place(candidate: Candidate) -> tuple[Any, ...]:
    vector = candidate.vector
    configuration = vector.case.configuration
    component = list(dict.fromkeys(invariant.component for invariant in all_invariants())).index(vector.component)
    return component, configuration.profile.name, candidate.length, one_line(vector)
