"""The command `detr-spec bench`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch

from detr_conformance.base.consoles import output_console
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import OutputPath, require_writable, write_whole
from detr_conformance.bench.contest import How
from detr_conformance.bench.heads import HEADS, LEAVES
from detr_conformance.bench.machine import described_machine
from detr_conformance.bench.ours import ACCELERATED, NUMBA, PLAIN
from detr_conformance.bench.plan import Plan
from detr_conformance.bench.registry import finds_by_dialect, solvers_beside
from detr_conformance.bench.results import Results, as_json
from detr_conformance.bench.show import show_setting
from detr_conformance.bench.sizes import QUICK, STANDARD, parsed_size
from detr_conformance.bench.solvers import ACCELERATED_SOLVER

TIMED_HEADS = ("sliced", LEAVES)
REGIMES = ("trained", "untrained", "coco")
_FILE = OutputPath(dir_okay=False)


@click.command()
@click.argument("implementations", nargs=-1)
@click.option(
    "--size", "sizes", metavar="B,Q,C,T", multiple=True, help="Images, queries, columns, targets; repeatable."
)
@click.option(
    "--profile", "profiles", type=click.Choice(["detr", "deformable"]), multiple=True, help="Only this dialect."
)
@click.option("--regime", "regimes", type=click.Choice(REGIMES), multiple=True, help="Only this regime; repeatable.")
@click.option(
    "--heads",
    type=click.Choice([*HEADS, LEAVES]),
    multiple=True,
    help="How layers are made from hidden states, or as leaves; repeatable.",
)
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
@click.option(
    "--repeats", type=click.IntRange(1), default=20, show_default=True, help="Runs of each contestant at most."
)
@click.option(
    "--seconds", type=click.FloatRange(0), default=20.0, show_default=True, help="Time for each, two runs at least."
)
@click.option("--memory", is_flag=True, help="Also the peak memory of a step, each in a process of its own.")
@click.option("--quick", is_flag=True, help="One small size, one regime, three runs.")
@click.option("--json", "json_path", type=_FILE, help="Write everything to this file.")
def command(
    implementations: tuple[str, ...],
    sizes: tuple[str, ...],
    profiles: tuple[str, ...],
    regimes: tuple[str, ...],
    heads: tuple[str, ...],
    device: str,
    repeats: int,
    seconds: float,
    memory: bool,
    quick: bool,
    json_path: Path | None,
) -> int:
    """Time matchers and criteria side by side: the reference, the fast path, and what is installed of others.

    IMPLEMENTATIONS are named as for check. Each takes part beside those, with its criterion in its dialect, and with
    its solver in the assignment alone; what none of them has is not timed.

    A step of matcher and criterion goes from hidden states, of which heads make the layers' outputs in the way that
    --heads names, to their gradient.

    Before anything is timed, each contestant is held to the definitions: the cost of its matchings, its losses and its
    gradients. One that computes something else is not timed. Contestants run in turns; a time is the median of the
    runs, and a ratio says how many times as long as the fast path one takes.

    Exit code 0: all that are installed agree. 1: one disagrees or fails. 2: usage.
    """
    _require(device, json_path)
    chosen = tuple(parsed_size(text) for text in sizes) or (QUICK if quick else STANDARD)
    plan = Plan(
        tuple(dict.fromkeys(chosen)),
        regimes or (REGIMES[:1] if quick else REGIMES),
        heads or (TIMED_HEADS[:1] if quick else TIMED_HEADS),
        finds_by_dialect(profiles, implementations),
        solvers_beside(implementations),
        How(device, min(repeats, 3) if quick else repeats, seconds, memory),
        large_problems=not sizes and not quick,
    )
    if not plan.finds and not plan.solvers:
        raise UsageError(f"nothing to time: {', '.join(implementations)} has no criterion of {', '.join(profiles)}")
    return _run(plan, json_path)


def _require(device: str, json_path: Path | None) -> None:
    """Raises `UsageError` where the device is not there or the file cannot be written."""
    if json_path is not None:
        require_writable(json_path)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"torch cannot compute on {device!r} here: {str(error).splitlines()[0]}") from error


def _run(plan: Plan, json_path: Path | None) -> int:
    results = Results(described_machine(plan.how.device), _base())
    console = output_console()
    for setting in plan.settings():
        results = replace(results, settings=(*results.settings, setting))
        show_setting(setting, results.base[setting.kind], console)
        # After each setting, so that whatever ends it loses the one in progress alone.
        if json_path is not None:
            write_whole(as_json(results), json_path)
    return 1 if results.disagreeing else 0


def _base() -> dict[str, str]:
    return {"criterion": PLAIN if NUMBA.missing else ACCELERATED, "assignment": ACCELERATED_SOLVER}
