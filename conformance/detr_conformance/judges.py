"""Who judges: this process, or worker processes, where what hangs or dies costs one judgement alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as TimedOut
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, Protocol

from detr_conformance import worker
from detr_conformance.database import located
from detr_conformance.errors import UsageError, cause_of_death, one_line
from detr_conformance.judge import blank_judgement
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.judging import judge_listed
from detr_conformance.resolve import resolve
from detr_conformance.selection import Subject
from detr_conformance.testee.bounds import BOUNDS, DEFAULT_MEMORY_LIMIT
from detr_conformance.testee.names import is_testee
from detr_conformance.verdict import Judgement, Verdict
from detr_conformance.worker_process import WorkerContext
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant

TESTEE_GRACE = 30.0
"""Seconds beyond a testee's own time limits that a worker has for drawing cases and comparing."""


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
    ) -> Iterator[tuple[int, Judgement]]:
        """The judgement of each task with the task's place, as they are finished."""


class ThisProcess:
    """Judges one task after the other in this process, without a time limit but for testees."""

    def __enter__(self) -> ThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        from detr_conformance.testee.client import close_all  # noqa: PLC0415

        close_all()

    def find(self, address: str) -> tuple[Implementation, ...]:
        """What `resolve` finds, or raises."""
        return resolve(address)

    def judged(
        self, tasks: Sequence[Task], *, examples: int, seed: int, device: str, database: tuple[str, ...] = ()
    ) -> Iterator[tuple[int, Judgement]]:
        """The judgement of each task with its place, in order."""
        for place, (subject, invariant, entries) in enumerate(tasks):
            implementation = subject.implementation
            judgement = judge_listed(
                invariant, implementation, entries, examples=examples, seed=seed, device=device, database=database
            )
            yield place, judgement


class Workers:
    """Judges in worker processes, which alone import the implementations.

    A task that takes longer than `time_limit` seconds has timed out; one whose process dies has crashed.
    """

    def __init__(
        self, count: int, time_limit: float, addresses: Sequence[str], memory_limit: int = DEFAULT_MEMORY_LIMIT
    ) -> None:
        self._time_limit = time_limit
        self._memory_limit = memory_limit
        self._count = count
        self._addresses = tuple(addresses)

    def __enter__(self) -> Workers:
        from pebble import ProcessPool  # noqa: PLC0415

        self._pool: Any = ProcessPool(
            max_workers=self._count,
            initializer=worker.start,
            initargs=(self._addresses, (self._time_limit, self._memory_limit)),
            context=WorkerContext(),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()
        self._pool.join()

    def find(self, address: str) -> tuple[Implementation, ...]:
        """Stand-ins for what a worker finds: name, profile, limits and components, but nothing to call."""
        try:
            found: tuple[Implementation, ...] = self._pool.schedule(worker.described, args=(address,)).result()
        except BrokenProcessPool as error:
            raise _no_process() from error
        return found

    def judged(
        self, tasks: Sequence[Task], *, examples: int, seed: int, device: str, database: tuple[str, ...] = ()
    ) -> Iterator[tuple[int, Judgement]]:
        """The judgement of each task with its place, as the workers finish them."""
        places: dict[Future[Judgement], int] = {}
        for place, (subject, invariant, entries) in enumerate(tasks):
            where = tuple(map(located, database))
            arguments = (subject.address, subject.place, invariant.id, entries, examples, seed, device, where)
            timeout = self._time_limit
            if subject.address is not None and is_testee(subject.address):
                # Its own process has that time to start, and again to answer, and is told apart from the judge.
                timeout = timeout + max(timeout, BOUNDS.start) + TESTEE_GRACE
            future = self._pool.schedule(worker.judge_at, args=arguments, timeout=timeout)
            places[future] = place
        for future in as_completed(places):
            place = places[future]
            yield place, self._judgement(future, tasks[place].invariant)

    def _judgement(self, future: Future[Judgement], invariant: Invariant) -> Judgement:
        from pebble import ProcessExpired  # noqa: PLC0415

        try:
            return future.result()
        except TimedOut:
            message = f"not finished after {self._time_limit:g} s; --time-limit allows more"
            return blank_judgement(invariant, Verdict.TIMED_OUT, message)
        except ProcessExpired as death:
            message = f"the worker process died, {cause_of_death(death.exitcode)}"
            return blank_judgement(invariant, Verdict.CRASHED, message)
        except BrokenProcessPool as error:
            raise _no_process() from error
        except Exception as error:
            message = f"the worker process failed with {one_line(error)}"
            return blank_judgement(invariant, Verdict.ERROR, message)


def _no_process() -> UsageError:
    return UsageError(
        "the worker processes end as they start: importing the implementation ends them (try -n 0), "
        'or a script calls check(workers=…) without `if __name__ == "__main__":` around it'
    )
