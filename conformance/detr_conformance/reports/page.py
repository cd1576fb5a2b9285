"""A report as one HTML page that needs nothing else: no network, and no script to be read.

Everything of unknown origin is escaped by the template engine, and a content security policy lets the page run its own
script alone, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from detr_conformance.base.text import LONGEST_TEXT, cut, line_of, printable
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.reports.cause_text import cause_title, dtypes_told
from detr_conformance.reports.failure_text import counterexample_lines, explanation, file_lines
from detr_conformance.reports.pictures import Picture, pictures_of
from detr_conformance.running.report import ImplementationReport, Report, missing_components

MOST_PICTURES = 40
"""Findings of one implementation that get pictures."""

MOST_PICTURES_IN_ALL = 800

NUMBERS_IN_ALL = 10_000_000
"""Characters of all findings' numbers, about; with many findings, each gets less."""

LONGEST_MESSAGE = 2_000
SHORTEST_NUMBERS = 400

MARKS = {
    Verdict.HOLDS: "✓",
    Verdict.VIOLATED: "✗",
    Verdict.EXPECTED_VIOLATION: "(✗)",
    Verdict.UNEXPECTEDLY_HOLDS: "(✓)",
    Verdict.NOT_PROVIDED: "–",
    Verdict.NOT_APPLICABLE: "·",
    Verdict.VACUOUS: "∅",
    Verdict.ERROR: "!",
    Verdict.TIMED_OUT: "…",
    Verdict.CRASHED: "†",
    Verdict.CANNOT_BE_CALLED: "‼",
    Verdict.NOT_JUDGED: "?",
}

QUIET = frozenset({Verdict.HOLDS, Verdict.NOT_PROVIDED, Verdict.NOT_APPLICABLE, Verdict.NOT_JUDGED})
"""Verdicts that the matrix alone shows; all others are findings, with a place of their own."""


@dataclass(frozen=True)
class Finding:
    """A judgement to be read, with all that is shown of it. number: its place on the page.

    as_file: the lines that say how to get its case as a file.
    """

    number: int
    judgement: Judgement
    numbers: str
    command: str
    as_file: tuple[str, ...]
    pictures: tuple[Picture, ...]
    note: str


@dataclass(frozen=True)
class Column:
    """An implementation, its findings, those that fail first, and how many of them lack their pictures."""

    implementation: ImplementationReport
    findings: tuple[Finding, ...]
    without_pictures: int


@dataclass(frozen=True)
class Cell:
    """What the matrix shows of an invariant for an implementation; finding: the place of its finding, if it has one."""

    verdict: Verdict
    mark: str
    finding: int | None


@dataclass(frozen=True)
class Row:
    """An invariant in the matrix; None for an implementation that was not judged by it."""

    judgement: Judgement
    cells: tuple[Cell | None, ...]


def as_html(report: Report) -> str:
    """The report as a page."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        loader=PackageLoader("detr_conformance.reports"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cut": cut, "line": line_of}
    environment.filters |= {"title": cause_title, "dtypes": dtypes_told, "explanation": explanation}
    columns = tuple(_columns(report))
    style, script = _asset("page.css"), _asset("page.js")
    components, missing = _components(report)
    page: str = environment.get_template("page.html").render(
        report=report,
        columns=columns,
        matrix=_matrix(report, columns, components),
        missing=missing,
        counts=_counts(report),
        failing=len(report.failing),
        marks=MARKS,
        legend=[verdict for verdict in Verdict if any(judgement.verdict is verdict for _, judgement in report)],
        components=components,
        levels=sorted({judgement.level for _, judgement in report}),
        findings=sum(len(column.findings) for column in columns),
        first_failing=_first_failing(columns),
        longest_message=LONGEST_MESSAGE,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    return page


def _columns(report: Report) -> Iterator[Column]:
    """The implementations with their findings; pictures and numbers as far as the page's size allows."""
    findings = sum(judgement.verdict not in QUIET for _, judgement in report)
    longest = max(SHORTEST_NUMBERS, min(LONGEST_TEXT, NUMBERS_IN_ALL // max(1, findings)))
    most = min(MOST_PICTURES, max(1, MOST_PICTURES_IN_ALL // max(1, len(report.implementations))))
    number = 0
    for implementation in report.implementations:
        noticed = [judgement for judgement in implementation.judgements if judgement.verdict not in QUIET]
        noticed.sort(key=lambda judgement: not judgement.verdict.fails)
        drawn, shown, without = 0, [], 0
        for judgement in noticed:
            pictures, note = pictures_of(judgement) if drawn < most else ((), "")
            drawn += bool(pictures)
            without += drawn >= most and not pictures and judgement.counterexample is not None
            command = report.command(implementation, judgement)
            as_file = tuple(file_lines(judgement, command))
            shown.append(Finding(number, judgement, _numbers(judgement, longest), command, as_file, pictures, note))
            number += 1
        yield Column(implementation, tuple(shown), without)


def _first_failing(columns: tuple[Column, ...]) -> int | None:
    """The number of the first finding that fails a run, which is open from the start."""
    failing = (found.number for column in columns for found in column.findings if found.judgement.verdict.fails)
    return next(failing, None)


def _numbers(judgement: Judgement, longest: int) -> str:
    if judgement.counterexample is None:
        return ""
    return cut("\n".join(counterexample_lines(judgement.counterexample)).strip("\n"), longest)


def _components(report: Report) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The components that have rows in the matrix, and those that no implementation provides, in order."""
    missing = missing_components(report.implementations)
    named = dict.fromkeys(judgement.component for _, judgement in report)
    return tuple(name for name in named if name not in missing), missing


def _matrix(report: Report, columns: Sequence[Column], components: Sequence[str]) -> dict[str, list[Row]]:
    """The rows of the matrix by component."""
    places = [{finding.judgement.id: finding.number for finding in column.findings} for column in columns]
    verdicts = [{judgement.id: judgement.verdict for judgement in item.judgements} for item in report.implementations]
    rows: dict[str, list[Row]] = {component: [] for component in components}
    for judgement in {judgement.id: judgement for _, judgement in report}.values():
        if judgement.component in rows:
            cells = tuple(
                Cell(by_id[judgement.id], MARKS[by_id[judgement.id]], found.get(judgement.id))
                if judgement.id in by_id
                else None
                for by_id, found in zip(verdicts, places, strict=True)
            )
            rows[judgement.component].append(Row(judgement, cells))
    return rows


def _counts(report: Report) -> Mapping[Verdict, int]:
    """How many judgements of all implementations have each verdict that occurs."""
    total = {verdict: sum(item.counts[verdict] for item in report.implementations) for verdict in Verdict}
    return {verdict: count for verdict, count in total.items() if count}


def _shown(value: Any) -> Any:
    """What a template shows of a value: text in signs that can be shown; markup as it is."""
    return printable(value) if type(value) is str else value


@cache
def _asset(name: str) -> str:
    return (files("detr_conformance.reports") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The hash by which a content security policy knows a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
