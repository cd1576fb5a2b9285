"""Worker processes that do jobs: each is limited in time, and what one does to its process costs that job alone."""

from __future__ import annotations

import itertools
import os
import pickle
import selectors
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from detr_conformance.base.consoles import print_above_bar
from detr_conformance.base.one_thread import ONE_THREAD
from detr_conformance.base.time_limit import LOOK, TimeLimit
from detr_conformance.processes.process import Died, Garbled, Late, Process
from detr_conformance.processes.serving import LONGEST, Kind, command, packed

START = 60.0
"""The seconds that a worker has to start and to import, beside those of its job."""


@dataclass(frozen=True)
class Job:
    """A function that can be imported, its arguments, and the seconds that it may take, counted as `TimeLimit` does.

    They are counted from where the function calls `serving.ready`, and again from where it calls `serving.tell` first;
    until then it has `START` more. subject: what it is about; a worker that had a job about that is asked first, as it
    has imported it by then.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    seconds: float
    subject: str = ""


class Outcome(NamedTuple):
    """What became of a job: what the function returned, or why it did not, and then what it told before, if anything.

    failure: `Late`, `Died`, `Garbled`, `OSError` where no process can be had, `WorkerError`, or what the function
    raised, if that is an error of this project.
    """

    value: Any = None
    failure: Exception | None = None
    told: Any = None


@dataclass(eq=False)
class _Worker:
    """A process, what it has imported, and the job that it is at, with its place and its limit.

    fresh: whether it is its first. begun: whether the process knows of it.
    """

    process: Process
    subjects: set[str] = field(default_factory=set)
    place: int = -1
    fresh: bool = True
    begun: bool = False
    seconds: float = 0.0
    limit: TimeLimit | None = None
    told: Any = None

    def allow(self, seconds: float) -> None:
        """Gives it that much time from now on."""
        self.limit = TimeLimit(seconds, self.process.processor_seconds)


class Pool:
    """So many worker processes, which start when there is something to do. A context, at whose end they are gone."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        while self._workers:
            self._workers.pop().process.close()

    def outcomes(
        self, jobs: Sequence[Job], begun: Callable[[int], object] = lambda _: None
    ) -> Iterator[tuple[int, Outcome]]:
        """The outcome of each job with its place, as they come; begun is called with the place of one that begins."""
        waiting = dict(enumerate(jobs))
        busy: list[_Worker] = []
        try:
            while waiting or busy:
                while waiting and len(busy) < self._count:
                    try:
                        worker = self._idle(busy)
                    except OSError as error:
                        if not busy:
                            place = next(iter(waiting))
                            del waiting[place]
                            yield place, Outcome(failure=error)
                        break
                    place = _next_job(waiting, worker, self._workers)
                    self._begin(worker, place, waiting.pop(place))
                    busy.append(worker)
                    begun(place)
                _wait(busy)
                for worker in list(busy):
                    outcome = self._outcome(worker)
                    if outcome is None:
                        continue
                    busy.remove(worker)
                    if isinstance(outcome.failure, Died) and not (worker.begun or worker.fresh):
                        # It ended between two jobs, and the second is not to blame.
                        waiting[worker.place] = jobs[worker.place]
                    else:
                        yield worker.place, outcome
        finally:
            # Where this is left early, what a worker would still answer would be taken for the answer to its next job.
            for worker in busy:
                self._end(worker)

    def _idle(self, busy: Sequence[_Worker]) -> _Worker:
        """A worker that has nothing to do, which is a new one as long as there are fewer than there may be."""
        for worker in list(self._workers):
            if worker not in busy and not _sound(worker):
                self._end(worker)
        if len(self._workers) < self._count:
            environment = {**os.environ, **ONE_THREAD}
            self._workers.append(_Worker(Process(command(), environment, longest=LONGEST, say=print_above_bar)))
        return next(worker for worker in reversed(self._workers) if worker not in busy)

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.close()

    def _begin(self, worker: _Worker, place: int, job: Job) -> None:
        worker.fresh = worker.place < 0
        worker.place, worker.seconds, worker.begun, worker.told = place, job.seconds, False, None
        worker.subjects.add(job.subject)
        worker.allow(START + job.seconds)
        worker.process.send(packed((job.function, job.arguments)))

    def _outcome(self, worker: _Worker) -> Outcome | None:
        """What became of a worker's job, None as long as it is at it; a worker that did not answer is ended."""
        try:
            worker.process.pump(0)
            text = worker.process.receive()
            while text is not None:
                kind, value = _message(text)
                if kind is Kind.RETURNED:
                    return Outcome(value)
                if kind is Kind.RAISED:
                    return Outcome(failure=value, told=worker.told)
                worker.begun = True
                if kind is Kind.READY or (kind is Kind.TOLD and worker.told is None):
                    worker.allow(worker.seconds)
                if kind is Kind.TOLD:
                    worker.told = value
                text = worker.process.receive()
            late = worker.limit and worker.limit.exceeded()
            if late:
                raise Late(late)
        except (Died, Garbled, Late) as failure:
            self._end(worker)
            return Outcome(failure=failure, told=worker.told)
        return None


def _sound(worker: _Worker) -> bool:
    """Whether an idle worker lives and has said nothing since."""
    try:
        worker.process.pump(0)
        return worker.process.receive() is None
    except (Died, Garbled):
        return False


def _next_job(waiting: dict[int, Job], worker: _Worker, workers: Sequence[_Worker]) -> int:
    """The place of the first job about what the worker has imported, or else no other has, or else of the first."""
    known = {subject for other in workers for subject in other.subjects}
    own = (place for place, job in waiting.items() if job.subject in worker.subjects)
    new = (place for place, job in waiting.items() if job.subject not in known)
    return next(itertools.chain(own, new, waiting))


def _wait(busy: Sequence[_Worker]) -> None:
    """Waits until one of the workers has something to say, or it is time to look at how much time they used."""
    with selectors.DefaultSelector() as selector:
        for worker in busy:
            selector.register(worker.process, selectors.EVENT_READ)
        selector.select(LOOK)


def _message(text: bytes) -> tuple[Kind, Any]:
    """What a worker says; raises `Garbled` for what is none of its messages."""
    try:
        kind, value = pickle.loads(text)
    except Exception as error:
        raise Garbled(f"its answer is no message: {type(error).__name__}") from error
    if not isinstance(kind, Kind) or (kind is Kind.RAISED and not isinstance(value, Exception)):
        raise Garbled("its answer is no message")
    return kind, value
