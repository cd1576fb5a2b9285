"""What the terminal shows of a report: the table of verdicts, the counts, the causes, and each failure in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.padding import Padding
from rich.table import Table

from detr_conformance.base.consoles import Console, styled
from detr_conformance.base.text import counted
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.reports.cause_text import cause_title
from detr_conformance.reports.failure_text import failure_text
from detr_conformance.reports.overview import failures, line_of, overview, told
from detr_conformance.running.report import ImplementationReport, Report, missing_components

WORDS = {
    Verdict.HOLDS: ("holds", "green"),
    Verdict.VIOLATED: ("VIOLATED", "bold red"),
    Verdict.EXPECTED_VIOLATION: ("expected", "yellow"),
    Verdict.UNEXPECTEDLY_HOLDS: ("UNEXPECTED", "bold red"),
    Verdict.NOT_PROVIDED: ("-", "bright_black"),
    Verdict.NOT_APPLICABLE: ("n/a", "bright_black"),
    Verdict.VACUOUS: ("vacuous", "yellow"),
    Verdict.ERROR: ("ERROR", "bold red"),
    Verdict.TIMED_OUT: ("TIMED OUT", "bold red"),
    Verdict.CRASHED: ("CRASHED", "bold red"),
    Verdict.CANNOT_BE_CALLED: ("UNCALLABLE", "bold red"),
    Verdict.NOT_JUDGED: ("not judged", "yellow"),
}

MOST_COLUMNS = 24
"""With more implementations than this, each is a row of counts, instead of a column in one of many tables."""

LEGEND = {
    Verdict.EXPECTED_VIOLATION: "expected: violated, as the ledger says",
    Verdict.UNEXPECTEDLY_HOLDS: "UNEXPECTED: holds, though the ledger lists it",
    Verdict.NOT_PROVIDED: "-: not provided by the implementation",
    Verdict.NOT_APPLICABLE: "n/a: not applicable to the profile",
    Verdict.VACUOUS: "vacuous: no case met the premise, so nothing is known",
    Verdict.ERROR: "ERROR: raised where it should answer",
    Verdict.CANNOT_BE_CALLED: "UNCALLABLE: raised whatever it was given",
    Verdict.NOT_JUDGED: "not judged: what it asks cannot be called, as told once",
}


def show_report(report: Report, console: Console) -> None:
    """Prints the table and the counts, then the causes, then the findings, then the ids of what fails, seen last."""
    many = len(report.implementations) > MOST_COLUMNS
    for table in [overview(report)] if many else _tables(report, console.width):
        console.print()
        console.print(table)
    for line in _legend(report):
        console.show(line, "bright_black")
    for implementation, judgement in report.with_verdict(Verdict.EXPECTED_VIOLATION):
        console.show(f"expected: {judgement.id}, {implementation.title}: {judgement.why_expected}")
    console.print()
    if not many:
        for line in count_lines(report):
            console.show(line)
    for line in cost_lines(report):
        console.show(line)
    _show_causes(report, console)
    _show_findings(report, console)
    if report.failing:
        console.print()
        # Below a matrix, what fails is told apart from its rows.
        console.print(Padding.indent(failures(report), 0 if many else 2))


def _show_causes(report: Report, console: Console) -> None:
    for item in report.implementations:
        if item.causes:
            console.print()
            console.show(f"why, {item.title}:", "bold")
        for cause in item.causes:
            console.show(f"  {cause_title(cause)}")
            console.show(f"    {', '.join(cause.invariants)}")


def _show_findings(report: Report, console: Console) -> None:
    in_full, in_a_line = told(report)
    for implementation, judgement in _shortened(in_full):
        console.rule(style="bright_black")
        command = report.command(implementation, judgement)
        console.show(failure_text(implementation.title, judgement, command), WORDS[judgement.verdict][1])
    for implementation, judgement in in_a_line:
        console.show(line_of(implementation, judgement, console.width), WORDS[judgement.verdict][1])


def _shortened(
    failing: Sequence[tuple[ImplementationReport, Judgement]],
) -> Iterator[tuple[ImplementationReport, Judgement]]:
    """The judgements, with a traceback that was shown already for the implementation told by where."""
    shown: dict[tuple[str, str], str] = {}
    for implementation, judgement in failing:
        counterexample = judgement.counterexample
        details = (counterexample and counterexample.details) or {}
        key = (implementation.title, str(details.get("traceback")))
        if counterexample is not None and "traceback" in details and key in shown:
            details = {**details, "traceback": f"as for {shown[key]} above"}
            counterexample = replace(counterexample, details=details)
            yield implementation, replace(judgement, counterexample=counterexample)
        else:
            shown[key] = judgement.id
            yield implementation, judgement


def count_lines(report: Report) -> Iterator[str]:
    """How many invariants have which verdict, a line for each implementation."""
    for item in report.implementations:
        counts = ", ".join(f"{item.counts[verdict]} {verdict}" for verdict in Verdict if item.counts[verdict])
        yield f"{item.title}: {counts or 'nothing judged'}"


def cost_lines(report: Report) -> Iterator[str]:
    """What the cases cost, and what the run was given."""
    cost = report.cost
    yield cost.told
    yield (
        f"{cost.implementation_seconds:.1f} s of these in the implementations and their bridges; "
        f"{1000 * cost.beyond:.1f} ms a case beyond them"
    )
    shard = f", shard {report.shard}" if report.shard else ""
    yield f"detr-spec {report.version}, seed {report.seed}, {counted(report.examples, 'example')}{shard}"
    if report.interrupted:
        yield "interrupted: this is what was known so far"


def _legend(report: Report) -> Iterator[str]:
    seen = {judgement.verdict for _, judgement in report}
    for verdict, line in LEGEND.items():
        if verdict in seen:
            yield line


def _tables(report: Report, width: int) -> Iterator[Table]:
    """Tables of invariants by implementations, as many implementations side by side as the width allows."""
    items = list(report.implementations)
    rows = list({judgement.id: judgement for _, judgement in report}.values())
    if not rows:
        return
    names = 3 + max(len(judgement.id) for judgement in rows)
    room = max(1, (width - names - 16) // (3 + max(map(_column_width, items))))
    for start in range(0, len(items), room):
        group = items[start : start + room]
        missing = missing_components(group)
        table = _table(group, [judgement for judgement in rows if judgement.component not in missing])
        if missing:
            table.caption = f"not provided at all: {', '.join(missing)}"
            table.caption_justify = "left"
        yield table


def _column_width(item: ImplementationReport) -> int:
    return max(len(item.name), len(item.profile) + 2, 9)


def _table(items: Sequence[ImplementationReport], rows: Sequence[Judgement]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("invariant", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("level", no_wrap=True)
    for item in items:
        table.add_column(f"{item.name}\n{item.profile}", min_width=_column_width(item))
    verdicts = [{judgement.id: judgement.verdict for judgement in item.judgements} for item in items]
    for before, row in zip((None, *rows), rows, strict=False):
        if before is not None and row.component != before.component:
            table.add_row()
        cells = [styled(*WORDS[by_id[row.id]]) if row.id in by_id else "" for by_id in verdicts]
        table.add_row(row.id, row.number, row.level, *cells)
    return table
