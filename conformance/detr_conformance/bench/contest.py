"""One setting of the benchmark: who can take part, who agrees, and the times of those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from detr_conformance.base.errors import one_line
from detr_conformance.bench.agreement import Judge
from detr_conformance.bench.batches import Batch, make_batch
from detr_conformance.bench.contestant import NOT_INSTALLED, Contestant, Find, Step, term_weights
from detr_conformance.bench.heads import LEAVES
from detr_conformance.bench.memory import peak_bytes
from detr_conformance.bench.results import Entry, Setting, Status
from detr_conformance.bench.sizes import Size
from detr_conformance.bench.solvers import SolverContestant, batch_costs, totals_and_allowance
from detr_conformance.bench.timing import Run, in_turns, timed
from detr_spec.profile import Profile

MEMORY_TIME_LIMIT = 600.0


@dataclass(frozen=True)
class How:
    """How contestants are timed: where, how often, within how many seconds for each, and whether memory is measured."""

    device: str = "cpu"
    repeats: int = 20
    seconds: float = 20.0
    memory: bool = False


def criterion_contest(
    finds: Iterable[Find], size: Size, regime: str, profile: Profile, how: How, heads: str = LEAVES
) -> Setting:
    """Match and criterion, forward and backward, of contestants of a dialect, from hidden states where heads are."""
    contestants = [(find, find()) for find in finds]
    batch = make_batch(size, regime, profile, how.device, heads=heads)
    weights = term_weights(profile)
    judge = Judge(batch, weights)
    entries: dict[str, Entry] = {}
    runs: dict[str, Run] = {}
    for _, contestant in contestants:
        step, entry = _checked(contestant, batch, judge)
        entries[contestant.name] = entry
        if step is not None:
            runs[contestant.name] = _run(contestant, step, weights)
    found = in_turns(runs, how.repeats, how.seconds)
    for find, contestant in contestants:
        if contestant.name in found:
            peak = (
                peak_bytes(find, size, regime, how.device, torch.get_num_threads(), MEMORY_TIME_LIMIT, heads)
                if how.memory
                else None
            )
            entries[contestant.name] = replace(entries[contestant.name], runs=found[contestant.name], peak_bytes=peak)
    return Setting("criterion", profile.name, regime, size, batch.size.targets, tuple(entries.values()), heads)


def _checked(contestant: Contestant, batch: Batch, judge: Judge) -> tuple[Step | None, Entry]:
    """The step of a contestant that is there and agrees, or None, and its entry without times."""
    missing = contestant.missing(batch.device.type)
    if missing is not None:
        return None, Entry(contestant.name, _status_of_missing(missing), missing)
    try:
        with contestant.setting():
            step = contestant.build(batch)
            complaint = judge.disagreement(contestant, step)
    except Exception as error:
        return None, Entry(contestant.name, "failed", one_line(error))
    if complaint is not None:
        return None, Entry(contestant.name, "disagrees", complaint)
    return step, Entry(contestant.name, "timed")


def _run(contestant: Contestant, step: Step, weights: dict[str, float]) -> Run:
    run_step = timed(lambda: step.run(weights), step.device)

    def run() -> Mapping[str, float]:
        with contestant.setting():
            step.forget_gradients()
            return run_step()

    return run


def assignment_contest(
    solvers: Iterable[SolverContestant], size: Size, regime: str, profile: Profile, how: How
) -> Setting:
    """The assignment alone, of the costs that the reference computes from the same batch."""
    batch = make_batch(size, regime, profile, how.device)
    cost = batch_costs(batch)
    numbers = cost.cpu().numpy().astype(np.float64)
    calls: dict[str, Callable[[], object]] = {}
    entries: dict[str, Entry] = {}
    totals: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for solver in solvers:
        missing = solver.missing(cost.device.type)
        if missing is not None:
            entries[solver.name] = Entry(solver.name, _status_of_missing(missing), missing)
            continue
        try:
            call = solver.prepare(cost)
            totals[solver.name] = totals_and_allowance(solver, call(), numbers)
        except Exception as error:
            entries[solver.name] = Entry(solver.name, "failed", one_line(error))
            continue
        calls[solver.name] = call
        entries[solver.name] = Entry(solver.name, "timed")
    for name, complaint in _above_the_least(totals).items():
        del calls[name]
        entries[name] = Entry(name, "disagrees", complaint)
    found = in_turns({name: timed(call, cost.device) for name, call in calls.items()}, how.repeats, how.seconds)
    entries |= {name: replace(entries[name], runs=runs) for name, runs in found.items()}
    return Setting("assignment", profile.name, regime, size, batch.size.targets, tuple(entries.values()))


def _status_of_missing(reason: str) -> Status:
    return "not installed" if reason == NOT_INSTALLED else "left out"


def _above_the_least(totals: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, str]:
    """By name, what is wrong with solvers that find a total above the least that any of them finds, or no matching."""
    if not totals:
        return {}
    least = np.nanmin(np.stack([found for found, _ in totals.values()]), axis=0, initial=np.inf)
    complaints = {}
    for name, (found, allowances) in totals.items():
        wrong = np.flatnonzero(~(found - least <= allowances))
        if len(wrong):
            problem = int(wrong[0])
            complaints[name] = (
                f"problem {problem} costs {found[problem]:.8g}, another solver needs {least[problem]:.8g}"
            )
    return complaints
