"""Plans and runs a check: which invariants are asked of which implementations."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from detr_conformance.base.cause import Explained
from detr_conformance.base.documents import MOST_DIGITS
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Judgement, over_seeds
from detr_conformance.base.version import installed_version
from detr_conformance.causes.fingerprints import with_likeness
from detr_conformance.implementations.resolve import implementations, resolve
from detr_conformance.judging.database import opened
from detr_conformance.judging.judge import DEFAULT_DEVICE, DEFAULT_EXAMPLES, DEFAULT_SEED, blank_judgement, not_asked
from detr_conformance.judging.uncallable import told_once
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.matching import entries_for, require_applicable
from detr_conformance.ledger.reading import read_ledger
from detr_conformance.processes.cluster import Cluster
from detr_conformance.processes.pool import Pool
from detr_conformance.running.judges import Importing, Judges, Task, ThisProcess, Workers
from detr_conformance.running.report import ImplementationReport, Report
from detr_conformance.running.selection import Selection, Subject, chosen_invariants, chosen_subjects, require_device
from detr_conformance.running.sharding import Shard, TaskName, dealt, parsed_shard, run_digest
from detr_conformance.testee.bounds import DEFAULT_MEMORY_LIMIT, set_bounds
from detr_conformance.testee.ended import Ended, NotStarted
from detr_conformance.testee.names import isolated_name
from detr_spec.configuration import Configuration
from detr_spec.implementation import COMPONENTS, Implementation
from detr_spec.invariant import Invariant
from detr_spec.profiles import DETR, PROFILES

MOST = 10**9
"""Of cases, workers and MiB: what is beyond it is a slip, and some of it is beyond every float."""

_NOTHING: Mapping[int, Explained] = {}

Find = Callable[[str], tuple[Implementation, ...]]


@dataclass(frozen=True)
class Request:
    """What is asked of whatever implementation, checked: the invariants, the cases, the ledgers' entries.

    minutes: how long it is asked, with one seed after another, each to its end but for the last; 0 for the one seed.
    """

    selection: Selection
    invariants: tuple[Invariant, ...]
    examples: int
    seed: int
    device: str
    entries: tuple[Entry, ...]
    shard: Shard | None = None
    database: tuple[str, ...] = ()
    minutes: float = 0.0

    def plan(self, given: Any, find: Find = resolve) -> Plan:
        """The plan of a check of the given implementations; raises `UsageError` for what cannot be done."""
        subjects = subjects_of(given, find, self.selection.profile)
        require_applicable(self.entries, [subject.implementation for subject in subjects])
        chosen = chosen_subjects(subjects, self.selection, self.invariants)
        require_device(chosen, self.device)
        return Plan(self, chosen)


@dataclass(frozen=True)
class Plan:
    """What a check will do: each invariant of the request for each subject, or a shard's part of that."""

    request: Request
    subjects: tuple[Subject, ...]

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Each invariant of each subject, subject by subject."""
        how = self.request
        return tuple(
            Task(subject, invariant, entries_for(how.entries, invariant, subject.implementation, how.device))
            for subject in self.subjects
            for invariant in how.invariants
        )

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The places of the tasks that are to be judged here: all of them, or the shard's."""
        shard = self.request.shard
        return tuple(range(len(self.tasks)) if shard is None else dealt(self._names, shard.count)[shard.number - 1])

    @cached_property
    def asked(self) -> tuple[int, ...]:
        """The places of those tasks for which there is something to judge."""
        return tuple(place for place in self.places if _unasked(self.tasks[place]) is None)

    @property
    def _names(self) -> list[TaskName]:
        return [
            TaskName(invariant.component, item.implementation.name, item.implementation.profile.name, invariant.id)
            for item, invariant, _ in self.tasks
        ]

    def judgements(self, judges: Judges) -> Iterator[tuple[int, Judgement]]:
        """The judgements with the places of their tasks, as they are finished.

        Where there is time for further seeds, a task is judged again until it fails, and each judgement speaks of all
        of its seeds.
        """
        tasks, left, how = self.tasks, self.asked, self.request
        end, seed = time.monotonic() + 60 * how.minutes, how.seed
        found: dict[int, Judgement] = {}
        for place in self.places:
            judgement = _unasked(tasks[place])
            if judgement is not None:
                yield place, judgement
        while left:
            judged = judges.judged(
                [tasks[place] for place in left],
                examples=how.examples,
                seed=seed,
                device=how.device,
                database=how.database,
            )
            for index, judgement in judged:
                place = left[index]
                found[place] = over_seeds(found.get(place), replace(judgement, seed=seed))
                yield place, found[place]
                if seed > how.seed and time.monotonic() >= end:
                    return
            if time.monotonic() >= end:
                return
            left = tuple(place for place in left if not found[place].verdict.fails)
            seed += 1

    def explained(self, judges: Judges, judgements: Mapping[int, Judgement]) -> Mapping[int, Explained]:
        """What would explain the violations on each subject, by the subject's number, where there are any."""
        found = {}
        for number, subject in enumerate(self.subjects):
            judged = told_once(self._of(number, judgements))
            if any(judgement.verdict.fails for judgement in judged) and subject.not_started is None:
                found[number] = judges.explained(subject, judged, seed=self.request.seed, device=self.request.device)
        return found

    def _of(self, number: int, judgements: Mapping[int, Judgement]) -> list[Judgement]:
        """The judgements on the subject of that number that are known so far."""
        count = len(self.request.invariants)
        places = range(number * count, (number + 1) * count)
        return [judgements[place] for place in places if place in judgements]

    def report(self, judgements: Mapping[int, Judgement], explained: Mapping[int, Explained] = _NOTHING) -> Report:
        """The report of what is known so far; interrupted unless every task of this plan's places is judged.

        explained: what would explain the violations, by the number of the subject.
        """
        items = []
        for number, subject in enumerate(self.subjects):
            why = explained.get(number, Explained())
            judged = told_once(self._of(number, judgements))
            implementation = subject.implementation
            items.append(
                ImplementationReport(
                    name=implementation.name,
                    profile=implementation.profile.name,
                    dtypes=implementation.limits.dtypes,
                    judgements=tuple(replace(one, dtype_answers=why.dtypes.get(one.id, {})) for one in judged),
                    address=subject.address,
                    causes=with_likeness(why.causes, judged),
                )
            )
        interrupted = len(judgements) < len(self.places)
        how = self.request
        shard = how.shard and replace(how.shard, run=run_digest(self._names))
        return Report(
            installed_version(), how.seed, how.examples, tuple(items), interrupted, how.device, shard, how.database
        )


