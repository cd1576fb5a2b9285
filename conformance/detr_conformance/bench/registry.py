"""All contestants: ours, those that others publish, and those that the benchmark is given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from detr_conformance.bench.contestant import Contestant, Find
from detr_conformance.bench.given import given_contestants, given_solvers
from detr_conformance.bench.others import OTHERS
from detr_conformance.bench.ours import OURS
from detr_conformance.bench.solvers import SOLVERS, SolverContestant
from detr_spec.profiles import PROFILES

CONTESTANTS: tuple[Contestant, ...] = (*OURS, *OTHERS)
"""Those that are there without being given."""


def finds_by_dialect(dialects: Sequence[str] = (), given: tuple[str, ...] = ()) -> dict[str, tuple[Find, ...]]:
    """What finds the contestants, by the name of their dialect, those of the implementations that `given` names last.

    Without dialects it is all; with given implementations those alone in which one of them has a criterion.
    """
    everybody = _everybody(given)
    played = {item.profile.name for item in everybody[len(CONTESTANTS) :]} if given else set(PROFILES)
    found: dict[str, tuple[Find, ...]] = {dialect: () for dialect in dialects or PROFILES if dialect in played}
    for place, item in enumerate(everybody):
        if item.profile.name in found:
            found[item.profile.name] += (partial(contestant_at, place, given),)
    return found


def solvers_beside(given: tuple[str, ...] = ()) -> tuple[SolverContestant, ...]:
    """The contestants of the assignment alone; with given implementations none, where none of these has a solver."""
    more = given_solvers(given)
    return (*SOLVERS, *more) if more or not given else ()


def contestant_at(place: int, given: tuple[str, ...]) -> Contestant:
    """The contestant at a place among all."""
    return _everybody(given)[place]


def _everybody(given: tuple[str, ...]) -> tuple[Contestant, ...]:
    return (*CONTESTANTS, *given_contestants(given))
