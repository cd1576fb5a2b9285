"""Who judges: this process, or worker processes, where what hangs or dies costs one judgement alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from detr_conformance.base.cause import Explained
from detr_conformance.base.errors import UsageError, cause_of_death, one_line
from detr_conformance.base.verdict import Counterexample, Judgement, Verdict
from detr_conformance.causes.explaining import explained, seconds_for
from detr_conformance.implementations.resolve import resolve
from detr_conformance.judging.judge import blank_judgement, not_made_smaller
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.judging import judge_listed
from detr_conformance.processes.cluster import Cluster, Lost
from detr_conformance.processes.pool import Job, Outcome, Pool
from detr_conformance.processes.process import Died, Garbled, Late
from detr_conformance.processes.serving import WorkerError
from detr_conformance.running import worker
from detr_conformance.running.selection import Subject
from detr_conformance.testee.bounds import BOUNDS
from detr_conformance.testee.client import close_all
from detr_conformance.testee.ended import NotStarted
from detr_conformance.testee.names import is_testee
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant

TESTEE_GRACE = 30.0
"""Seconds beyond a testee's own time limits that a worker has for drawing cases and comparing."""

GRACE = 2.0
"""Seconds beyond its own end that a search for causes has for the call that it is at."""

Importing = Callable[[str], AbstractContextManager[object]]
"""Gives a context for an address, in which that is imported."""


class Task(NamedTuple):
    """An invariant to be asked of a subject, and what a ledger says about it."""

    subject: Subject
    invariant: Invariant
    entries: tuple[Entry, ...] = ()


Judgements = Iterator[tuple[int, Judgement]]


class Judges(Protocol):
    """Finds implementations by name and judges them. A context, at whose end nothing runs any more."""

    def __enter__(self) -> Judges: ...

    def __exit__(self, *_: object) -> None: ...

    def find(self, address: str) -> tuple[Implementation, ...]:
        """What `resolve` finds, or raises."""

    def judged(
        self, tasks: Sequence[Task], *, examples: int, seed: int, device: str, database: tuple[str, ...] = ()
    ) -> Judgements:
        """The judgement of each task with the task's place, as they are finished.

        Where it is interrupted while a smaller case is searched for, the judgement as it is known by then comes first.
        """

    def explained(self, subject: Subject, judgements: Sequence[Judgement], *, seed: int, device: str) -> Explained:
        """What would explain the violations among all judgements on a subject; nothing where none is known in time."""


class ThisProcess:
    """Judges one task after the other in this process, without a time limit but for testees."""

    def __init__(self, importing: Importing = nullcontext) -> None:
        self._importing = importing

    def __enter__(self) -> ThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        close_all()

    def find(self, address: str) -> tuple[Implementation, ...]:
        """What `resolve` finds, or raises."""
        with self._importing(address):
            return resolve(address)

    def judged(
        self, tasks: Sequence[Task], *, examples: int, seed: int, device: str, database: tuple[str, ...] = ()
    ) -> Judgements:
        """The judgement of each task with its place, in order."""
        how: dict[str, Any] = {"examples": examples, "seed": seed, "device": device, "database": database}
        for place, (subject, invariant, entries) in enumerate(tasks):
            told: list[Judgement] = []
            try:
                judgement = judge_listed(invariant, subject.implementation, entries, tell=told.append, **how)
            except KeyboardInterrupt:
                if told:
                    yield place, not_made_smaller(told[-1], "interrupted")
                raise
            except Exception as error:
                why = f"the process that judges failed with {one_line(error)}; -n 1 or --isolate keep it apart"
                judgement = not_made_smaller(told[-1], why) if told else blank_judgement(invariant, Verdict.ERROR, why)
            yield place, judgement

    def explained(self, subject: Subject, judgements: Sequence[Judgement], *, seed: int, device: str) -> Explained:
        """What would explain the violations among all judgements on a subject; nothing where the search fails."""
        seconds = seconds_for(judgements)
        try:
            return explained(subject.implementation, judgements, device=device, seed=seed, seconds=seconds)
        except Exception:
            return Explained()