def _unasked(task: Task) -> Judgement | None:
    """The judgement of what does not concern the implementation, or cannot be asked of it; None where it can."""
    failure = task.subject.not_started
    judgement = not_asked(task.invariant, task.subject.implementation)
    if judgement is None and failure is not None:
        return blank_judgement(task.invariant, failure.verdict, failure.reason)
    return judgement


Progress = Callable[[Plan, int, Judgement], None]
"""Called with the plan, the place of the task that was finished, and its judgement."""


def check(
    implementation: Any,
    *,
    profile: str | None = None,
    components: Sequence[str] | None = None,
    invariants: Sequence[str] | None = None,
    level: str | None = None,
    examples: int = DEFAULT_EXAMPLES,
    seed: int | Literal["random"] = DEFAULT_SEED,
    device: str = DEFAULT_DEVICE,
    workers: int = 0,
    time_limit: float | None = None,
    isolate: bool = False,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
    ledger: Sequence[str | Path] = (),
    shard: str | None = None,
    database: Sequence[str | Path] = (),
    progress: Progress | None = None,
    scheduler: str | None = None,
) -> Report:
    """The report on an implementation: an `Implementation`, a name as `resolve` takes it, or a list of those.

    profile, components, invariants (ids, or numbers of the norm) and level narrow what is asked. device: where
    the implementations are to compute, such as "cuda". workers: 0 judges in this process; more judge in so many worker
    processes, for which implementations are given by name, with `time_limit` seconds for each invariant. scheduler: the
    address of a Dask cluster, whose workers judge instead. isolate: each implementation, given by name, runs in a
    process of its own, which may allocate `memory_limit` MiB. ledger: files of expected violations. shard: "2/5" judges
    the second of five parts, to be merged with the others. database: folders in which cases are kept that failed, which
    are run first. Without one, the judgements depend neither on the number of workers nor of shards, nor on whether
    implementations are isolated, nor on earlier runs. Raises `UsageError` for what cannot be done as it is asked.
    """
    asked = request(
        Selection(profile, tuple(components or ()), tuple(invariants or ()), level),
        examples=examples,
        seed=seed,
        device=device,
        ledger=ledger,
        shard=shard,
        database=database,
    )
    judgements: dict[int, Judgement] = {}
    if isolate:
        implementation = isolated_names(implementation)
    with judges_for(implementation, workers, time_limit, examples, memory_limit, scheduler=scheduler) as judges:
        plan = asked.plan(implementation, judges.find)
        for place, judgement in plan.judgements(judges):
            judgements[place] = judgement
            if progress is not None:
                progress(plan, place, judgement)
        explained = plan.explained(judges, judgements)
    return plan.report(judgements, explained)


