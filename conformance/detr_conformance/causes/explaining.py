"""Looks for the causes of what is violated, within bounded time: no verdict depends on it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from detr_conformance.base.cause import Explained
from detr_conformance.base.verdict import Judgement
from detr_conformance.causes.asking import Asking, Time
from detr_conformance.causes.declarations import declarations
from detr_conformance.causes.dtypes import by_dtype
from detr_spec.implementation import Implementation

SHARE = 0.2
"""The part of a check's time that the search for causes takes at most, within these bounds."""

LEAST, MOST = 2.0, 10.0
"""The seconds that it may take of a short check, and of a long one."""

OF_DECLARATIONS = 0.8
"""The part of them in which declarations are looked for; in the rest, how dtypes differ."""


def seconds_for(judgements: Sequence[Judgement]) -> float:
    """The seconds that the search for causes may take after these judgements; 0 where nothing is violated."""
    if not any(judgement.verdict.fails for judgement in judgements):
        return 0.0
    return min(MOST, max(LEAST, SHARE * sum(judgement.seconds for judgement in judgements)))


def explained(
    implementation: Implementation, judgements: Sequence[Judgement], *, device: str, seed: int, seconds: float
) -> Explained:
    """What would explain the violations among the judgements on an implementation, as far as there is time."""
    start = time.monotonic()
    asked = Asking(implementation, device, seed, Time(start + OF_DECLARATIONS * seconds))
    causes = declarations(judgements, asked)
    rest = Asking(implementation, device, seed, Time(start + seconds))
    return Explained(causes, by_dtype(judgements, rest))
