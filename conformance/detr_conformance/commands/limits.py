"""The command `detr-spec limits`: measures the detection limits of invariants, shows them and keeps them in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.table import Table

from detr_conformance.base.consoles import Console, error_console, output_console, progress_bar
from detr_conformance.base.errors import UsageError, one_line
from detr_conformance.base.files import OutputPath, require_writable, write_whole
from detr_conformance.commands.options import selection_options
from detr_conformance.implementations.resolve import resolve
from detr_conformance.limits.ladder import DTYPES, measured
from detr_conformance.limits.plants import plants
from detr_conformance.limits.table import Limit, power_of_ten, read_limits, to_json
from detr_conformance.processes.pool import Job, Pool
from detr_conformance.running.selection import Selection, chosen_invariants, known_profile
from detr_spec.invariants import find_invariants
from detr_spec.profiles import PROFILES

SUBJECTS = ("reference", "dialects")
"""Whose answers errors are planted in."""

Task = tuple[str, str]
"""A profile's name and an invariant's id."""


@click.command()
@selection_options
@click.option("-n", "--workers", type=int, default=1, show_default=True, help="Worker processes; 0 for none.")
@click.option("--json", "path", type=OutputPath(), help="Write them to this file, beside other limits.")
def command(selection: Selection, workers: int, path: Path | None) -> int:
    """Measure the smallest error that each invariant detects.

    Errors of 10^-1 to 10^-16, of both signs, are planted in one term of the reference's answers after the other, in
    float32 and in float64, for 100 cases. It takes about a quarter of an hour on one core for a profile. What the file
    has already of other invariants stays.
    """
    kept = _kept(path)
    tasks = _tasks(selection)
    found = _measured(tasks, workers)
    _show(found, output_console())
    if path is not None:
        others = [limit for limit in kept if (limit.profile, limit.invariant) not in tasks]
        write_whole(to_json([*others, *found]), path)
    return 0


def _kept(path: Path | None) -> tuple[Limit, ...]:
    if path is None:
        return ()
    require_writable(path)
    return read_limits(path) if path.exists() else ()


def _tasks(selection: Selection) -> list[Task]:
    """What is to be measured: each invariant in whose component's answers errors can be planted, in each profile."""
    profiles = [known_profile(selection.profile)] if selection.profile else list(PROFILES.values())
    chosen = chosen_invariants(selection)
    tasks = [
        (profile.name, item.id)
        for profile in profiles
        for item in chosen
        if plants(item, profile) and item.applies(profile)
    ]
    if not tasks:
        raise UsageError("nothing that was chosen has numbers to plant errors in; matchings have none")
    return tasks


def _measured(tasks: Sequence[Task], workers: int) -> list[Limit]:
    """The limits of all tasks, in their order, with progress on standard error."""
    found: dict[int, tuple[Limit, ...]] = {}
    with progress_bar(error_console()) as bar:
        shown = bar.add_task("", total=len(tasks))
        for place, limits in _finished(tasks, workers):
            found[place] = limits
            bar.update(shown, advance=1, description=tasks[place][1])
    return [limit for place in range(len(tasks)) for limit in found[place]]


def _finished(tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, tuple[Limit, ...]]]:
    """The limits of each task with its place, as they are measured: here for 0 workers, else in so many processes."""
    if workers < 0:
        raise UsageError(f"workers is {workers}; expected an integer of at least 0")
    if workers == 0:
        yield from ((place, measured_by_name(*task)) for place, task in enumerate(tasks))
        return
    with Pool(workers) as pool:
        jobs = [Job(measured_by_name, task, math.inf) for task in tasks]
        for place, outcome in pool.outcomes(jobs):
            if outcome.failure is not None:
                raise UsageError(f"{tasks[place][1]} cannot be measured: {one_line(outcome.failure)}")
            yield place, outcome.value


def measured_by_name(profile: str, id: str) -> tuple[Limit, ...]:
    """The limits of the invariant of that id, by errors in the reference's answers in that profile."""
    (invariant,) = find_invariants(id)
    (subject,) = (item for name in SUBJECTS for item in resolve(name) if item.profile.name == profile)
    return measured(invariant, subject)


def _show(limits: Sequence[Limit], console: Console) -> None:
    """Prints a row for each term in which an error is detected."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("invariant", "profile", "term", "error", "signs", *DTYPES):
        table.add_column(name, justify="right" if name in DTYPES else "left")
    for limit in limits:
        numbers = [power_of_ten(limit.limits[dtype]) if dtype in limit.limits else "" for dtype in DTYPES]
        table.add_row(limit.invariant, limit.profile, limit.term, limit.error, limit.signs, *numbers)
    console.print(table)
    if not limits:
        console.print("no error that can be planted is detected")
