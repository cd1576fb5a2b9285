"""One rank: a process forked from the one that judges, which answers for a criterion together with the other ranks.

It is as a launcher such as torchrun would leave it, with the default process group up, and it ends with the process
that judges.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe

import torch.distributed as dist

from detr_conformance.base.errors import cause_of_death, one_line
from detr_conformance.base.isolation import isolated
from detr_conformance.base.tracebacks import implementation_traceback
from detr_spec.configuration import Configuration
from detr_spec.implementation import Criterion
from detr_spec.values import Answer, Losses, Outputs, Targets
from detr_spec.violation import NotProvided, PremiseFailed, Violation

Build = Callable[[Configuration], Criterion]

Request = tuple[Configuration, Outputs, Targets]

_LOOK = 0.2
"""Every so many seconds a rank looks whether the process that judges is still there."""


@dataclass(frozen=True)
class Outcome:
    """What a rank sends back: an answer, an exception of the check's own, or what it raised, as text."""

    answer: Answer[Losses] | None = None
    told: Violation | NotProvided | PremiseFailed | None = None
    raised: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        if self.answer is not None:
            return "answered"
        return f"raised {self.raised or self.told}"


@dataclass(frozen=True)
class Rank:
    """A rank as the process that judges sees it: a process, and this end of the pipe to it."""

    process: int
    pipe: Connection

    def end(self) -> str:
        """Kills the process if it still runs, waits until it is gone, and says what ended it."""
        self.pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        try:
            _, status = os.waitpid(self.process, 0)
        except ChildProcessError:
            return "unseen"
        return cause_of_death(os.waitstatus_to_exitcode(status))


def forked_rank(build: Build, number: int, ranks: int, rendezvous: int) -> Rank:
    """A new rank, which sends an outcome when it has met the others, and then one for each request.

    rendezvous: the descriptor of an empty file that all ranks share. Raises `OSError` where no process can be had.
    """
    ours, theirs = Pipe()
    judge = os.getpid()
    with warnings.catch_warnings():
        # Python warns of forks beside other threads, for the locks that those may hold; a rank takes none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        try:
            ours.close()
            _settle(number, ranks, judge)
            _serve(build, theirs, number, ranks, rendezvous)
        finally:
            os._exit(0)
    theirs.close()
    return Rank(process, ours)


def _settle(number: int, ranks: int, judge: int) -> None:
    """Makes the forked process a rank, in which nothing of the process that judges is touched."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(judge,), daemon=True).start()
    # What exists by now would run the finalizers of the other process if it were collected here.
    gc.freeze()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    # What torchrun sets, but for the address of its server, as there is none.
    os.environ |= {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": _loopback(),
    }


def _loopback() -> str:
    """The network interface that leads nowhere else."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def _end_with(judge: int) -> None:
    """Ends this process after that one, which is its parent; also while it waits in a collective."""
    while os.getppid() == judge:
        time.sleep(_LOOK)
    os._exit(0)


def _serve(build: Build, pipe: Connection, number: int, ranks: int, rendezvous: int) -> None:
    """Meets the other ranks, then answers requests, each from the same global state, until the pipe ends."""
    try:
        place = f"file:///proc/self/fd/{rendezvous}"
        dist.init_process_group("gloo", init_method=place, rank=number, world_size=ranks)
    except BaseException as error:
        pipe.send(Outcome(raised=one_line(error)))
        return
    with isolated() as restore:
        pipe.send(Outcome())
        while True:
            try:
                request: Request = pipe.recv()
            except EOFError:
                return
            restore()
            pipe.send_bytes(_packed(_outcome(build, *request)))


def _outcome(build: Build, configuration: Configuration, outputs: Outputs, targets: Targets) -> Outcome:
    try:
        return Outcome(answer=build(configuration)(outputs, targets))
    except (Violation, NotProvided, PremiseFailed) as told:
        return Outcome(told=told)
    except BaseException as error:
        return Outcome(raised=one_line(error), traceback=implementation_traceback(error))


def _packed(outcome: Outcome) -> bytes:
    try:
        return pickle.dumps(outcome)
    except Exception as error:
        return pickle.dumps(Outcome(raised=f"what cannot be sent, {one_line(error)}"))
