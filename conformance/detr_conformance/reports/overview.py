"""What the terminal shows of many implementations and many failures: rows of counts, and lines."""

from __future__ import annotations

from rich.table import Table

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.running.report import ImplementationReport, Report

MOST_IN_FULL = 30
"""With more failures than this, only the first of each invariant is shown in full, and of the others a line."""

MOST_NAMED = 5
"""The most implementations that are named for an invariant that fails; the others are counted."""


Pairs = list[tuple[ImplementationReport, Judgement]]


def told(report: Report) -> tuple[Pairs, Pairs]:
    """The failing judgements that are shown in full, and those of which there is only room for a line."""
    failing = report.failing
    if len(failing) <= MOST_IN_FULL:
        return list(failing), []
    seen: set[str] = set()
    in_full: Pairs = []
    in_a_line: Pairs = []
    for pair in failing:
        (in_a_line if pair[1].id in seen else in_full).append(pair)
        seen.add(pair[1].id)
    return in_full, in_a_line


def line_of(implementation: ImplementationReport, judgement: Judgement, width: int) -> str:
    """A failing judgement in one line."""
    message = " ".join(judgement.message.split())
    text = f"{str(judgement.verdict).upper()}: {judgement.id}, {implementation.title}: {message}"
    return text if len(text) <= width else f"{text[: width - 1]}…"


def overview(report: Report) -> Table:
    """How many invariants have which verdict for each implementation."""
    verdicts = [verdict for verdict in Verdict if any(item.counts[verdict] for item in report.implementations)]
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("implementation", "profile"):
        table.add_column(name)
    for verdict in verdicts:
        table.add_column(str(verdict), justify="right", style="bold red" if verdict.fails else "")
    for item in report.implementations:
        numbers = [str(item.counts[verdict] or "-") for verdict in verdicts]
        table.add_row(item.name, item.profile, *numbers)
    return table


def failures(report: Report) -> Table:
    """The ids of what fails, and for which implementations each does."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), style="bold red")
    for name in ("what fails", "", "level", "for"):
        table.add_column(name, no_wrap=name != "for")
    owners: dict[str, list[str]] = {}
    rows: dict[str, Judgement] = {}
    for item, judgement in report.failing:
        owners.setdefault(judgement.id, []).append(item.title)
        rows.setdefault(judgement.id, judgement)
    for judgement in rows.values():
        table.add_row(judgement.id, judgement.number, judgement.level, _named(owners[judgement.id]))
    return table


def _named(titles: list[str]) -> str:
    more = len(titles) - MOST_NAMED
    return ", ".join(titles[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
