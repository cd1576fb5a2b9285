"""The command `detr-spec check`: runs a plan, shows progress and the report, writes its files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import click

from detr_conformance.base.cause import Explained
from detr_conformance.base.consoles import error_console, output_console
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import OutputPath, require_folder
from detr_conformance.base.verdict import Judgement
from detr_conformance.commands.accept import run_accept
from detr_conformance.commands.options import scheduler_option, selection_options
from detr_conformance.implementations.onnx_graphs import Told, graph_names, onnx_options
from detr_conformance.judging.judge import DEFAULT_EXAMPLES
from detr_conformance.reports.leaving import leave_vectors
from detr_conformance.reports.options import Outputs, output_options
from detr_conformance.reports.show import show_report
from detr_conformance.reports.writing import require_all_writable, write_outputs
from detr_conformance.running.judges import Judges
from detr_conformance.running.progress import importing, shown_progress
from detr_conformance.running.quick import Quick
from detr_conformance.running.report import Report
from detr_conformance.running.run import Request, judges_for, parsed_seed, request
from detr_conformance.running.selection import Selection
from detr_conformance.testee.bounds import DEFAULT_MEMORY_LIMIT
from detr_conformance.testee.names import isolated_name


@click.command()
@click.argument("implementation", nargs=-1, required=True)
@selection_options
@click.option(
    "--examples",
    type=int,
    default=DEFAULT_EXAMPLES,
    show_default=True,
    help="Cases for each invariant; up to ten times as many for one that seeks what is rare.",
)
@click.option("--seed", default="0", show_default=True, help="An integer, or 'random' for fresh cases.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
@click.option("-n", "--workers", type=int, default=1, show_default=True, help="Worker processes; 0 for none.")
@scheduler_option
@onnx_options
@output_options
@click.option(
    "--ledger", type=click.Path(path_type=Path), multiple=True, help="File of expected violations; repeatable."
)
@click.option("--vectors", "vectors_path", type=OutputPath(), help="Leave failing cases in this folder.")
@click.option("--accept", is_flag=True, help="Write what is violated into the ledger, and leave the reasons to you.")
@click.option("--quick", is_flag=True, help="Replay a kept vector of each invariant, and draw a few cases: seconds.")
@click.option("--minutes", type=float, help="Judge by one seed after another until the time is up.")
@click.option(
    "--time-limit",
    type=float,
    help="Processor seconds for each invariant, with workers; five times that where it waits.  [default: 120 or more]",
)
@click.option("--shard", metavar="NUMBER/COUNT", help="Only this part, such as 1/4, to be merged with the others.")
@click.option(
    "--database", metavar="FOLDER", multiple=True, help="Where failing cases are kept, and run first; repeatable."
)
@click.option("--isolate", is_flag=True, help="Run each implementation in a process of its own.")
@click.option(
    "--memory-limit",
    type=int,
    default=DEFAULT_MEMORY_LIMIT,
    show_default=True,
    help="MiB for each process of an isolated implementation; 0 for any.",
)
def command(
    implementation: tuple[str, ...],
    selection: Selection,
    graphs: Told,
    examples: int,
    seed: str,
    device: str,
    workers: int,
    scheduler: str | None,
    outputs: Outputs,
    ledger: tuple[Path, ...],
    vectors_path: Path | None,
    accept: bool,
    quick: bool,
    minutes: float | None,
    time_limit: float | None,
    shard: str | None,
    database: tuple[str, ...],
    isolate: bool,
    memory_limit: int,
) -> int:
    """Judge implementations by the invariants.

    IMPLEMENTATION is package.module:attribute, path/to/file.py:attribute, or a registered name such as
    `reference`; or process:COMMAND, a program in any language that answers for itself (docs/testee.md); or the file of
    an ONNX graph, whose name ends in .onnx (docs/frameworks/onnx.md).

    Exit code 0: nothing violated. 1: an invariant is violated, raised, timed out, crashed, cannot be called or
    unexpectedly holds. 2: usage. A vacuous invariant is reported and does not fail the run.
    """
    given = graph_names(implementation, selection.profile, graphs)
    names = [isolated_name(name) for name in given] if isolate else given
    drawn = parsed_seed(seed)
    if quick:
        if accept or shard is not None or minutes is not None or scheduler is not None:
            raise UsageError(
                "--quick is a look in this process; expected neither --accept, --shard, --minutes nor --scheduler"
            )
        asked = request(selection, examples=1, seed=drawn, device=device, ledger=ledger, database=database)
        return run_check(names, asked, Quick, outputs, vectors_path)
    if accept:
        if shard is not None or database or scheduler is not None:
            raise UsageError(
                "--accept takes the violations of a whole run; expected neither --shard, --database nor --scheduler"
            )
        asked = request(selection, examples=examples, seed=drawn, device=device)
        others = {"--minutes": minutes, "--vectors": vectors_path}
        return run_accept(names, asked, ledger, workers, outputs, others, time_limit, memory_limit)
    asked = request(
        selection,
        examples=examples,
        seed=drawn,
        device=device,
        ledger=ledger,
        shard=shard,
        database=database,
        minutes=minutes,
    )
    shown = partial(importing, console=error_console())
    judges = partial(judges_for, names, workers, time_limit, asked.examples, memory_limit, shown, scheduler)
    return run_check(names, asked, judges, outputs, vectors_path)


def run_check(
    names: Sequence[str],
    asked: Request,
    judges: Callable[[], Judges],
    outputs: Outputs,
    vectors_path: Path | None,
) -> int:
    """The exit code of a check; raises `UsageError` for a wrong request before anything runs."""
    require_all_writable(outputs)
    if vectors_path is not None:
        require_folder(vectors_path)
    with judges() as started:
        report = judged_by(started, names, asked)
    return concluded(report, outputs, vectors_path)


def concluded(report: Report, outputs: Outputs, vectors_path: Path | None) -> int:
    """The exit code of a report, which is shown and written."""
    console = error_console() if outputs.to_standard_output else output_console()
    with contextlib.ExitStack() as last:
        # Whatever cannot be written, the others are, and what fails stands last.
        last.callback(write_outputs, report, outputs)
        last.callback(show_report, report, console)
        if vectors_path is not None:
            for path in leave_vectors(report, vectors_path):
                console.show(f"vector: {path}")
    return report.exit_code


def judged_by(judges: Judges, names: Sequence[str], asked: Request) -> Report:
    """The report of what these judges find; an interrupt ends it with what is known by then."""
    judgements: dict[int, Judgement] = {}
    explained: Mapping[int, Explained] = {}
    plan = asked.plan(names, judges.find)
    try:
        with shown_progress(plan, error_console()) as judged:
            for place, judgement in plan.judgements(judges):
                judgements[place] = judgement
                judged(plan, place, judgement)
        explained = plan.explained(judges, judgements)
    except KeyboardInterrupt:
        pass
    return plan.report(judgements, explained)