def request(
    selection: Selection,
    *,
    examples: int = DEFAULT_EXAMPLES,
    seed: int | Literal["random"] = DEFAULT_SEED,
    device: str = DEFAULT_DEVICE,
    ledger: Sequence[str | Path] = (),
    shard: str | None = None,
    database: Sequence[str | Path] = (),
    minutes: float | None = None,
) -> Request:
    """What these arguments ask; raises `UsageError` for what does not exist or makes no sense."""
    require_examples(examples)
    entries = tuple(entry for path in ledger for entry in read_ledger(Path(path)).entries)
    part = None if shard is None else parsed_shard(shard)
    if minutes is not None and not 0 < minutes < math.inf:
        raise UsageError(f"minutes is {minutes:g}; expected a positive number")
    locations = tuple(map(str, database))
    opened(locations)
    chosen = chosen_invariants(selection)
    return Request(selection, chosen, examples, drawn_seed(seed), device, entries, part, locations, minutes or 0.0)


def isolated_names(given: Any) -> list[str]:
    """The names of the given implementations in processes of their own; raises `UsageError` for objects."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise UsageError("an object cannot be isolated; give its name, such as 'package.module:attribute'")
    return [isolated_name(name) for name in names]


def judges_for(
    given: Any,
    workers: int,
    time_limit: float | None,
    examples: int,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
    importing: Importing = nullcontext,
    scheduler: str | None = None,
) -> Judges:
    """This process for 0 workers, else so many worker processes; or those of a Dask cluster, by its address.

    importing: gives the context in which an address is imported, as that takes long.
    Raises `UsageError` for a number or a time limit that makes no sense, and for workers where an
    implementation is given as an object.
    """
    _require("workers", workers, 0)
    limit = default_time_limit(examples) if time_limit is None else time_limit
    if not limit > 0:
        raise UsageError(f"time limit is {limit:g}; expected a positive number of seconds")
    _require("memory limit", memory_limit, 0)
    set_bounds(limit, memory_limit)
    if workers == 0 and scheduler is None:
        return ThisProcess(importing)
    if os.name == "nt":
        raise UsageError("worker processes need a system like Linux or macOS; give -n 0 for none")
    addresses = [given] if isinstance(given, str) else given
    if not isinstance(addresses, (list, tuple)) or not all(isinstance(item, str) for item in addresses):
        raise UsageError(
            "worker processes cannot find an implementation that is given as an object; "
            "give its name, such as 'package.module:attribute', or workers=0"
        )
    return Workers(Pool(workers) if scheduler is None else Cluster(scheduler), addresses, importing)


def stand_in(address: str, failure: NotStarted, profile: str | None) -> Subject:
    """What takes the place of an implementation that cannot be asked what it is: it claims every component."""

    def nothing(_: Configuration) -> Any:
        raise Ended(failure.verdict, failure.reason)

    factories: dict[str, Any] = dict.fromkeys(COMPONENTS, nothing)
    declared = PROFILES.get(profile or "", DETR)
    return Subject(Implementation(name=failure.name, profile=declared, **factories), address, not_started=failure)


def default_time_limit(examples: int) -> float:
    """The seconds that one invariant may take: generous, as shrinking a failing case takes long."""
    return max(120.0, 1.2 * examples)


def subjects_of(given: Any, find: Find = resolve, profile: str | None = None) -> tuple[Subject, ...]:
    """The implementations that were given as objects, as names, or as a list of both.

    One of several names whose process does not start is there as one that cannot be judged, in the given profile.
    """
    if isinstance(given, str):
        return tuple(Subject(item, given, place) for place, item in enumerate(find(given)))
    if isinstance(given, (list, tuple)) and any(isinstance(item, str) for item in given):
        found: list[Subject] = []
        for item in given:
            try:
                found += subjects_of(item, find)
            except NotStarted as failure:
                found.append(stand_in(item, failure, profile))
        failures = [subject.not_started for subject in found if subject.not_started is not None]
        if failures and len(failures) == len(found):
            raise failures[0]
        return tuple(found)
    return tuple(Subject(item) for item in implementations(given, "the implementation"))


def drawn_seed(seed: int | str) -> int:
    """The seed itself, or a fresh one for "random"; raises `UsageError` for anything else."""
    if seed == "random":
        return secrets.randbelow(2**32)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"seed is {seed!r}; expected an integer or 'random'")
    return seed


def parsed_seed(text: str) -> int:
    """The seed that a text says, fresh for "random"; raises `UsageError` for all but that and an integer."""
    try:
        if len(text) > MOST_DIGITS:
            raise UsageError(f"seed has {len(text)} signs; expected an integer of at most {MOST_DIGITS}, or 'random'")
        return int(text)
    except ValueError:
        return drawn_seed(text)


def require_examples(examples: int) -> None:
    """Raises `UsageError` unless at least one case is to be drawn."""
    _require("examples", examples, 1)


def _require(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{name} is {value!r}; expected an integer of at least {least}")
    if value > MOST:
        raise UsageError(f"{name} is too large; expected an integer of at most {MOST}")
