"""The search for a smaller case, once one fails: from several starts, and for a limited time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from detr_conformance.base.time_limit import TimeLimit
from detr_conformance.encoding.plain_data import plain_data
from detr_conformance.judging.parts import parts
from detr_conformance.judging.reduction import reduce_found
from detr_conformance.judging.search import Component, Search, search
from detr_spec.invariant import Domain, Invariant

SEARCHES = 3
"""How often a smaller failing case is looked for, each time from another start."""

FEW = 2
"""How many images, queries and targets the smallest cases have that are looked for."""

REDUCING = 0.25
"""The share of the time in which what a failing case does not need is left out of it."""

TOLD_EVERY = 1.0
"""The least seconds between two failing cases that are told, as telling takes time."""


class Smaller:
    """What has failed so far, and how much time is left to make it smaller.

    seconds: of processor time by the clock, from the first case that fails on, and some more of wall time. tell: called
    with what is found, at once and then now and again, so that it is known whatever becomes of this process.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], tell: Callable[[Search], None]) -> None:
        self.found: Search | None = None
        self._seconds, self._clock, self._tell = seconds, clock, tell
        self._limit: TimeLimit | None = None
        self._told = 0.0

    def failed(self, found: Search) -> None:
        """Takes notice of a case that fails."""
        self.found = found
        if self._limit is None:
            self._limit = TimeLimit(self._seconds * (1 - REDUCING), self._clock)
        if time.monotonic() - self._told >= TOLD_EVERY:
            self._tell(found)
            self._told = time.monotonic()

    def over(self) -> bool:
        """Whether the time for searches is up."""
        return self._limit is not None and self._limit.exceeded() is not None

    def seek(
        self, invariant: Invariant, domain: Domain, component: Component, found: Search, examples: int, seed: int
    ) -> None:
        """Puts the smallest failure of the same kind that is found, with what it needs alone, into `found`.

        The same failing case is made as small again, so it is the unreduced one that a database keeps.
        """
        self._search(invariant, domain, component, found, examples, seed)
        limit = TimeLimit(self._seconds * REDUCING, self._clock)
        reduce_found(invariant, domain, component, found, over=lambda: limit.exceeded() is not None)

    def _search(
        self, invariant: Invariant, domain: Domain, component: Component, found: Search, examples: int, seed: int
    ) -> None:
        """Looks for a smaller failure in more searches, of small cases.

        Shrinking can end in a case from which no single step leads on; a search from elsewhere often does not. Sets of
        few are searched first, and larger ones where no set of few fails.
        """
        for most in (FEW, None):
            failed = False
            few = replace(domain, small=True, most=most)
            for attempt in range(SEARCHES):
                small = search(invariant, few, component, examples, seed + attempt, over=self.over)
                found.count(small)
                if type(small.failure) is type(found.failure) and not small.not_repeatable:
                    failed = True
                    # What is left of a case with more in it may be less.
                    reduce_found(invariant, domain, component, small, over=self.over)
                    if _extent(small.failing_case) < _extent(found.failing_case):
                        found.failing_case, found.failure = small.failing_case, small.failure
            if failed:
                return


def _extent(case: Any) -> tuple[int, int]:
    """How many things a case has, then how much there is to read of it."""
    return sum(part.size for part in parts(case)), len(json.dumps(plain_data(case)))
