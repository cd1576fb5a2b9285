"""What is told while a check runs: what is imported, how far it is, what is left."""

from __future__ import annotations

import time
from io import StringIO

import pytest

from detr_conformance.base.consoles import Console
from detr_conformance.running import progress
from detr_conformance.running.judges import ThisProcess
from detr_conformance.running.progress import importing, shown_progress
from detr_conformance.running.run import Plan, request
from detr_conformance.running.selection import Selection
from detr_spec.implementation import Implementation


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=200)


def lines_of(console: Console) -> list[str]:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_an_import_that_takes_long_is_named(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONG_IMPORT", 0.02)
    with importing("slow.py:X", console):
        deadline = time.monotonic() + 10
        while not lines_of(console) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert lines_of(console) == ["importing slow.py:X …"]


def test_a_short_import_is_not_named(console: Console) -> None:
    with importing("quick.py:X", console):
        pass
    assert lines_of(console) == []


@pytest.fixture
def plan(right: Implementation) -> Plan:
    """Of an implementation that provides one component of many."""
    return request(Selection(invariants=("S1", "S2", "M1", "M2", "C1")), examples=1).plan(right)


def test_what_is_not_provided_is_not_counted(plan: Plan, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with ThisProcess() as judges, shown_progress(plan, console) as judged:
        for place, judgement in plan.judgements(judges):
            judged(plan, place, judgement)
    asked = len(plan.asked)
    assert 1 < asked < len(plan.places)
    told = [line for line in lines_of(console) if " judged, 0 failing, about " in line]
    assert [line.split(" judged")[0] for line in told] == [f"{done} of {asked}" for done in range(1, asked)]
    assert lines_of(console)[-1] == "right (detr) judged, nothing failing"


def test_lines_come_now_and_then(plan: Plan, console: Console) -> None:
    with ThisProcess() as judges, shown_progress(plan, console) as judged:
        for place, judgement in plan.judgements(judges):
            judged(plan, place, judgement)
    assert lines_of(console) == ["right (detr) judged, nothing failing"]
