"""What an implementation does to its process costs a verdict, in each way of running it, and never a report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc to see processes in")

HOSTILE = """
import atexit, ctypes, gc, os, signal, sys, threading, time
import numpy as np
from detr_conformance.base.interrupts import Interrupted
from detr_conformance import numpy_implementation
from scipy.optimize import linear_sum_assignment

def exits(cost):
    os._exit(0)

def scribbles(cost):
    for name in os.listdir("/proc/self/fd"):
        try:
            int(name) > 2 and os.write(int(name), b"hello world")
        except OSError:
            pass
    return linear_sum_assignment(cost)

def interrupts(cost):
    raise KeyboardInterrupt

def pretends(cost):
    raise Interrupted

def leaves(cost):
    sys.exit(0)

def forks(cost):
    os.fork()
    return linear_sum_assignment(cost)

def litters(cost):
    os.chdir("/")
    os.environ.clear()
    sys.stdout = sys.stderr = None
    threading.excepthook = print
    gc.disable()
    sys.setrecursionlimit(10**6)
    signal.alarm(1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    atexit.register(os._exit, 0)
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return linear_sum_assignment(cost)

def finds_then_exits(cost):
    calls.append(1)
    if len(calls) > 4:
        os._exit(0)
    return [0, 0], [0, 0]

def finds_then_hangs(cost):
    calls.append(1)
    if len(calls) > 4:
        time.sleep(1000)
    return [0, 0], [0, 0]

def closes(cost):
    os.closerange(0, 256)
    return [0], [99]

def shuts(cost):
    sys.stdout.close()
    sys.stderr.close()
    return linear_sum_assignment(cost)

def repeats(cost):
    return (np.broadcast_to(np.int64(0), (10**12,)),) * 2

calls = []
for name, function in list(globals().items()):
    if getattr(function, "__module__", None) == __name__:
        globals()[name.upper()] = numpy_implementation(name=name, solver=function)
"""
CHOSEN = ("--invariant", "assignment.valid-pairs", "--examples", "3", "--json", "report.json")


@pytest.fixture
def checked(
    tmp_path: Path, python_file: Callable[..., Path], command_line: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[..., tuple[int, str, dict[str, Any] | None]]:
    """Checks one of the hostile: the exit code, what stands on standard error, and its entry in the report."""

    def check(name: str, *options: str) -> tuple[int, str, dict[str, Any] | None]:
        python_file("hostile.py", HOSTILE)
        done = command_line("check", f"hostile.py:{name}", *CHOSEN, *options)
        report = tmp_path / "report.json"
        entry = None
        if report.exists():
            (entry,) = json.loads(report.read_text())["implementations"][0]["invariants"]
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr, entry

    return check


WORKER, HERE, ISOLATED = ("-n", "1"), ("-n", "0"), ("-n", "0", "--isolate")
OUTCOMES = [
    ("EXITS", WORKER, "crashed", "the worker process died, with exit code 0"),
    ("SCRIBBLES", WORKER, "error", "what the worker process answers cannot be read"),
    ("SCRIBBLES", HERE, "holds", ""),
    ("INTERRUPTS", WORKER, "error", "the implementation raised KeyboardInterrupt"),
    ("INTERRUPTS", HERE, "error", "the implementation raised KeyboardInterrupt"),
    ("INTERRUPTS", ISOLATED, "error", "the implementation raised KeyboardInterrupt"),
    ("PRETENDS", WORKER, "error", "the implementation raised Interrupted"),
    ("PRETENDS", HERE, "error", "the implementation raised Interrupted"),
    ("LEAVES", HERE, "error", "the implementation raised SystemExit: 0"),
    ("LEAVES", ISOLATED, "error", "the implementation raised SystemExit: 0"),
    ("FORKS", WORKER, "holds", ""),
    ("FORKS", HERE, "holds", ""),
    ("FORKS", ISOLATED, "holds", ""),
    ("LITTERS", WORKER, "holds", ""),
    ("LITTERS", HERE, "holds", ""),
    ("SHUTS", WORKER, "holds", ""),
    ("SHUTS", HERE, "holds", ""),
    ("CLOSES", WORKER, "violated", ""),
    ("CLOSES", HERE, "violated", ""),
    ("CLOSES", ISOLATED, "violated", ""),
    ("REPEATS", HERE, "violated", "shape [1000000000000]"),
    ("REPEATS", ISOLATED, "violated", "shape [1000000000000]"),
    ("FINDS_THEN_EXITS", WORKER, "violated", "a wrong number of pairs"),
    ("FINDS_THEN_HANGS", (*WORKER, "--time-limit", "0.5"), "violated", "a wrong number of pairs"),
    ("FINDS_THEN_HANGS", (*ISOLATED, "--time-limit", "0.5"), "violated", "a wrong number of pairs"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "options", "verdict", "told"), OUTCOMES)
def test_what_it_does_costs_a_verdict(
    name: str, options: tuple[str, ...], verdict: str, told: str, checked: Callable[..., Any]
) -> None:
    code, _, entry = checked(name, *options)
    assert entry is not None
    assert (entry["verdict"], code) == (verdict, int(verdict != "holds"))
    assert told in entry["message"]


def test_without_isolation_what_ends_the_process_does_not_end_it_green(checked: Callable[..., Any]) -> None:
    code, errors, entry = checked("EXITS", "-n", "0")
    assert (code, entry) == (1, None)
    (line,) = [line for line in errors.splitlines() if line.startswith("detr-spec: ")]
    assert "the process ended, with exit code 0, before the command was finished" in line


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_termination_shows_and_writes_what_is_known(subjects: Path, workers: str, tmp_path: Path) -> None:
    mark = f"mark-{uuid.uuid4()}.json"
    main = "from detr_conformance.commands.command_line import main; main()"
    command = [
        *(sys.executable, "-c", main, "check", f"{subjects}:RIGHT", f"{subjects}:SLOW", "--component", "assignment"),
        *("--examples", "60", "-n", workers, "--json", mark),
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stderr is not None
        while "right (detr) judged" not in process.stderr.readline():
            pass
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "interrupted: this is what was known so far" in output
    assert "Traceback" not in errors
    assert json.loads((tmp_path / mark).read_text())["interrupted"] is True


def test_a_campaign_that_is_terminated_shows_what_it_found(tmp_path: Path) -> None:
    arguments = ("mutants", "assignment", "-n", "0", "--seeds", "5", "--examples", "100", "--survey-examples", "0")

    def begun(process: subprocess.Popen[str]) -> bool:
        assert process.stderr is not None
        return " searches finished" in process.stderr.readline()

    code, output, _ = terminated(arguments, tmp_path, begun)
    assert code == 143
    assert "interrupted: " in output
    assert "searches are finished, and have found" in output


def terminated(
    arguments: tuple[str, ...], folder: Path, begun: Callable[[subprocess.Popen[str]], bool]
) -> tuple[int, str, str]:
    """The exit code and the outputs of a command that is terminated as soon as it has begun."""
    main = "from detr_conformance.commands.command_line import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", main, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not begun(process):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    return process.returncode, output, errors
