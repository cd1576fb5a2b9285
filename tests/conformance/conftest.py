"""Subjects and invariants that the tests of the runner are about: small, each with one property."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from detr_conformance import numpy_implementation
from detr_conformance.commands.command_line import command
from detr_conformance.ledger.entries import Entry
from detr_conformance.ledger.reading import parsed_ledger
from detr_conformance.ledger.writing import ledger_text
from detr_conformance.vectors.vector import Provenance, Vector
from detr_spec.cases import CostCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant, Level, every_profile
from detr_spec.profiles import DETR
from detr_spec.strategies import cost_cases

SUBJECTS = '''
import multiprocessing, os, signal, sys, time
from detr_conformance import numpy_implementation
from scipy.optimize import linear_sum_assignment

def greedy(cost):
    """Takes the cheapest column for each row in turn: not optimal, not even a matching."""
    rows = list(range(min(cost.shape)))
    return rows, [int(cost[row].argmin()) for row in rows]

def hanging(cost):
    time.sleep(3600)

def dying(cost):
    os._exit(7)

def ending(cost):
    os._exit(0)

def killed(cost):
    os.kill(os.getpid(), signal.SIGKILL)

def printing(cost):
    print("noise on standard output")
    if multiprocessing.parent_process() is not None:
        os.write(1, b"noise from below Python ")
    return linear_sum_assignment(cost)

def leaving(cost):
    if cost.size > 1:
        sys.exit("enough")
    return linear_sum_assignment(cost)

def interrupting(cost):
    raise KeyboardInterrupt

def slow(cost):
    time.sleep(0.05)
    return linear_sum_assignment(cost)

RIGHT = numpy_implementation(name="right", solver=linear_sum_assignment)
GREEDY = numpy_implementation(name="greedy", solver=greedy)
HANGING = numpy_implementation(name="hanging", solver=hanging)
DYING = numpy_implementation(name="dying", solver=dying)
ENDING = numpy_implementation(name="ending", solver=ending)
KILLED = numpy_implementation(name="killed", solver=killed)
PRINTING = numpy_implementation(name="printing", solver=printing)
LEAVING = numpy_implementation(name="leaving", solver=leaving)
INTERRUPTING = numpy_implementation(name="interrupting", solver=interrupting)
SLOW = numpy_implementation(name="slow", solver=slow)
BOTH = [
    RIGHT,
    numpy_implementation(name="right", profile="deformable", solver=linear_sum_assignment),
]
'''


@pytest.fixture
def subjects(tmp_path: Path) -> Path:
    """A file of solvers, good and bad."""
    path = tmp_path / "subjects.py"
    path.write_text(SUBJECTS)
    return path


@pytest.fixture
def python_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a Python file of a given name."""

    def write(name: str, source: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    return write


@pytest.fixture
def right() -> Implementation:
    """A solver that is right."""
    return numpy_implementation(name="right", solver=linear_sum_assignment)


@pytest.fixture
def solver_of() -> Callable[..., Implementation]:
    """An implementation with one solver."""
    return lambda solver, **more: numpy_implementation(name="solver", solver=solver, **more)


@pytest.fixture
def toy() -> Callable[..., Invariant]:
    """An invariant of the component assignment with a given check, and whatever else is to be different."""

    def make(check: Callable[[Any, Any], None], **different: Any) -> Invariant:
        plain = Invariant(
            id="assignment.toy",
            number="S1",
            level=Level.MUST,
            component="assignment",
            statement="A toy holds.",
            why="It is for testing.",
            formula="1 = 1",
            source="none",
            breaks="nothing",
            applies=every_profile,
            cases=cost_cases(),
            check=check,
        )
        return replace(plain, **different)

    return make


@pytest.fixture
def ledger_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a ledger of solvers' violations, each shown by a matrix of zeros, two by two."""

    def write(name: str, *invariants: str, reason: str = "it repeats columns", file: str = "ledger.toml") -> Path:
        case = CostCase(configuration=Configuration(profile=DETR), costs=(np.zeros((2, 2)),))
        entries = [
            Entry(
                place="",
                number=-1,
                implementation=name,
                invariant=invariant,
                reason=reason,
                vector=Vector("assignment", (invariant,), case, Provenance("a test", "0", 0)),
            )
            for invariant in invariants
        ]
        path = tmp_path / file
        text = ledger_text(parsed_ledger("", path), entries)
        path.write_text(text.replace('reason = ""', f'reason = "{reason}"'))
        return path

    return write


@pytest.fixture
def command_line(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `detr-spec` in a process of its own, in the test's folder."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "from detr_conformance.commands.command_line import main; main()",
                *map(str, arguments),
            ],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def interrupted() -> Callable[..., tuple[int, str]]:
    """Interrupts `detr-spec check` once what is called right is judged; its exit code and output."""

    def run(*arguments: str) -> tuple[int, str]:
        main = "from detr_conformance.commands.command_line import main; main()"
        command = [sys.executable, "-c", main, "check", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            while line.startswith("importing "):
                line = process.stderr.readline()
            assert "right (detr) judged, nothing failing" in line
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            try:
                output, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        return process.returncode, output

    return run


@pytest.fixture(scope="session")
def command_names() -> tuple[tuple[str, ...], ...]:
    """The words that name each command of `detr-spec`."""

    def below(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            item = group.get_command(context, name)
            yield from below(item, *above, name) if isinstance(item, click.Group) else [(*above, name)]

    return tuple(below(command))
