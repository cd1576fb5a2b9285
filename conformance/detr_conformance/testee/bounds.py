"""What a testee may use."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MEMORY_LIMIT = 4096
"""MiB: several times what PyTorch needs for the cases of a check."""


@dataclass
class Bounds:
    """Seconds that a testee has to start, and then for each judgement; MiB that each of its processes may allocate."""

    seconds: float = 120.0
    mebibytes: int = DEFAULT_MEMORY_LIMIT


BOUNDS = Bounds()
"""Those of this process; 0 MiB are no limit."""


def set_bounds(seconds: float, mebibytes: int) -> None:
    """Sets what the testees that this process starts from now on may use."""
    BOUNDS.seconds, BOUNDS.mebibytes = seconds, mebibytes
