"""Measures detection limits: ever smaller errors are planted, until no case of the invariant shows one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from detr_conformance.base.errors import UsageError
from detr_conformance.base.isolation import isolated
from detr_conformance.judging.judge import DEFAULT_SEED, not_asked
from detr_conformance.judging.search import search
from detr_conformance.limits.plants import Factory, Plant, off_by, plants, remembering
from detr_conformance.limits.table import Limit
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.violation import NotProvided, PremiseFailed, Violation

DTYPES = ("float32", "float64")

LADDER = tuple(float(f"1e-{power}") for power in range(1, 17))
"""The errors that are planted, each of them upwards and downwards."""

EXAMPLES = 100
"""How many cases are drawn in each dtype, of those that take long so many times fewer."""

FIRST_LOOK = 30
"""How many cases are asked about the largest error. Most invariants are blind to most terms, and so it is soon seen."""


def smallest(detects: Callable[[float, Any], bool], cases: Sequence[Any]) -> float | None:
    """The smallest error of the ladder such that it and every larger one is detected by some case.

    None where even the largest is detected by none of the first cases.
    """
    found = None
    # What shows an error best is asked first about the next smaller one, and usually shows it.
    queue = list(cases)
    for error in LADDER:
        asked = queue if found is not None else queue[:FIRST_LOOK]
        place = next((place for place, case in enumerate(asked) if detects(error, case)), None)
        if place is None:
            break
        queue.insert(0, queue.pop(place))
        found = error
    return found


def measured(
    invariant: Invariant,
    implementation: Implementation,
    *,
    examples: int = EXAMPLES,
    seed: int = DEFAULT_SEED,
) -> tuple[Limit, ...]:
    """The detection limits of an invariant, by errors in the answers of an implementation for which it holds.

    For each term that it detects an error in: of relative errors; of absolute ones where it detects no relative one and
    the term may be 0. `examples` cases are drawn in each dtype. Raises `UsageError` where the invariant does not hold.
    """
    if not_asked(invariant, implementation) is not None:
        return ()
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for dtype in DTYPES:
        component = remembering(implementation.component(invariant.component))
        cases = _cases(invariant, implementation, component, dtype, examples, seed)
        for plant in plants(invariant, implementation.profile):
            for error in plant.errors:
                limits = [_limit(invariant, component, cases, plant, error, sign) for sign in (1, -1)]
                if limits != [None, None]:
                    found.setdefault((plant.term, error, _signs(*limits)), {})[dtype] = max(filter(None, limits))
                    break
    return tuple(Limit(invariant.id, implementation.profile.name, *key, limits) for key, limits in found.items())


def _signs(upwards: float | None, downwards: float | None) -> str:
    """The signs of the errors that are detected."""
    if upwards is None:
        return "-"
    return "+" if downwards is None else "±"


def _cases(
    invariant: Invariant, implementation: Implementation, component: Factory, dtype: str, examples: int, seed: int
) -> list[Any]:
    """The cases in one dtype that meet the premise."""
    cases: list[Any] = []

    def check(component: Any, case: Any) -> None:
        invariant.check(component, case)
        cases.append(case)

    limits = replace(implementation.limits.of(invariant.component), dtypes=(dtype,))
    domain = Domain(implementation.profile, limits)
    run = search(replace(invariant, check=check), domain, component, invariant.affordable(examples), seed)
    if run.failure is not None or run.unanswered is not None:
        raise UsageError(
            f"{invariant.id} does not hold for {implementation.name} ({implementation.profile.name}): "
            f"{run.failure or run.unanswered}; errors can be planted only in right answers"
        )
    return cases


def _limit(
    invariant: Invariant, component: Factory, cases: Sequence[Any], plant: Plant, error: str, sign: int
) -> float | None:
    with isolated() as restore:

        def detects(delta: float, case: Any) -> bool:
            restore()
            off = off_by(sign * delta, error, case.configuration.dtype)
            try:
                invariant.check(plant.planted(component, off), case)
            except Violation:
                return True
            except (PremiseFailed, NotProvided):
                return False
            return False

        return smallest(detects, cases)
