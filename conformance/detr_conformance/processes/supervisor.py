"""Runs a command in a process that is forked for it, so that none of what it runs can end it unnoticed."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import click

from detr_conformance.base import interrupts
from detr_conformance.base.errors import cause_of_death
from detr_conformance.base.streams import out_of_reach
from detr_conformance.processes.keeper import adopt_orphans, end_with_parent, kill_children, wakeup

ENDED = 1
"""The exit code of a command that was ended by what it ran: not 0, whatever the process itself said."""

MOST_TOLD = 1 << 16
"""How many of the bytes that come where the exit code is told are kept, as others may write there too."""

GRACE = 5.0
"""The seconds that a command has for what is left to do when it has told its exit code."""


def supervised(command: Callable[[], int]) -> int:
    """The exit code that a command returns, which runs in a process of its own where the system can fork.

    Signals to this process are passed on. When the command ends, whatever it started is ended too; where it ends
    without having returned, that is said in a line on standard error. In the forked process, this returns as well.
    """
    if not hasattr(os, "fork"):
        interrupts.listen()
        return command()
    reader, writer = os.pipe()
    # What is judged may write to every descriptor that there is, and must not be believed.
    password = os.urandom(16)
    adopt_orphans()
    # Until both processes are ready for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupts.SIGNALS)
    process = os.fork()
    if process == 0:
        os.close(reader)
        return _run(command, out_of_reach(writer), password)
    os.close(writer)
    code, status = _watched(process, reader, password)
    kill_children()
    if code is None:
        click.echo(f"detr-spec: {_unfinished(status)}", err=True)
        return ENDED
    return code


def _run(command: Callable[[], int], writer: int, password: bytes) -> int:
    """Runs the command in the forked process, and tells its exit code before whatever runs at the end of a process."""
    end_with_parent(signal.SIGKILL)
    interrupts.listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
    own = os.getpid()
    try:
        code = command()
    except BaseException:
        # Else this process would wait for threads that an implementation has left.
        os._exit(ENDED)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if os.getpid() == own:
        with contextlib.suppress(OSError):
            os.write(writer, password + bytes([code]))
    return code


def _watched(process: int, reader: int, password: bytes) -> tuple[int | None, int]:
    """The exit code that the process tells, None where it ends without doing so, and its wait status."""

    def pass_on(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    awake = wakeup()
    for number in interrupts.SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
    os.set_blocking(reader, False)
    told, listened, until = b"", {awake, reader}, math.inf
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        try:
            while data := os.read(reader, 1 << 16):
                told = (told + data)[-MOST_TOLD:]
            listened.discard(reader)
        except BlockingIOError:
            pass
        _, _, code = told.rpartition(password) if password in told else (b"", b"", b"")
        if ended or time.monotonic() > until:
            return (code[0] if code else None), status
        if code and until == math.inf:
            until = time.monotonic() + GRACE
        left = None if until == math.inf else until - time.monotonic()
        if awake in select.select(listened, [], [], left)[0]:
            os.read(awake, 1024)


def _unfinished(status: int) -> str:
    """What to say where a process ended without having finished its command."""
    cause = cause_of_death(os.waitstatus_to_exitcode(status))
    return (
        f"the process ended, {cause}, before the command was finished, and there is no result; what is judged in this "
        "process can do that, but not in a worker process (-n 1) or in one of its own (--isolate)"
    )
