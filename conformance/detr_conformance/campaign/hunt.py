"""Looks for an example that kills a mutant, on the very cases that `detr-spec check` draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detr_conformance.base.errors import one_line
from detr_conformance.judging.judge import DEFAULT_DEVICE
from detr_conformance.judging.search import first_failure
from detr_conformance.mutants.patch import mutant_implementations
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import find_invariants
from detr_spec.violation import Raised, RankFailure, Violation


@dataclass(frozen=True)
class Hunt:
    """One search of one invariant's cases for one that kills a mutant.

    examples: how many cases were run. killed: whether the last of them killed it. how: what it was that did; empty
    where nothing did. sound: whether that was a disagreement or an exception of the mutant, not of the check itself.
    """

    mutant: str
    profile: str
    invariant: str
    seed: int
    examples: int
    killed: bool
    how: str = ""
    sound: bool = True


def hunt(invariant: Invariant, implementation: Implementation, *, examples: int, seed: int) -> Hunt:
    """Runs the invariant's cases on a mutant as `judge` does, until one fails or there are no more."""
    domain = Domain(implementation.profile, implementation.limits.of(invariant.component), device=DEFAULT_DEVICE)
    component = implementation.component(invariant.component)
    found = first_failure(invariant, domain, component, invariant.case_count(examples), seed)
    failure, named = found.failure, (implementation.name.partition(":")[2], implementation.profile.name, invariant.id)
    if failure is None:
        return Hunt(*named, seed, found.examples, killed=False)
    sound = isinstance(failure, (Violation, Raised, RankFailure))
    return Hunt(*named, seed, found.examples, killed=True, how=one_line(failure), sound=sound)


def hunt_by_name(mutant: str, profile: str, id: str, seeds: Sequence[int], examples: int) -> tuple[Hunt, ...]:
    """The hunts of one invariant for one mutant in one profile, one for each seed."""
    (invariant,) = find_invariants(id)
    (implementation,) = (item for item in mutant_implementations(mutant) if item.profile.name == profile)
    return tuple(hunt(invariant, implementation, examples=examples, seed=seed) for seed in seeds)
