"""Processes that the tests start, and how they see that none is left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def running() -> Callable[[str], int]:
    """How many processes have a word in their command; where none is expected, after some time for them to end."""

    def count(mark: str, *, none: bool = False) -> int:
        deadline = time.monotonic() + 10
        while True:
            found = 0
            for command in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    found += mark.encode() in command.read_bytes()
            if not none or not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    return count
