"""The component `distributed` of a criterion on PyTorch: as many processes as there are batches, joined by gloo.

The processes are forked, since a factory need not be something that can be sent. They stay for the cases to come, which
so take milliseconds. Whatever a rank does, there is an answer in bounded time: ranks that wait in vain are killed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch.distributed as dist

from detr_conformance.base.tracebacks import RemoteTraceback
from detr_conformance.bridges.torch_rank import Build, Outcome, Rank, Request, forked_rank
from detr_spec.configuration import Configuration
from detr_spec.implementation import Distributed
from detr_spec.values import Answer, Losses, Observation, Outputs, Targets
from detr_spec.violation import NotProvided, RankFailure

PATIENCE = 3.0
"""The seconds that ranks may be silent in a call: a thousand times what a call takes, since machines are busy."""

START_PATIENCE = 60.0
"""The seconds that ranks may need to meet, which usually takes 0.1; nothing is accused where they do not."""

SLOWER = 20
"""How many times slower than in this process a batch may be in a rank, when ranks are given a second chance."""

MOST_GROUPS = 2
"""How many groups a process keeps: of 2 and of 3 ranks, for the implementation that is judged."""

_WAIT = 0.1


class RankError(RuntimeError):
    """A rank raised; the message names the rank and what it raised, the cause has its traceback."""


def ranks_available() -> bool:
    """Whether there can be ranks here: torch with gloo, and Linux, where a process that has used torch may fork."""
    return sys.platform.startswith("linux") and dist.is_available() and dist.is_gloo_available()


class Ranks:
    """The component `distributed` from a component `criterion` that reduces over torch.distributed's default group.

    One batch is answered in this process, without a group, as on one device. The component raises `RankFailure` where
    a rank dies or does not answer, and again so in fresh ranks; `RankError` where every rank answers or raises, and one
    raises; and `NotProvided` for other devices than the CPU, and where ranks cannot be started.
    """

    def __init__(self, build: Build, *, patience: float = PATIENCE) -> None:
        self._build = build
        self._patience = patience

    def __call__(self, configuration: Configuration) -> Distributed:
        """The component for a configuration."""
        if configuration.device != "cpu":
            raise NotProvided(f"ranks are processes on the CPU, not on {configuration.device}")

        def call(batches: Sequence[tuple[Outputs, Targets]]) -> Answer[tuple[Losses, ...]]:
            if len(batches) == 1:
                return _together([self._build(configuration)(*batches[0])])
            requests = [(configuration, *batch) for batch in batches]
            with contextlib.suppress(RankFailure):
                return _together(self._answers(requests, self._patience))
            patience = max(self._patience, round(SLOWER * self._seconds_here(requests)))
            return _together(self._answers(requests, patience))

        return call

    def _answers(self, requests: Sequence[Request], patience: float) -> list[Answer[Losses]]:
        return _group(self._build, len(requests)).call(requests, patience)

    def _seconds_here(self, requests: Sequence[Request]) -> float:
        """How long the batches take in this process.

        What takes long the first time, such as an import or a compilation, is done by now in ranks that are forked
        hereafter.
        """
        start = time.monotonic()
        for configuration, outputs, targets in requests:
            with contextlib.suppress(Exception):
                self._build(configuration)(outputs, targets)
        return time.monotonic() - start


def _together(answers: Sequence[Answer[Losses]]) -> Answer[tuple[Losses, ...]]:
    """The answers of all ranks as one, and what was seen in each by the rank's number."""
    seen = [answer.observation for answer in answers]

    def by_rank(part: str) -> dict[str, Any]:
        return {_of(rank, name): item for rank, one in enumerate(seen) for name, item in getattr(one, part).items()}

    return Answer(
        tuple(answer.value for answer in answers),
        Observation(
            mutated=tuple(_of(rank, name) for rank, one in enumerate(seen) for name in one.mutated or ()),
            attached=frozenset(_of(rank, name) for rank, one in enumerate(seen) for name in one.attached),
            differentiable=seen[0].differentiable,
            dtypes=by_rank("dtypes"),
            shapes=by_rank("shapes"),
            devices=by_rank("devices"),
            device=seen[0].device,
        ),
    )


def _of(rank: int, name: str) -> str:
    return f"{name} of rank {rank}"


