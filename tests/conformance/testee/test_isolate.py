"""An implementation in a process of its own breaks nothing but its own judgement, and is judged as it is elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detr_conformance import Report, check
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Judgement, Verdict

BREAKING = """
import ctypes, os, signal, subprocess, sys, threading, time
import numpy as np
from detr_conformance import numpy_implementation
from scipy.optimize import linear_sum_assignment

def hanging(cost):
    time.sleep(3600)

def endless(cost):
    while True:
        pass

def exiting(cost):
    os._exit(0)

def leaving(cost):
    sys.exit("enough")

def faulting(cost):
    ctypes.string_at(0)

def killed(cost):
    os.kill(os.getpid(), signal.SIGKILL)

def hungry(cost):
    kept = []
    while True:
        kept.append(np.ones(10**6))

def loud(cost):
    for _ in range(200):
        os.write(1, b"out" * 20000)
        os.write(2, b"err" * 20000)
    return linear_sum_assignment(cost)

def leaky(cost):
    threading.Thread(target=time.sleep, args=(3600,)).start()
    for apart in (False, True):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", os.environ["MARK"]],
                         start_new_session=apart)
    return linear_sum_assignment(cost)

def corrupting(cost):
    np.calls = getattr(np, "calls", 0) + 1
    sys.stdout = None
    os.chdir("/")
    os.environ.clear()
    return linear_sum_assignment(cost) if np.calls <= 60 else None

def greedy(cost):
    return list(range(min(cost.shape))), [int(cost[row].argmin()) for row in range(min(cost.shape))]

def random(cost):
    import random, torch
    raise ValueError(f"{random.random()} {np.random.rand()} {torch.rand(1).item()} {torch.get_num_threads()}")

def named(function):
    return numpy_implementation(name=function.__name__, solver=function)

for function in (hanging, endless, exiting, leaving, faulting, killed, hungry, loud, leaky, corrupting, greedy, random):
    globals()[function.__name__.upper()] = named(function)
