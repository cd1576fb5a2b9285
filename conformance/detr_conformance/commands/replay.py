"""The command `detr-spec replay`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from detr_conformance.base.consoles import output_console
from detr_conformance.base.errors import UsageError
from detr_conformance.base.text import counted
from detr_conformance.base.verdict import Verdict
from detr_conformance.judging.replaying import replays
from detr_conformance.reports.failure_text import failure_text
from detr_conformance.reports.show import WORDS
from detr_conformance.running.judges import ThisProcess
from detr_conformance.running.selection import Subject, require_device
from detr_conformance.vectors.reading import read_vectors


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("implementation", nargs=-1, required=True)
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
def command(file: Path, implementation: tuple[str, ...], device: str) -> int:
    """Judge implementations by the vectors in FILE, with the invariants that each names.

    FILE holds one vector, or one in each line. Exit code 0: nothing violated. 1: an invariant is violated, or the
    implementation raised. 2: usage, a file that holds no vectors, or none that says anything of the implementations.
    """
    placed = read_vectors(file)
    console = output_console()
    counts: Counter[Verdict] = Counter()
    reasons: Counter[str] = Counter()
    with ThisProcess() as judges:
        found = [item for name in implementation for item in judges.find(name)]
        require_device([Subject(item) for item in found], device)
        for item in replays(placed, found, device):
            judgement, owner = item.judgement, item.implementation
            counts[judgement.verdict] += 1
            if judgement.verdict.fails:
                title = f"{owner.name} ({owner.profile.name}), by {item.place}"
                console.rule(style="bright_black")
                again = f"detr-spec replay {file} {' '.join(implementation)}"
                console.show(failure_text(title, judgement, again), WORDS[judgement.verdict][1])
            elif judgement.verdict is not Verdict.HOLDS:
                reasons[f"{judgement.verdict}: {owner.name} ({owner.profile.name}): {judgement.message}"] += 1
    for reason, count in reasons.items():
        console.show(f"{count} x {reason}")
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    asked = f"{counted(len(placed), 'vector')}, {counted(sum(counts.values()), 'judgement')}"
    console.show(f"{asked}: {told}")
    if not any(verdict is Verdict.HOLDS or verdict.fails for verdict in counts):
        raise UsageError(f"no vector of {file} says anything of {', '.join(implementation)}; the reasons are above")
    return 1 if any(verdict.fails for verdict in counts) else 0
