"""Plans the hunts of a campaign and runs them, in this process or in workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from detr_conformance.base.errors import cause_of_death, one_line
from detr_conformance.campaign.hunt import Hunt, hunt_by_name
from detr_conformance.mutants.bank import Mutant
from detr_conformance.processes.cluster import Cluster
from detr_conformance.processes.pool import Job, Outcome, Pool
from detr_conformance.processes.process import Died, Late

TIME_LIMIT = 300.0
"""The seconds of processor time that a task may take; what takes longer has killed the mutant, as it fails a check."""


@dataclass(frozen=True)
class Task:
    """The hunts of one invariant for one mutant in one profile, on some seeds."""

    mutant: str
    profile: str
    invariant: str
    seeds: tuple[int, ...]
    examples: int


def expected_tasks(mutants: Sequence[Mutant], seeds: Sequence[int], examples: int, *, own: bool = False) -> list[Task]:
    """Each mutant's expected invariants in each of its profiles, or the first of them as its own, on every seed."""
    return [
        Task(mutant.id, profile, item.id, tuple(seeds), examples)
        for mutant in mutants
        for profile in mutant.profiles[: 1 if own else None]
        for item in mutant.invariants(profile)
        if item.id in mutant.expected
    ]


def survey_tasks(mutants: Sequence[Mutant], seed: int, examples: int) -> list[Task]:
    """All other invariants that each mutant's edits can reach, on one seed; none where there are no examples.

    Each is asked in the first of the mutant's profiles to which it applies. One whose cases take so long that its part
    of the examples is less than one is left out.
    """
    if not examples:
        return []
    asked = {
        (mutant.id, item.id): Task(mutant.id, profile, item.id, (seed,), examples)
        for mutant in mutants
        for profile in reversed(mutant.profiles)
        for item in mutant.invariants(profile)
        if item.id not in mutant.expected and item.cost <= examples
    }
    return list(asked.values())


def hunts(tasks: Sequence[Task], workers: int, scheduler: str | None = None) -> Iterator[tuple[Hunt, ...]]:
    """The hunts of each task as they are finished; in this process for 0 workers, without a time limit.

    scheduler: the address of a Dask cluster, whose workers do them.
    """
    if workers == 0 and scheduler is None:
        yield from map(_run, tasks)
        return
    with Pool(workers) if scheduler is None else Cluster(scheduler) as pool:
        jobs = [Job(_run, (task,), TIME_LIMIT) for task in tasks]
        for place, outcome in pool.outcomes(jobs):
            yield _result(outcome, tasks[place])


def _run(task: Task) -> tuple[Hunt, ...]:
    return hunt_by_name(task.mutant, task.profile, task.invariant, task.seeds, task.examples)


def _result(outcome: Outcome, task: Task) -> tuple[Hunt, ...]:
    if outcome.failure is None:
        found: tuple[Hunt, ...] = outcome.value
        return found
    if isinstance(outcome.failure, Died):
        return _failed(task, f"the process died, {cause_of_death(outcome.failure.exit_code)}", sound=True)
    return _failed(task, one_line(outcome.failure), sound=isinstance(outcome.failure, Late))


def _failed(task: Task, how: str, sound: bool) -> tuple[Hunt, ...]:
    """Kills by a task that gave no answer, which counts as having taken all its examples."""
    fields: dict[str, Any] = {"mutant": task.mutant, "profile": task.profile, "invariant": task.invariant}
    return tuple(
        Hunt(**fields, seed=seed, examples=task.examples, killed=True, how=how, sound=sound) for seed in task.seeds
    )