RIGHT = numpy_implementation(name="right", solver=linear_sum_assignment)
"""

PAIRS = "assignment.valid-pairs"

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc to see processes in")


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("isolate") / "breaking.py"
    path.write_text(BREAKING)
    return path


def timeless(report: Report) -> list[list[Judgement]]:
    return [
        [replace(judgement, seconds=0.0, implementation_seconds=0.0) for judgement in item.judgements]
        for item in report.implementations
    ]


ENDINGS: dict[str, tuple[Verdict, str, dict[str, Any]]] = {
    "HANGING": (Verdict.TIMED_OUT, "not finished after 2.5 s, of which it computed for", {"time_limit": 0.5}),
    "ENDLESS": (Verdict.TIMED_OUT, "not finished after ", {"time_limit": 0.5}),
    "EXITING": (Verdict.ERROR, "the process ended with exit status 0 in a call", {}),
    "LEAVING": (Verdict.CANNOT_BE_CALLED, "solve of the assignment cannot be called. Called with costs [n, m], it", {}),
    "FAULTING": (Verdict.CRASHED, "the process was ended by signal SIGSEGV in a call", {}),
    "KILLED": (Verdict.CRASHED, "the process was ended by signal SIGKILL in a call", {}),
    "HUNGRY": (
        Verdict.CRASHED,
        "the process ran out of memory; --memory-limit allows more than 400 MiB",
        {"memory_limit": 400},
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_ends_or_stops_its_process_costs_one_verdict(ending: str, breaking: Path) -> None:
    verdict, told, limits = ENDINGS[ending]
    chosen: dict[str, Any] = {"invariants": [PAIRS, "matcher.valid-pairs"], "examples": 3}
    report = check(f"{breaking}:{ending}", isolate=True, **chosen, **limits)
    (item,) = report.implementations
    judgement, other = item.judgements
    assert judgement.verdict is verdict
    assert judgement.message.startswith(told)
    assert judgement.counterexample is not None
    assert judgement.counterexample.case["costs"]
    assert other.verdict is Verdict.NOT_PROVIDED
    assert report.exit_code == 1


def test_what_one_judgement_leaves_behind_reaches_no_other(breaking: Path) -> None:
    report = check(f"{breaking}:CORRUPTING", isolate=True, invariants=[PAIRS, "S2", "S5"], examples=20)
    (item,) = report.implementations
    assert sum(judgement.fired for judgement in item.judgements) > 60
    assert {judgement.verdict for judgement in item.judgements} == {Verdict.HOLDS}


@pytest.mark.thorough
def test_noise_stays_out_of_the_runs_output(
    breaking: Path, command_line: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command_line(
        "check", f"{breaking}:LOUD", f"{breaking}:GREEDY", "--isolate", "-n", "0", "--invariant", PAIRS,
        "--examples", "5",
    )  # fmt: skip
    assert done.returncode == 1
    assert "loud (detr): 1 holds" in done.stdout
    assert f"detr-spec check isolated:{breaking}:GREEDY" in done.stdout
    assert "outout" not in done.stdout + done.stderr
    assert "errerr" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("importing ")]
    assert lines == ["loud (detr) judged, nothing failing", "greedy (detr) judged, 1 failing"]


def running(mark: str) -> int:
    """How many processes have that word in their command."""
    count = 0
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            count += mark.encode() in command.read_bytes()
    return count


def none_left(mark: str) -> bool:
    deadline = time.monotonic() + 10
    while running(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not running(mark)


def test_what_it_started_ends_with_it(breaking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"left-by-{os.getpid()}"
    monkeypatch.setenv("MARK", mark)
    seen: list[int] = []
    report = check(
        f"{breaking}:LEAKY",
        isolate=True,
        invariants=[PAIRS],
        examples=3,
        progress=lambda plan, place, judgement: seen.append(running(mark)),
    )
    assert report.exit_code == 0
    assert seen[0] >= 2
    assert none_left(mark)


def test_an_object_cannot_be_isolated(right: Any) -> None:
    with pytest.raises(UsageError, match="an object cannot be isolated; give its name"):
        check(right, isolate=True)


def test_what_cannot_be_resolved_is_told_as_it_is_without_isolation(breaking: Path) -> None:
    for isolate in (False, True):
        with pytest.raises(UsageError, match="has no attribute 'RIHGT'; did you mean RIGHT"):
            check(f"{breaking}:RIHGT", isolate=isolate)


def test_an_import_that_dies_costs_its_own_judgements(breaking: Path, python_file: Callable[..., Path]) -> None:
    fatal = python_file("fatal.py", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(UsageError, match=r"fatal.py:X cannot be judged: the process was ended by signal SIGSEGV as it"):
        check(f"{fatal}:X", isolate=True)
    names = [f"{fatal}:X", f"{breaking}:RIGHT"]
    report = check(names, isolate=True, workers=1, invariants=[PAIRS], examples=3)
    assert [item.judgements[0].verdict for item in report.implementations] == [Verdict.CRASHED, Verdict.HOLDS]


def test_verdicts_are_those_of_an_implementation_that_is_not_isolated(breaking: Path) -> None:
    names = [f"{breaking}:GREEDY", f"{breaking}:RIGHT"]
    chosen: dict[str, Any] = {"invariants": [PAIRS, "S9"], "examples": 10}
    alone = check(names, **chosen)
    assert alone.violated
    assert timeless(check(names, isolate=True, workers=2, **chosen)) == timeless(alone)


def test_random_numbers_are_the_same_however_late_torch_is_imported(breaking: Path) -> None:
    pytest.importorskip("torch")
    chosen: dict[str, Any] = {"invariants": [PAIRS], "examples": 3}
    here, isolated = (check(f"{breaking}:RANDOM", isolate=isolate, **chosen) for isolate in (False, True))
    assert "it raised ValueError: 0.8444218515250481 0.5488135039273248 0.4962565" in told(here)[0]
    assert told(isolated) == told(here)


def told(report: Report) -> list[str]:
    return [judgement.message for item in report.implementations for judgement in item.judgements]


def test_the_reference_is_judged_as_it_is_without_isolation() -> None:
    invariants = [
        "boxes.giou-definition", "matcher.optimal-cost", "criterion.giou-value", "auxiliary.layer-alone",
        "gradients.weighted-total", "postprocess.scores", "distributed.local-classification",
    ]  # fmt: skip
    chosen: dict[str, Any] = {"profile": "detr", "invariants": invariants, "examples": 1}
    alone = check("reference", **chosen)
    assert alone.exit_code == 0
    assert timeless(check("reference", isolate=True, **chosen)) == timeless(alone)


def test_an_interrupt_leaves_a_partial_report_and_no_process(
    breaking: Path, tmp_path: Path, interrupted: Callable[..., tuple[int, str]]
) -> None:
    file = tmp_path / "report.json"
    mark = tmp_path / "marked.py"
    mark.write_text(breaking.read_text())
    code, output = interrupted(
        *("--isolate", f"{mark}:RIGHT", f"{mark}:HANGING", "--component", "assignment", "--examples", "5"),
        *("-n", "2", "--json", str(file)),
    )
    assert code == 130
    assert "interrupted: this is what was known so far" in output
    document = json.loads(file.read_text())
    assert document["interrupted"] is True
    assert document["implementations"][0]["invariants"]
    assert none_left(str(mark))


def test_a_judge_that_is_killed_leaves_no_testee(breaking: Path, tmp_path: Path) -> None:
    mark = tmp_path / "killed.py"
    mark.write_text(breaking.read_text())
    command = [
        *(
            sys.executable,
            "-c",
            "from detr_conformance.commands.command_line import main; main()",
            "check",
            "--isolate",
        ),
        *(f"{mark}:HANGING", "--invariant", PAIRS, "-n", "0"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while running(str(mark)) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert running(str(mark)) >= 3
        process.kill()
    assert none_left(str(mark))
