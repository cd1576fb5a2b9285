"""A report of many implementations stays readable: a row for each, and no failure told fifty times in full."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest

from detr_conformance import Report, Verdict
from detr_conformance.base.consoles import Console
from detr_conformance.base.verdict import Judgement
from detr_conformance.reports.show import show_report
from detr_conformance.running.report import ImplementationReport
from detr_spec.invariants import all_invariants


def judgement(invariant: Any, verdict: Verdict) -> Judgement:
    return Judgement(
        invariant.id,
        invariant.number,
        invariant.level.value,
        invariant.component,
        invariant.statement,
        verdict,
        message="a message\nof two lines" if verdict.fails else "",
    )


def report_of(count: int, failing: int = 0, worst: int = 0) -> Report:
    """A report on many implementations, `failing` of which violate one invariant; the last one violates `worst`."""
    items = []
    for number in range(count):
        violated = worst if number == count - 1 and worst else int(number < failing)
        judgements = tuple(
            judgement(invariant, Verdict.VIOLATED if place < violated else Verdict.HOLDS)
            for place, invariant in enumerate(all_invariants())
        )
        items.append(ImplementationReport(f"project-{number:02d}", "detr", (), judgements, "projects.py:ALL"))
    return Report("1", 0, 1, tuple(items))


def shown(report: Report, width: int = 120) -> list[str]:
    console = Console(file=StringIO(), width=width)
    show_report(report, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_fifty_implementations_are_a_row_each() -> None:
    lines = shown(report_of(50))
    assert max(map(len, lines)) <= 120
    rows = [line for line in lines if line.startswith("project-") and not line.endswith("holds")]
    assert len(rows) == 50
    assert rows[7].split() == ["project-07", "detr", str(len(all_invariants()))]
    assert len(lines) < 120


def test_few_implementations_are_a_matrix_as_ever() -> None:
    lines = shown(report_of(2))
    for invariant in all_invariants():
        (line,) = [line for line in lines if line.startswith(f"{invariant.id} ")]
        assert line.split()[-2:] == ["holds", "holds"]


@pytest.mark.parametrize("width", [100, 160])
def test_who_fails_what_is_told_by_invariant(width: int) -> None:
    lines = shown(report_of(50, failing=40), width)
    first = all_invariants()[0].id
    (row,) = [line for line in lines if line.startswith(f"{first} ")]
    assert "project-00 (detr), project-01 (detr)" in row
    assert "and 35 more" in " ".join(lines)
    assert lines.index(row) > len(lines) - 6
    in_full = [line for line in lines if line.startswith(f"VIOLATED: {first} (")]
    told = [line for line in lines if line.startswith(f"VIOLATED: {first}, project-")]
    assert (len(in_full), len(told)) == (1, 39)
    assert told[0].endswith("a message of two lines")


def test_each_invariant_is_told_in_full_once_where_much_fails() -> None:
    lines = shown(report_of(50, failing=49, worst=60))
    assert sum(line.startswith("reproduce:") for line in lines) == 60


def test_a_few_failures_are_all_told_in_full() -> None:
    lines = shown(report_of(3, failing=3))
    assert sum(line.startswith("reproduce:") for line in lines) == 3
