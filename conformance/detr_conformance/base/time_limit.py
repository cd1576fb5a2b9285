"""Time limits that a busy machine does not trip: processor time, beside a generous limit of wall time."""

from __future__ import annotations

import time
from collections.abc import Callable

WALL = 5
"""How many times as long as the processor time the wall time may be: for what waits, and uses no processor."""

LOOK = 0.25
"""The least seconds between two looks at what processes use, each of which takes some milliseconds."""


class TimeLimit:
    """So many seconds of processor time by a clock, or `WALL` times as many of wall time, from now on."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._between_looks = max(LOOK, seconds / 100)
        self._first = self._last = clock()
        self._start = self._looked = time.monotonic()

    @property
    def used(self) -> float:
        """The seconds of processor time that had been used when the clock was last looked at."""
        return self._last - self._first

    def exceeded(self) -> str | None:
        """What was not finished in time, in words; None while there is time left."""
        now = time.monotonic()
        if now - self._looked >= self._between_looks:
            self._looked = now
            # What a process had used is forgotten by some systems when it ends.
            self._last = max(self._last, self._clock())
        if self.used > self.seconds:
            return f"not finished after {self.seconds:g} s of processor time"
        if now - self._start > WALL * self.seconds:
            return f"not finished after {WALL * self.seconds:g} s, of which it computed for {self.used:.3g} s"
        return None
