"""What a testee may use."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MEMORY_LIMIT = 4096
"""MiB: several times what PyTorch needs for the cases of a check."""


@dataclass
class Bounds:
    """Seconds that a testee has for each judgement; MiB that each of its processes may allocate, 0 for any.

    start: the seconds that it has to start, where it has fewer for a judgement; imports are slow on busy machines.
    """

    seconds: float = 120.0
    mebibytes: int = DEFAULT_MEMORY_LIMIT
    start: float = 30.0

    @property
    def start_seconds(self) -> float:
        """Seconds that a testee has to start."""
        return max(self.seconds, self.start)


BOUNDS = Bounds()
"""Those of the testees that this process starts."""


def set_bounds(seconds: float, mebibytes: int) -> None:
    """Sets what the testees that this process starts from now on may use."""
    BOUNDS.seconds, BOUNDS.mebibytes = seconds, mebibytes
