"""The command `detr-spec lock`, and what `detr-spec check --lock` shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from detr_conformance.base.consoles import Console, output_console
from detr_conformance.base.files import OutputPath, require_writable, write_whole
from detr_conformance.lock.comparing import Comparison, Move, compared
from detr_conformance.lock.recording import Lock, lock_text, recorded
from detr_conformance.running.judges import ThisProcess
from detr_conformance.running.run import Request
from detr_conformance.running.selection import Subject, require_device

SHOWN = 8
"""How many moved numbers of one answer are shown; how many more there are is said."""


@click.command()
@click.argument("implementation", nargs=-1, required=True)
@click.option("--file", "path", type=OutputPath(), required=True, help="Where to write the lock.")
@click.option(
    "--ulps",
    type=float,
    default=0.0,
    show_default=True,
    help="By how many units in the last place of its dtype a number may move.",
)
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
def command(implementation: tuple[str, ...], path: Path, ulps: float, device: str) -> None:
    """Record what implementations compute on the set of vectors, bit by bit.

    `detr-spec check IMPLEMENTATION --lock FILE` then says what moved, by how much, and whether it is still right.
    """
    require_writable(path)
    with ThisProcess() as judges:
        found = [item for name in implementation for item in judges.find(name)]
        require_device([Subject(item) for item in found], device)
        made = recorded(found, device, ulps)
    write_whole(lock_text(made), path)
    for item in made.implementations:
        output_console().show(f"{item.name} ({item.profile}): {len(item.answers)} answers locked in {path}")


def run_comparison(names: Sequence[str], asked: Request, locked: Lock, path: Path, console: Console) -> int:
    """Shows what moved since a lock was recorded; the exit code is 1 where something did beyond its tolerance.

    What is asked narrows the implementations, by profile, and the components. Raises `UsageError` for a lock of other
    implementations.
    """
    selection = asked.selection
    how: Any = {"device": asked.device, "components": selection.components, "entries": asked.entries}
    with ThisProcess() as judges:
        found = [item for name in names for item in judges.find(name) if selection.profile in (None, item.profile.name)]
        comparison = compared(locked, found, **how)
    console.print()
    for line in comparison_lines(path, comparison, locked.ulps):
        console.show(line)
    return comparison.exit_code


def comparison_lines(path: Path, comparison: Comparison, ulps: float) -> Iterator[str]:
    """The answers that moved beyond the tolerance, each with its numbers, then how many there are."""
    wrong = sum(bool(moved.violated) for moved in comparison.beyond)
    for moved in comparison.beyond:
        verdict = f"WRONG, violates {', '.join(moved.violated)}" if moved.violated else "right but different"
        yield f"{verdict}: {moved.place}, {moved.implementation}, {moved.dtype}"
        for move in moved.moves[:SHOWN]:
            yield f"  {move.name}: {move.before} -> {move.now}{_distance(move)}"
        if len(moved.moves) > SHOWN:
            yield f"  … and {len(moved.moves) - SHOWN} more"
    yield (
        f"{path}: {comparison.compared} numbers compared, {len(comparison.beyond)} answers moved by more than "
        f"{ulps:g} ulps, {wrong} of them wrong; {comparison.within} numbers moved by less"
    )


MOST_TOLD_ULPS = 2.0**16
"""From here on a number has moved in its leading digits, or from 0, and a count of its last ones says nothing."""


def _distance(move: Move) -> str:
    """How far a number moved, in units in the last place too where these are few; nothing where it is no number."""
    if not math.isfinite(move.distance):
        return ""
    ulps = f", {move.ulps:.4g} ulps" if move.ulps < MOST_TOLD_ULPS else ""
    return f", moved by {move.distance:g}{ulps}"
