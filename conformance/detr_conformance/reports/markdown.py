"""A report as Markdown, for the summary of a run of continuous integration."""

from __future__ import annotations

import html
import re

from detr_conformance.base.text import LONGEST_TEXT, counted, cut, line_of, printable
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.reports.cause_text import cause_title, dtypes_told
from detr_conformance.reports.failure_text import counterexample_lines, explanation, file_lines
from detr_conformance.running.report import ImplementationReport, Report

LARGEST = 1_000_000
"""Bytes; GitHub shows no summary of a step that is larger than 1 MiB."""

MARKS = {verdict: f"❌ {verdict}" for verdict in Verdict if verdict.fails} | {
    verdict: f"⚠️ {verdict}" for verdict in (Verdict.EXPECTED_VIOLATION, Verdict.VACUOUS)
}
"""The verdicts that get a row of their own, with how they are shown; the others are counted."""

_HEADING = "| invariant | | implementation | verdict | |\n|---|---|---|---|---|\n"
_ROOM_FOR_LAST_LINE = 200


def as_markdown(report: Report, largest: int = LARGEST) -> str:
    """The report as Markdown of at most `largest` bytes: counts, what is not plainly "holds", causes, failures in full.

    Where it would be larger it ends early and says how much it leaves out.
    """
    noticed = report.with_verdict(*MARKS)
    blocks = [
        _head(report) + (_HEADING if noticed else ""),
        *(_row(*pair) for pair in noticed),
        *(_causes(item) for item in report.implementations if item.causes),
        *(_failure(report, *pair) for pair in report.failing),
    ]
    left = largest - _ROOM_FOR_LAST_LINE
    for place, block in enumerate(blocks):
        left -= len(block.encode())
        if left < 0:
            rows = max(0, len(noticed) - max(0, place - 1))
            failures = min(len(report.failing), len(blocks) - place)
            return (
                "".join(blocks[:place])
                + f"\n**Cut; left out: {counted(rows, 'row')} and {counted(failures, 'failure')}.**\n"
            )
    return "".join(blocks)


def _head(report: Report) -> str:
    lines = [f"## detr-spec: {_outcome(report)}", ""]
    if report.interrupted:
        lines += ["**Interrupted: this report is partial.**", ""]
    lines += ["| implementation | invariants |", "|---|---|"]
    for item in report.implementations[:100]:
        counts = ", ".join(f"{item.counts[verdict]} {verdict}" for verdict in Verdict if item.counts[verdict])
        lines.append(f"| {_inline(item.title)} | {counts or 'nothing judged'} |")
    if len(report.implementations) > 100:
        lines.append(f"| … and {len(report.implementations) - 100} more | |")
    given = f"detr-spec {_inline(report.version)}, seed {report.seed}, {counted(report.examples, 'example')}"
    given += f", shard {report.shard}" if report.shard else ""
    return "\n".join([*lines, "", f"{given}, {report.cost.told}", ""]) + "\n"


def _outcome(report: Report) -> str:
    failing = len(report.failing)
    if failing:
        return f"{failing} of {counted(sum(1 for _ in report), 'judgement')} {'fails' if failing == 1 else 'fail'}"
    return "interrupted" if report.interrupted else "nothing failed"


def _row(implementation: ImplementationReport, judgement: Judgement) -> str:
    cells = (
        f"<code>{_inline(judgement.id)}</code>",
        f"{_inline(judgement.number)} {judgement.level}",
        _inline(implementation.title),
        MARKS[judgement.verdict],
        _inline(judgement.why_expected or judgement.message),
    )
    return f"| {' | '.join(cells)} |\n"


def _causes(implementation: ImplementationReport) -> str:
    lines = ["", f"**Why, {_inline(implementation.title)}:**", ""]
    for cause in implementation.causes:
        ids = ", ".join(f"<code>{_html(name)}</code>" for name in cause.invariants)
        lines.append(f"- <code>{_html(cause_title(cause))}</code>: {ids}")
    return "\n".join([*lines, ""])


def _failure(report: Report, implementation: ImplementationReport, judgement: Judgement) -> str:
    numbers = [judgement.message]
    if judgement.dtype_answers:
        numbers.append(dtypes_told(judgement.dtype_answers))
    if judgement.counterexample is not None:
        numbers += counterexample_lines(judgement.counterexample)
    command = report.command(implementation, judgement)
    as_file = [f"# {line}" for line in file_lines(judgement, command)]
    return "\n".join(
        [
            "",
            "<details>",
            f"<summary>{MARKS[judgement.verdict]}: <code>{_html(judgement.id)}</code>, "
            f"{_html(implementation.title)}</summary>",
            "",
            f"<p>{_html(judgement.statement)}</p>",
            "",
            _fenced(cut("\n".join(numbers), LONGEST_TEXT), "text"),
            "",
            _fenced("\n".join([explanation(judgement), command, *as_file]), "sh"),
            "",
            "</details>",
            "",
        ]
    )


def _html(text: str) -> str:
    return html.escape(line_of(text))


def _inline(text: str) -> str:
    """Any text as a part of a line that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*_\[\]<>|~&!$@])", r"\\\1", line_of(text))


def _fenced(text: str, language: str) -> str:
    """Any text as a block of code, in a fence that is longer than any within."""
    text = printable(text)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
