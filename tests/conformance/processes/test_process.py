"""A process and all that it starts is limited, and nothing of it is left, whatever it does to its keeper."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detr_conformance.base.time_limit import TimeLimit
from detr_conformance.processes.process import Died, Garbled, Late, Process, TooLarge

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc to see processes in")

Start = Callable[..., Process]
HEAD = """
import ctypes, mmap, os, signal, struct, subprocess, sys, time
def say(text):
    os.write(1, struct.pack(">I", len(text)) + text)
"""


@pytest.fixture
def mark() -> str:
    """A word that no other process has in its command."""
    return f"mark-{uuid.uuid4()}"


@pytest.fixture
def start(mark: str) -> Iterator[Start]:
    """Starts a process that runs a few lines of Python, with the mark in its command."""
    started: list[Process] = []

    def begin(source: str, **limits: int) -> Process:
        command = [sys.executable, "-I", "-S", "-c", HEAD + source, mark]
        started.append(Process(command, os.environ, longest=1000, **limits))
        return started[-1]

    yield begin
    for process in started:
        process.close()


def answered(process: Process, seconds: float = 20) -> bytes:
    return process.exchange(b"", TimeLimit(seconds, process.processor_seconds))


@pytest.mark.parametrize(
    "source",
    [
        "os.kill(os.getppid(), signal.SIGKILL); time.sleep(100)",
        "if os.fork() == 0: os.setsid(); time.sleep(100)\nos.kill(os.getppid(), signal.SIGKILL)",
        "server = os.getpid()\nif os.fork() == 0:\n os.setsid()\n if os.fork(): time.sleep(100)\n"
        " os.kill(int(open(f'/proc/{server}/stat').read().split()[3]), signal.SIGKILL)\ntime.sleep(100)",
    ],
    ids=["itself", "its child", "its grandchild"],
)
def test_who_kills_its_keeper_is_killed(source: str, start: Start, mark: str, running: Callable[..., int]) -> None:
    process = start(source)
    with pytest.raises(Died) as death:
        answered(process)
    assert death.value.exit_code == -9
    process.close()
    assert running(mark, none=True) == 0


@pytest.mark.parametrize("last", [False, True])
def test_an_end_may_be_seen_before_or_after_what_was_said(
    last: bool, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start("say(b'all')")
    selector, lifeline = process._selector, process._lifeline.fileno()
    wait, deadline = selector.select, time.monotonic() + 20
    while len(wait(0)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)

    def ordered(seconds: float) -> list[Any]:
        return sorted(wait(seconds), key=lambda ready: (ready[0].fd == lifeline) is last)

    monkeypatch.setattr(selector, "select", ordered)
    assert answered(process) == b"all"


@pytest.mark.parametrize(
    "source",
    [
        "file = os.memfd_create('x'); os.posix_fallocate(file, 0, 40 << 20)",
        "files = [os.memfd_create(str(n)) for n in range(5)]\nfor file in files: os.posix_fallocate(file, 0, 10 << 20)",
        "shared = mmap.mmap(-1, 80 << 20)\nfor page in range(0, 80 << 20, 4096): shared[page] = 1",
    ],
    ids=["a file in memory", "several files in memory", "shared memory"],
)
def test_memory_that_is_not_allocated_is_limited_too(source: str, start: Start) -> None:
    process = start(f"{source}\ntime.sleep(100)", mebibytes=30)
    with pytest.raises((TooLarge, Died)):
        answered(process)


def test_memory_below_the_limit_is_given(start: Start) -> None:
    source = "file = os.memfd_create('x'); os.posix_fallocate(file, 0, 40 << 20); time.sleep(0.6); say(b'done')"
    assert answered(start(source, mebibytes=100)) == b"done"


def test_processor_time_is_counted_for_all_processes(start: Start) -> None:
    process = start("if os.fork(): time.sleep(100)\nwhile True: pass")
    with pytest.raises(Late, match=r"not finished after 0.3 s of processor time|of which it computed for 0.[012]"):
        answered(process, 0.3)


def test_an_answer_in_parts_is_one(start: Start) -> None:
    process = start("for part in (b'\\0\\0', b'\\0\\4do', b'ne'): os.write(1, part); time.sleep(0.1)\ntime.sleep(100)")
    assert answered(process) == b"done"


def test_what_is_no_message_is_told(start: Start) -> None:
    with pytest.raises(Garbled, match="where a message of at most 1000 bytes begins"):
        answered(start("print('hello world', flush=True); time.sleep(100)"))


def test_an_exit_code_is_told(start: Start) -> None:
    with pytest.raises(Died) as death:
        answered(start("sys.exit(7)"))
    assert death.value.exit_code == 7
