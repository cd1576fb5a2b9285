"""Judges in worker processes, so that an implementation that hangs or dies costs one judgement and not the run."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as TimedOut
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from detr_spec.invariant import Invariant
from pebble import ProcessExpired, ProcessPool

from detr_conformance import worker
from detr_conformance.errors import UsageError, one_line
from detr_conformance.judge import blank_judgement
from detr_conformance.selection import Subject
from detr_conformance.verdict import Judgement, Verdict

Task = tuple[Subject, Invariant]


def judged_by_workers(
    tasks: Sequence[Task], *, examples: int, seed: int, workers: int, time_limit: float
) -> Iterator[tuple[int, Judgement]]:
    """The judgement of each task with the task's place, as they are finished, by `workers` processes.

    A task that takes longer than `time_limit` seconds has timed out; one whose process dies has crashed. Raises
    `UsageError` for a subject without an address, and where no process can be started.
    """
    addresses = _addresses(tasks)
    pool: Any = ProcessPool(
        max_workers=min(workers, max(1, len(tasks))),
        initializer=worker.start,
        initargs=(addresses,),
        context=get_context("spawn"),
    )
    try:
        places: dict[Future[Judgement], int] = {
            pool.schedule(
                worker.judge_at,
                args=(subject.address, subject.place, invariant.id, examples, seed),
                timeout=time_limit,
            ): place
            for place, (subject, invariant) in enumerate(tasks)
        }
        for future in as_completed(places):
            place = places[future]
            yield place, _judgement(future, tasks[place][1], time_limit)
    finally:
        pool.stop()
        pool.join()


def _addresses(tasks: Sequence[Task]) -> tuple[str, ...]:
    addresses: dict[str, None] = {}
    for subject, _ in tasks:
        if subject.address is None:
            raise UsageError(
                f"{subject.implementation.name} was given as an object, which worker processes cannot find; "
                "give its name, such as 'package.module:attribute', or workers=0"
            )
        addresses[subject.address] = None
    return tuple(addresses)


def _judgement(future: Future[Judgement], invariant: Invariant, time_limit: float) -> Judgement:
    try:
        return future.result()
    except TimedOut:
        message = f"not finished after {time_limit:g} s; --time-limit allows more"
        return blank_judgement(invariant, Verdict.TIMED_OUT, message)
    except ProcessExpired as death:
        return blank_judgement(
            invariant, Verdict.CRASHED, f"the worker process died, {_cause(death.exitcode)}"
        )
    except BrokenProcessPool as error:
        raise UsageError(
            "the worker processes end as soon as they start; a script that calls check(workers=…) "
            'needs `if __name__ == "__main__":` around it'
        ) from error
    except Exception as error:
        return blank_judgement(invariant, Verdict.ERROR, f"the worker process failed with {one_line(error)}")


def _cause(code: int) -> str:
    """What ended a process, from its exit code; a negative one is minus the signal."""
    if code < 0:
        try:
            return f"by signal {signal.Signals(-code).name}"
        except ValueError:
            return f"by signal {-code}"
    return f"with exit code {code}"
