"""Processor time is what is limited; wall time is limited for what waits."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from detr_conformance.base.time_limit import TimeLimit
from detr_conformance.processes.usage import own_processor_seconds, processor_seconds


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[float], TimeLimit]:
    """The wall clock, the processor clock, and a limit of ten seconds by them."""
    wall, processor = [100.0], [7.0]
    monkeypatch.setattr(time, "monotonic", lambda: wall[0])
    return wall, processor, TimeLimit(10, lambda: processor[0])


def test_what_computes_too_long_is_late(limit: tuple[list[float], list[float], TimeLimit]) -> None:
    wall, processor, times = limit
    wall[0], processor[0] = 111, 16.9
    assert times.exceeded() is None
    wall[0], processor[0] = 112, 17.1
    assert times.exceeded() == "not finished after 10 s of processor time"


def test_a_busy_machine_is_no_fault(limit: tuple[list[float], list[float], TimeLimit]) -> None:
    wall, processor, times = limit
    wall[0], processor[0] = 149, 16.0
    assert times.exceeded() is None


def test_what_waits_is_late_after_some_more(limit: tuple[list[float], list[float], TimeLimit]) -> None:
    wall, processor, times = limit
    wall[0], processor[0] = 151, 7.25
    assert times.exceeded() == "not finished after 50 s, of which it computed for 0.25 s"


def test_time_that_is_forgotten_when_a_process_ends_still_counts(
    limit: tuple[list[float], list[float], TimeLimit],
) -> None:
    wall, processor, times = limit
    wall[0], processor[0] = 108, 16.0
    assert times.exceeded() is None
    wall[0], processor[0] = 109, 3.0
    assert times.exceeded() is None
    assert times.used == 9.0


def test_the_time_of_processes_that_were_started_counts() -> None:
    before = own_processor_seconds()
    spin = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-I", "-S", "-c", spin], check=True)
    assert 0.25 < own_processor_seconds() - before < 30


def test_a_process_that_is_gone_has_used_no_time() -> None:
    gone = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    gone.wait()
    assert processor_seconds(gone.pid) == 0.0
