"""Whatever the standard streams of a command are, it says what it finds, where it can, and loses no report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")

SOURCE = """
from detr_conformance import numpy_implementation
from scipy.optimize import linear_sum_assignment

RIGHT = numpy_implementation(name="right", solver=linear_sum_assignment)
WRONG = numpy_implementation(name="wrong", solver=lambda cost: ([0] * len(cost), [0] * len(cost)))
"""
CHECK = "check right.py:RIGHT --invariant assignment.valid-pairs --examples 3 --json report.json"
FULL = "detr-spec: what is said or asked does not arrive: No space left on device"

Shell = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def shell(tmp_path: Path, python_file: Callable[..., Path]) -> Shell:
    """Runs a command line of a shell: its exit code, what it says of itself, and the verdict in the report."""

    def run(arguments: str, **variables: str) -> tuple[int, list[str], str]:
        python_file("right.py", SOURCE)
        line = f"{sys.executable} -c 'from detr_conformance.commands.command_line import main; main()' {arguments}"
        environment = {**os.environ, **variables}
        done = subprocess.run(
            line, shell=True, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr
        report = tmp_path / "report.json"
        verdict = ""
        if report.exists():
            verdict = json.loads(report.read_text())["implementations"][0]["invariants"][0]["verdict"]
        return done.returncode, [line for line in done.stderr.splitlines() if "detr-spec: " in line], verdict

    return run


@pytest.mark.parametrize("streams", [">&- -n 0", ">&- 2>&- <&-", "2>/dev/full -n 0"])
def test_streams_that_take_nothing_cost_no_report(streams: str, shell: Shell) -> None:
    assert shell(f"{CHECK} {streams}") == (0, [], "holds")


def test_results_that_cannot_be_said_are_written_and_not_green(shell: Shell) -> None:
    assert shell(f"{CHECK} -n 0 >/dev/full") == (2, [FULL], "holds")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_signs_that_an_encoding_does_not_have_cost_no_verdict(encoding: str, shell: Shell, tmp_path: Path) -> None:
    check = CHECK.replace("RIGHT", "WRONG")
    assert shell(f"{check} -n 0 > said.txt", PYTHONIOENCODING=encoding) == (1, [], "violated")
    assert "assignment.valid-pairs" in (tmp_path / "said.txt").read_text(encoding=encoding)
    assert shell("explain C4 > said.txt", PYTHONIOENCODING=encoding)[0] == 0


def test_nothing_is_said_where_nothing_can_be(shell: Shell) -> None:
    assert shell("list >/dev/full 2>&1") == (2, [], "")


def test_python_that_leaves_out_assertions_is_refused(shell: Shell) -> None:
    code, (line,), _ = shell("list", PYTHONOPTIMIZE="2")
    assert code == 2
    assert "run it without -O and PYTHONOPTIMIZE" in line
