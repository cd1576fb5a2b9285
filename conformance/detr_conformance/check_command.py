"""The command `detr-spec check`: runs a plan, shows progress and the report, writes the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detr_conformance.consoles import error_console, output_console
from detr_conformance.progress import shown_progress
from detr_conformance.report import require_writable, write_json
from detr_conformance.run import planned, require_run_options
from detr_conformance.selection import Selection
from detr_conformance.show import show_report
from detr_conformance.verdict import Judgement


def run_check(
    names: Sequence[str],
    selection: Selection,
    *,
    examples: int,
    seed: int,
    workers: int,
    json_path: Path | None,
    expected: Sequence[Path],
    time_limit: float | None,
) -> int:
    """The exit code of a check; what was wrong with the request is raised before anything runs.

    An interrupt ends the check, and what is known by then is shown and written.
    """
    require_run_options(workers, time_limit)
    if json_path is not None:
        require_writable(json_path)
    plan = planned(names, selection=selection, examples=examples, seed=seed, expected=expected)
    judgements: dict[int, Judgement] = {}
    try:
        with shown_progress(plan, error_console()) as judged:
            for place, judgement in plan.judgements(workers=workers, time_limit=time_limit):
                judgements[place] = judgement
                judged(plan, place, judgement)
    except KeyboardInterrupt:
        pass
    report = plan.report(judgements)
    show_report(report, output_console())
    if json_path is not None:
        write_json(report, json_path)
    return report.exit_code
