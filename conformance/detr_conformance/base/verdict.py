"""Verdicts and judgements: what is known of an invariant for an implementation, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any


class Verdict(str, Enum):
    """What is known of one invariant for one implementation. Not provided is never counted as holds."""

    HOLDS = "holds"
    VIOLATED = "violated"
    EXPECTED_VIOLATION = "expected violation"
    UNEXPECTEDLY_HOLDS = "unexpectedly holds"
    NOT_PROVIDED = "not provided"
    NOT_APPLICABLE = "not applicable"
    VACUOUS = "vacuous"
    ERROR = "error"
    TIMED_OUT = "timed out"
    CRASHED = "crashed"
    CANNOT_BE_CALLED = "cannot be called"
    NOT_JUDGED = "not judged"

    def __str__(self) -> str:
        return self.value

    @property
    def fails(self) -> bool:
        """Whether a run with this verdict fails.

        Vacuous found nothing wrong, and does not fail it; not judged stands beside the verdict that does.
        """
        return self in _FAILING


_FAILING = frozenset({
    Verdict.VIOLATED,
    Verdict.UNEXPECTEDLY_HOLDS,
    Verdict.ERROR,
    Verdict.TIMED_OUT,
    Verdict.CRASHED,
    Verdict.CANNOT_BE_CALLED,
})  # fmt: skip


@dataclass(frozen=True)
class Counterexample:
    """A shrunken case that an invariant does not hold for, and the numbers that disagree, in plain data.

    vector: the case as a vector's document, exact to the bit, which `detr-spec replay` takes. built_with: the numbers
    that the component was built with and that decide, by name. passed: what the last call was given that was not the
    case itself, where it differs from the case, as `other_call` gives it.
    """

    case: Any
    expected: Any = None
    got: Any = None
    allowance: Any = None
    details: Any = None
    vector: Mapping[str, Any] | None = None
    built_with: Mapping[str, Any] | None = None
    passed: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Judgement:
    """The verdict on one invariant, and what it rests on.

    examples: cases run, those of the search for a smaller failing case included. fired: how many of them met the
    premise. dtypes: how many of them were in each dtype. seconds: wall time. implementation_seconds: how much of it
    was spent in calls of the implementation, its bridge included. message: what went wrong, or why the invariant was
    not asked. why_expected: why a violation was expected, where one was. entries: the places of the ledger's entries
    that it speaks about. seed: the one that drew the cases, the last of several; None where nothing was drawn.
    dtype_answers: what each dtype gives, in a word, where a violation depends on it.
    """

    id: str
    number: str
    level: str
    component: str
    statement: str
    verdict: Verdict
    examples: int = 0
    fired: int = 0
    dtypes: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    implementation_seconds: float = 0.0
    message: str = ""
    counterexample: Counterexample | None = None
    why_expected: str = ""
    entries: tuple[str, ...] = ()
    seed: int | None = None
    dtype_answers: Mapping[str, str] = field(default_factory=dict)


def over_seeds(before: Judgement | None, now: Judgement) -> Judgement:
    """What is known of an invariant after one more seed: the verdict of that, unless it was vacuous, and all cases."""
    if before is None:
        return now
    return replace(
        before if now.verdict is Verdict.VACUOUS else now,
        examples=before.examples + now.examples,
        fired=before.fired + now.fired,
        dtypes=dict(Counter(before.dtypes) + Counter(now.dtypes)),
        seconds=before.seconds + now.seconds,
        implementation_seconds=before.implementation_seconds + now.implementation_seconds,
    )