class Group:
    """Ranks that answer together, until the group is closed, or this process ends.

    Raises `NotProvided` where they cannot be started, or do not meet.
    """

    def __init__(self, build: Build, size: int) -> None:
        self.build = build
        self._ranks: list[Rank] = []
        self._end = weakref.finalize(self, _end, self._ranks, os.getpid())
        with self._closed_on_failure():
            self._start(size)

    @contextlib.contextmanager
    def _closed_on_failure(self) -> Any:
        """Closes the group if anything is raised, since its ranks may still be at work then."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _start(self, size: int) -> None:
        # A file in memory is gone when the processes are, however they end.
        rendezvous = os.memfd_create("ranks")
        try:
            for number in range(size):
                self._ranks.append(forked_rank(self.build, number, size, rendezvous))
        except OSError as error:
            raise NotProvided(f"ranks cannot be started: {error}") from error
        finally:
            os.close(rendezvous)
        outcomes = self._outcomes(START_PATIENCE)
        met = [outcome is not None and not outcome.raised for outcome in outcomes.values()]
        if len(met) < size or not all(met):
            raise NotProvided(f"ranks cannot be started: {self._described(outcomes, START_PATIENCE)}")

    @property
    def open(self) -> bool:
        """Whether the ranks are there."""
        return bool(self._end.alive)

    def close(self) -> None:
        """Kills the ranks; may be called again."""
        self._end()

    def call(self, requests: Sequence[Request], patience: float) -> list[Answer[Losses]]:
        """The answer of each rank to its request; raises what `Ranks` says.

        Unless every rank has finished, the group is closed then.
        """
        with self._closed_on_failure():
            for rank, request in zip(self._ranks, requests, strict=True):
                # A rank that has died is noticed as its outcome is waited for.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    rank.pipe.send(request)
            outcomes = self._outcomes(patience)
            finished = {number: outcome for number, outcome in outcomes.items() if outcome is not None}
            if len(finished) < len(self._ranks):
                raise RankFailure(self._described(outcomes, patience))
        return [_answer(number, finished[number]) for number in sorted(finished)]

    def _outcomes(self, patience: float) -> dict[int, Outcome | None]:
        """What each rank sends, None where it dies: until all have, one dies, or nothing comes for so many seconds.

        Time is counted in short waits, so that none passes while this process itself stands still.
        """
        outcomes: dict[int, Outcome | None] = {}
        silence = 0
        while len(outcomes) < len(self._ranks) and None not in outcomes.values() and silence * _WAIT < patience:
            pending = {rank.pipe: number for number, rank in enumerate(self._ranks) if number not in outcomes}
            ready = wait(list(pending), _WAIT)
            silence += not ready
            for pipe in ready:
                assert isinstance(pipe, Connection)
                try:
                    outcomes[pending[pipe]] = pipe.recv()
                except (EOFError, ConnectionResetError):
                    outcomes[pending[pipe]] = None
        return outcomes

    def _described(self, outcomes: Mapping[int, Outcome | None], patience: float) -> str:
        """Which ranks died, raised, answered, or did none of that."""
        numbers = range(len(self._ranks))
        died = [number for number in numbers if outcomes.get(number, ...) is None]
        parts = [f"rank {number} died, {self._ranks[number].end()}" for number in died]
        parts += [f"rank {number} {outcome}" for number, outcome in sorted(outcomes.items()) if outcome is not None]
        if not died:
            silent = " and ".join(f"rank {number}" for number in numbers if number not in outcomes)
            parts.append(
                f"{silent} did not answer within {patience:g} s and may wait in a collective that another rank "
                "does not join"
            )
        return "; ".join(parts)


def _answer(number: int, outcome: Outcome) -> Answer[Losses]:
    if outcome.told is not None:
        raise outcome.told
    if outcome.answer is None:
        raise RankError(f"rank {number}: {outcome.raised}") from RemoteTraceback(outcome.traceback)
    return outcome.answer


def _end(ranks: Sequence[Rank], owner: int) -> None:
    """Ends the ranks, but not in another process that the owner forked."""
    if os.getpid() == owner:
        for rank in ranks:
            rank.end()


_groups: dict[tuple[int, int, int], Group] = {}
"""The groups by process (which may have been forked from another), criterion and size; the last used is the last."""


def _group(build: Build, size: int) -> Group:
    """The group of that size that answers for the criterion: one that is open, or a new one in place of the oldest."""
    key = (os.getpid(), id(build), size)
    group = _groups.pop(key, None)
    if group is None or not group.open:
        while len(_groups) >= MOST_GROUPS:
            _groups.pop(next(iter(_groups))).close()
        group = Group(build, size)
    _groups[key] = group
    return group
