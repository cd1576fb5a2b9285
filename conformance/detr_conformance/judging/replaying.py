"""Replays vectors: judges an implementation on each by the invariants that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from detr_conformance.base.errors import one_line
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.fitting import Unfit, judge_vector
from detr_conformance.judging.judge import blank_judgement, not_asked
from detr_conformance.vectors.checks import invariants_by_id
from detr_conformance.vectors.expected import expected_values
from detr_conformance.vectors.reading import Placed
from detr_conformance.vectors.staleness import require_current
from detr_conformance.vectors.vector import Expected
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant


@dataclass(frozen=True)
class Replay:
    """The judgement of one invariant on an implementation by one vector, and where the vector is."""

    place: str
    implementation: Implementation
    judgement: Judgement


def replays(placed: Sequence[Placed], implementations: Sequence[Implementation], device: str) -> Iterator[Replay]:
    """The judgement of each implementation by each vector, one for each invariant that it names.

    A vector that does not fit an implementation is *not applicable* to it, with the reason. Raises `UsageError` where
    the expected values in a file are not those of the norm.
    """
    for item in placed:
        vector = item.vector
        if vector.expected is not None:
            require_current(vector.expected, _defined(item), item.place)
        for name in vector.invariants:
            for implementation in implementations:
                judgement = _judged(invariants_by_id()[name], implementation, item, device)
                yield Replay(str(item.place), implementation, judgement)


def _defined(item: Placed) -> Expected:
    try:
        return expected_values(item.vector.component, item.vector.case)
    except (ValueError, ArithmeticError, LookupError) as error:
        raise item.place.within("case").wrong(
            found=f"numbers for which nothing is expected ({one_line(error)})",
            expected="others, or no field 'expected'",
        ) from error


def _judged(invariant: Invariant, implementation: Implementation, item: Placed, device: str) -> Judgement:
    unasked = not_asked(invariant, implementation)
    if unasked is not None:
        return unasked
    try:
        judgement = judge_vector(invariant, implementation, item.vector, device)
    except Unfit as error:
        return blank_judgement(invariant, Verdict.NOT_APPLICABLE, f"the vector does not fit: {error}")
    if judgement.verdict is Verdict.VACUOUS and not judgement.message.startswith("not judged"):
        return replace(judgement, message="the vector does not meet the premise")
    return judgement
