"""The command `detr-spec check`: runs a plan, shows progress and the report, writes the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from detr_conformance.consoles import error_console, output_console
from detr_conformance.files import require_writable, write_whole
from detr_conformance.progress import shown_progress
from detr_conformance.report import Report
from detr_conformance.run import Request, judges_for
from detr_conformance.show import show_report
from detr_conformance.vectors.leaving import leave_vectors, require_folder
from detr_conformance.verdict import Judgement


def run_check(
    names: Sequence[str],
    asked: Request,
    *,
    workers: int,
    json_path: Path | None,
    vectors_path: Path | None = None,
    time_limit: float | None,
) -> int:
    """The exit code of a check; raises `UsageError` for a wrong request before anything runs."""
    if json_path is not None:
        require_writable(json_path)
    if vectors_path is not None:
        require_folder(vectors_path)
    report = _judged(names, asked, workers, time_limit)
    show_report(report, output_console())
    if json_path is not None:
        write_whole(report.to_json(), json_path)
    if vectors_path is not None:
        for path in leave_vectors(report, vectors_path):
            output_console().print(Text(f"vector: {path}"), soft_wrap=True)
    return report.exit_code


def _judged(names: Sequence[str], asked: Request, workers: int, time_limit: float | None) -> Report:
    """The report; an interrupt ends the check with what is known by then."""
    judgements: dict[int, Judgement] = {}
    with judges_for(names, workers, time_limit, asked.examples) as judges:
        plan = asked.plan(names, judges.find)
        try:
            with shown_progress(plan, error_console()) as judged:
                for place, judgement in plan.judgements(judges):
                    judgements[place] = judgement
                    judged(plan, place, judgement)
        except KeyboardInterrupt:
            pass
    return plan.report(judgements)