class Workers:
    """Judges in worker processes, here or of a cluster, which alone import the implementations.

    A task that takes longer than the time limit has timed out; one whose process dies has crashed; unless the task was
    found to be violated before that.
    """

    def __init__(self, pool: Pool | Cluster, addresses: Sequence[str], importing: Importing = nullcontext) -> None:
        self._pool = pool
        self._addresses = tuple(addresses)
        self._importing = importing
        self._found: dict[str, Outcome] = {}

    def __enter__(self) -> Workers:
        self._pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    def find(self, address: str) -> tuple[Implementation, ...]:
        """Stand-ins for what a worker finds: name, profile, limits and components, but nothing to call."""
        if address not in self._found:
            # All that was given first is imported at once, each by another worker.
            names = [name for name in dict.fromkeys([address, *self._addresses]) if name not in self._found]
            jobs = [self._job(name, BOUNDS.start_seconds, worker.described, name) for name in names]
            shown = [ExitStack() for _ in names]
            try:
                for place, outcome in self._pool.outcomes(
                    jobs, lambda place: shown[place].enter_context(self._importing(names[place]))
                ):
                    shown[place].close()
                    self._found[names[place]] = outcome
            finally:
                for context in shown:
                    context.close()
        outcome = self._found[address]
        if isinstance(outcome.failure, UsageError):
            raise outcome.failure
        if outcome.failure is not None:
            reason = f"as it was imported, {_reason(outcome.failure)}"
            raise NotStarted(address, _verdict(outcome.failure), reason)
        found: tuple[Implementation, ...] = outcome.value
        return found

    def judged(
        self, tasks: Sequence[Task], *, examples: int, seed: int, device: str, database: tuple[str, ...] = ()
    ) -> Judgements:
        """The judgement of each task with its place, as the workers finish them."""
        where = tuple(str(Path(folder).absolute()) for folder in database)
        how = {"examples": examples, "seed": seed, "device": device, "database": where}
        addresses = [subject.address or "" for subject, _, _ in tasks]
        # Of each subject, what takes longest comes first, so that no worker is left with it alone.
        first = {address: place for place, address in reversed(list(enumerate(addresses)))}
        order = sorted(range(len(tasks)), key=lambda place: (first[addresses[place]], -tasks[place].invariant.cost))
        jobs = []
        for place in order:
            subject, invariant, entries = tasks[place]
            arguments = addresses[place], subject.place, invariant.id, entries, how
            jobs.append(self._job(addresses[place], BOUNDS.seconds, worker.judge_at, *arguments))
        for index, outcome in self._pool.outcomes(jobs):
            yield order[index], _judgement(outcome, tasks[order[index]].invariant)

    def explained(self, subject: Subject, judgements: Sequence[Judgement], *, seed: int, device: str) -> Explained:
        """What would explain the violations among all judgements on a subject; nothing where no worker says it."""
        seconds = seconds_for(judgements)
        how = {"seed": seed, "device": device, "seconds": seconds}
        address = subject.address or ""
        bounds = BOUNDS.seconds, BOUNDS.mebibytes
        arguments = bounds, address, subject.place, tuple(map(_with_vector_alone, judgements)), how
        job = Job(worker.explained_at, arguments, seconds + GRACE, subject=address)
        try:
            ((_, outcome),) = self._pool.outcomes([job])
        except WorkerError:
            return Explained()
        return outcome.value or Explained()

    def _job(self, address: str, seconds: float, function: Callable[..., Any], *arguments: Any) -> Job:
        if is_testee(address):
            # Its own process has that time to start, and again to answer, and is told apart from the judge.
            seconds += BOUNDS.start_seconds + TESTEE_GRACE
        bounds = BOUNDS.seconds, BOUNDS.mebibytes
        return Job(function, (bounds, *arguments), seconds, subject=address)


def _with_vector_alone(judgement: Judgement) -> Judgement:
    """The judgement with all that a search for causes needs of its case."""
    shown = judgement.counterexample
    if shown is None:
        return judgement
    return replace(
        judgement, counterexample=Counterexample(None, got=shown.got, details=shown.details, vector=shown.vector)
    )


def _judgement(outcome: Outcome, invariant: Invariant) -> Judgement:
    """The judgement that a worker has given, or had told before it gave none."""
    if outcome.failure is None:
        judged: Judgement = outcome.value
        return judged
    told: Judgement | None = outcome.told
    if told is not None:
        return not_made_smaller(told, _reason(outcome.failure))
    return blank_judgement(invariant, _verdict(outcome.failure), _reason(outcome.failure))


def _verdict(failure: Exception) -> Verdict:
    """What it is called that a worker did not do what it was asked."""
    if isinstance(failure, Late):
        return Verdict.TIMED_OUT
    return Verdict.CRASHED if isinstance(failure, (Died, Lost)) else Verdict.ERROR


def _reason(failure: Exception) -> str:
    """Why a worker did not do what it was asked."""
    if isinstance(failure, Late):
        return f"{failure}; --time-limit allows more"
    if isinstance(failure, Died):
        return f"the worker process died, {cause_of_death(failure.exit_code)}"
    if isinstance(failure, Garbled):
        return f"what the worker process answers cannot be read, as it is not alone to write where it does: {failure}"
    if isinstance(failure, OSError):
        return f"no worker process can be started: {one_line(failure)}"
    if isinstance(failure, Lost):
        return f"the workers of the cluster that were given it were lost: {failure}"
    return f"the worker process failed with {failure}"
