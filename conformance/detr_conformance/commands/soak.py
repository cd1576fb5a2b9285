"""The command `detr-spec soak`: judges until the time is up, shows what was run and what was found."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.progress import TimeElapsedColumn
from rich.table import Table

from detr_conformance.base.consoles import Console, error_console, output_console, progress_bar
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import OutputPath, require_writable, write_whole
from detr_conformance.base.interrupts import INTERRUPTED
from detr_conformance.commands.options import selection_options
from detr_conformance.running.run import Plan, Request, judges_for, parsed_seed, request
from detr_conformance.running.selection import Selection
from detr_conformance.running.soak import Soak, asked_of, names_in_round, read_soak, rounds, to_json

SAVED_EVERY = 10.0
"""The seconds between two writings of the file; what is lost to a kill is judged again."""


@click.command()
@click.argument("implementation", nargs=-1, required=True)
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long.")
@selection_options
@click.option("--examples", type=int, default=100, show_default=True, help="Cases for each invariant and seed.")
@click.option("--seed", default="random", show_default=True, help="The first seed; the others follow it.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
@click.option("-n", "--workers", type=int, default=1, show_default=True, help="Worker processes; 0 for none.")
@click.option("--file", "path", type=OutputPath(), help="Keep the soak here, and go on from it.")
@click.option(
    "--ledger", type=click.Path(path_type=Path), multiple=True, help="File of expected violations; repeatable."
)
def command(
    implementation: tuple[str, ...],
    minutes: float,
    selection: Selection,
    examples: int,
    seed: str,
    device: str,
    workers: int,
    path: Path | None,
    ledger: tuple[Path, ...],
) -> int:
    """Judge implementations with one seed after the other until the time is up.

    The name `declared` stands for a right implementation of a profile that is drawn anew for each seed: what fails
    there is wrong in the invariants.

    What fails is told with the command that gives it again, and not judged any more. With --file, a soak that was
    stopped, in whatever way, goes on where it was. Exit code 0: nothing failed. 1: something did. 2: usage.
    """
    asked = request(selection, examples=examples, seed=parsed_seed(seed), device=device, ledger=ledger)
    return run_soak(list(implementation), asked, minutes=minutes, workers=workers, path=path)


def run_soak(names: Sequence[str], asked: Request, *, minutes: float, workers: int, path: Path | None) -> int:
    """The exit code of a soak: 0 where nothing was found, else 1, and 130 where it was interrupted.

    Raises `UsageError` for a wrong request.

    path: where the soak is kept, and goes on from where it is there already.
    """
    if not 0 < minutes < float("inf"):
        raise UsageError(f"minutes is {minutes:g}; expected a positive number")
    if path is not None:
        require_writable(path)
    with judges_for(names_in_round(names, asked.seed), workers, None, asked.examples) as judges:
        first = asked.plan(names_in_round(names, asked.seed), judges.find)

        def plan_of(seed: int) -> Plan:
            found = names_in_round(names, seed)
            return first if found == list(names) else asked.plan(found, judges.find)

        begun = _begun(asked_of(names, first), asked.seed, path)
        return _soaked(begun, rounds(begun, asked, plan_of, judges), 60 * minutes, path)


def _begun(asked: dict[str, Any], seed: int, path: Path | None) -> Soak:
    # Compared as JSON gives it back, in which a tuple is a list.
    asked = json.loads(json.dumps(asked))
    if path is not None and path.exists():
        return read_soak(path, asked)
    return Soak(asked, seed)


def _soaked(begun: Soak, course: Iterator[Soak], seconds: float, path: Path | None) -> int:
    """The exit code of a soak that lasts so many seconds, or until its course ends; it is shown and kept by then."""
    console = error_console()
    soak, start = begun, time.monotonic()
    saved = start
    try:
        with progress_bar(console, TimeElapsedColumn()) as bar:
            task = bar.add_task("", total=seconds)
            for soak in course:
                now = time.monotonic()
                told = f"{soak.cases} cases, {len(soak.findings)} findings, seed {soak.seed}"
                bar.update(task, completed=now - start, description=told)
                if path is not None and now - saved > SAVED_EVERY:
                    saved = now
                    with contextlib.suppress(UsageError):  # which is told at the end, if it is so still
                        write_whole(to_json(soak), path)
                if now - start >= seconds:
                    break
    except KeyboardInterrupt:
        console.show("interrupted: this is what was known so far")
        return INTERRUPTED
    finally:
        try:
            _show(soak, output_console())
        finally:
            if path is not None:
                write_whole(to_json(soak), path)
    return 1 if soak.findings else 0


def _show(soak: Soak, console: Console) -> None:
    """Prints the findings, then what was run for each implementation."""
    for finding in soak.findings:
        console.show(f"{finding.verdict}: {finding.invariant}, {finding.implementation} ({finding.profile})")
        console.show(f"  {finding.message}\n  {finding.command}")
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("implementation", "profile", "invariants", "cases", "premise met", "failing"):
        table.add_column(name, justify="left" if name in ("implementation", "profile") else "right")
    for name, profile in soak.asked["implementations"]:
        keys = [key for key in soak.examples if key[:2] == (name, profile)]
        numbers = (
            len(keys),
            sum(soak.examples[key] for key in keys),
            sum(soak.fired[key] for key in keys),
            sum(finding.key[:2] == (name, profile) for finding in soak.findings),
        )
        table.add_row(name, profile, *map(str, numbers))
    console.print(table)
    first = soak.seed - soak.finished
    seeds = f"seeds {first} to {soak.seed}" if soak.finished else f"seed {first}"
    whole = "the last not to its end" if soak.judged else f"{soak.seed} not begun"
    console.show(
        f"{soak.cases} cases, {soak.asked['examples']} for each invariant and seed, {seeds} ({whole}), "
        f"{soak.seconds:.0f} s of judging, detr-spec {soak.asked['version']}"
    )
