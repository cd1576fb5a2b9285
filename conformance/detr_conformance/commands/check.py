"""The command `detr-spec check`: runs a plan, shows progress and the report, writes its files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from detr_conformance.base.consoles import Console, error_console, output_console
from detr_conformance.base.files import require_folder
from detr_conformance.base.verdict import Judgement
from detr_conformance.reports.leaving import leave_vectors
from detr_conformance.reports.options import Outputs
from detr_conformance.reports.show import show_report
from detr_conformance.reports.writing import require_all_writable, write_outputs
from detr_conformance.running.progress import importing, shown_progress
from detr_conformance.running.report import Report
from detr_conformance.running.run import Request, judges_for


def run_check(
    names: Sequence[str],
    asked: Request,
    *,
    workers: int,
    outputs: Outputs,
    vectors_path: Path | None = None,
    time_limit: float | None,
    memory_limit: int,
) -> int:
    """The exit code of a check; raises `UsageError` for a wrong request before anything runs."""
    require_all_writable(outputs)
    if vectors_path is not None:
        require_folder(vectors_path)
    report = _judged(names, asked, workers, time_limit, memory_limit)
    console = result_console(outputs)
    with contextlib.ExitStack() as last:
        # Whatever cannot be written, the others are, and what fails stands last.
        last.callback(write_outputs, report, outputs)
        last.callback(show_report, report, console)
        if vectors_path is not None:
            for path in leave_vectors(report, vectors_path):
                console.show(f"vector: {path}")
    return report.exit_code


def result_console(outputs: Outputs) -> Console:
    """Where what a person reads goes: to standard error where a report takes standard output."""
    return error_console() if outputs.to_standard_output else output_console()


def _judged(names: Sequence[str], asked: Request, workers: int, time_limit: float | None, memory_limit: int) -> Report:
    """The report; an interrupt ends the check with what is known by then."""
    judgements: dict[int, Judgement] = {}
    console = error_console()
    shown = partial(importing, console=console)
    with judges_for(names, workers, time_limit, asked.examples, memory_limit, shown) as judges:
        plan = asked.plan(names, judges.find)
        try:
            with shown_progress(plan, console) as judged:
                for place, judgement in plan.judgements(judges):
                    judgements[place] = judgement
                    judged(plan, place, judgement)
        except KeyboardInterrupt:
            pass
    return plan.report(judgements)
