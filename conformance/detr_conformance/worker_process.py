"""Worker processes whose death is noticed whatever their exit code is."""

from __future__ import annotations

from multiprocessing.context import SpawnContext, SpawnProcess

ENDED_AS_IF_DONE = 256
"""Stands for exit code 0, which a process cannot tell from this one: an operating system keeps eight bits of it."""


class WorkerProcess(SpawnProcess):
    """A process that is to run until it is stopped; an exit code of 0 is a death as any other.

    A pool takes a worker of exit code 0 for one that has done its work: it starts another in its place, and waits
    for ever for the answer of the first, or starts one after the other where importing an implementation ends them.
    """

    @property
    def exitcode(self) -> int | None:
        """The exit code, None while the process runs, and never 0."""
        code = super().exitcode
        return ENDED_AS_IF_DONE if code == 0 else code


class WorkerContext(SpawnContext):
    """Starts worker processes afresh, with nothing of this one in them."""

    Process = WorkerProcess
