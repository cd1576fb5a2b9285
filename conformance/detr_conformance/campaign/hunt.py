"""Looks for an example that kills a mutant, on the very cases that `detr-spec check` draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from detr_conformance.base.errors import one_line
from detr_conformance.judging.judge import DEFAULT_DEVICE
from detr_conformance.judging.search import search
from detr_conformance.mutants.patch import mutant_implementations
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import find_invariants
from detr_spec.violation import NotProvided, PremiseFailed, Raised, RankFailure, Violation


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


class _Killed(BaseException):
    """Leaves the search at the first case that fails, without shrinking it."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def hunt(invariant: Invariant, implementation: Implementation, *, examples: int, seed: int) -> Hunt:
    """Runs the invariant's cases on a mutant as `judge` does, until one fails or there are no more."""
    run = 0

    def check(component: Any, case: Any) -> None:
        nonlocal run
        run += 1
        try:
            invariant.check(component, case)
        except (PremiseFailed, NotProvided):
            raise
        except Exception as error:
            raise _Killed(error) from error

    def told(killed: bool, how: str = "", sound: bool = True) -> Hunt:
        name, profile = implementation.name.partition(":")[2], implementation.profile.name
        return Hunt(name, profile, invariant.id, seed, run, killed, how, sound)

    domain = Domain(implementation.profile, implementation.limits.of(invariant.component), device=DEFAULT_DEVICE)
    component = implementation.component(invariant.component)
    try:
        search(replace(invariant, check=check), domain, component, invariant.case_count(examples), seed)
    except _Killed as kill:
        return told(True, one_line(kill.error), isinstance(kill.error, (Violation, Raised, RankFailure)))
    return told(False)


def hunt_by_name(mutant: str, profile: str, id: str, seeds: Sequence[int], examples: int) -> tuple[Hunt, ...]:
    """The hunts of one invariant for one mutant in one profile, one for each seed."""
    (invariant,) = find_invariants(id)
    (implementation,) = (item for item in mutant_implementations(mutant) if item.profile.name == profile)
    return tuple(hunt(invariant, implementation, examples=examples, seed=seed) for seed in seeds)
