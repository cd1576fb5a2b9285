"""Each long command that is asked to end says so in one line, exits as shells expect, and leaves no half of a file."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies

from detr_conformance.base import interrupts
from detr_conformance.commands.command_line import run
from detr_conformance.judging.search import search
from detr_conformance.running import progress
from detr_spec.invariant import Domain
from detr_spec.invariants import find_invariants
from detr_spec.profiles import DETR

pytest.importorskip("torch")

SHORT = {"catalogue", "explain", "init", "judge-answers", "list", "merge", "report", "export", "schema"}
"""The commands that run for a moment."""

PACKAGE = "detr_conformance"
JUDGE = f"{PACKAGE}.running.judges.judge_listed"
BOXES = ("--component", "boxes", "-n", "0")
SOURCE = """
from detr_conformance import numpy_implementation
from scipy.optimize import linear_sum_assignment
IT = numpy_implementation(name="solver", solver=linear_sum_assignment)
"""
DESCRIPTION = '{"name": "it", "profile": "detr", "components": ["assignment"]}'
GIVEN = {"vectors": ("vectors", "export", "vectors")}
"""How the files are made that some of the commands need."""

LONG = {
    "check": (("check", "reference", *BOXES, "--json", "kept"), JUDGE, ["kept"]),
    "check --accept": (("check", "reference", *BOXES, "--ledger", "ledger.toml", "--accept"), JUDGE, []),
    "replay": (
        ("replay", "vectors/boxes.jsonl", "reference"),
        f"{PACKAGE}.judging.replaying.judge_vector",
        ["vectors"],
    ),
    "compare": (("compare", "reference", "accelerated", *BOXES[:2]), f"{PACKAGE}.comparing.comparison.judge", []),
    "limits": (("limits", "--json", "made", *BOXES), f"{PACKAGE}.limits.ladder.search", []),
    "mutants": (("mutants", "boxes", "-n", "0", "--json", "made"), f"{PACKAGE}.campaign.hunt.first_failure", []),
    "bench": (("bench", "--quick", "--json", "made"), f"{PACKAGE}.bench.plan.criterion_contest", []),
    "vectors draw": (("vectors", "draw", "."), f"{PACKAGE}.judging.drawing.search", []),
    "vectors questions": (
        ("vectors", "questions", "it.json", "made"),
        f"{PACKAGE}.recorded.asking.cases_that_hold",
        [],
    ),
}
"""Each long command: how it is called, a function in the midst of its work, and what it leaves in its folder."""


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Listens to signals as the command line does."""
    monkeypatch.setattr(interrupts, "_RECEIVED", [])
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    interrupts.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("name", "number"), list(zip(LONG, itertools.cycle(interrupts.SIGNALS))))
def test_a_command_that_is_asked_to_end_says_so(
    name: str,
    number: signal.Signals,
    listening: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    called, function, left = LONG[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "it.py").write_text(SOURCE)
    (tmp_path / "it.json").write_text(DESCRIPTION)
    for files, arguments in GIVEN.items():
        if files in left:
            assert run(list(arguments)) == 0
    capsys.readouterr()

    def asks_to_end(*_: Any, **__: Any) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(function, asks_to_end)
    assert run(list(called)) == 128 + number
    out, err = capsys.readouterr()
    (line,) = [line for line in (out + err).splitlines() if "interrupted" in line]
    assert line.startswith(("detr-spec: interrupted", "interrupted: "))
    assert {path.name for path in tmp_path.iterdir()} == {"it.py", "it.json", *left}


def another_exception() -> None:
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise AssertionError from None


def test_an_interrupt_that_becomes_another_exception_ends_a_search(listening: None) -> None:
    invariant = next(iter(find_invariants("assignment.optimal-total")))
    unsound = replace(invariant, cases=lambda _: strategies.builds(another_exception))
    with pytest.raises(KeyboardInterrupt):
        search(unsound, Domain(DETR), lambda _: None, examples=1, seed=0)


def test_an_interrupt_that_becomes_another_exception_ends_a_command(
    listening: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"{PACKAGE}.commands.catalogue.catalogue", another_exception)
    assert run(["catalogue"]) == 143
    assert capsys.readouterr().err == "detr-spec: interrupted\n"


def test_an_import_that_hangs_in_this_process_is_named_and_can_be_ended(
    listening: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LONG_IMPORT", 0.1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(1000)")
    main = threading.main_thread().ident or 0
    timer = threading.Timer(1, signal.pthread_kill, [main, signal.SIGTERM])
    timer.start()
    assert run(["check", "hangs.py:X", "-n", "0"]) == 143
    told = [line for line in capsys.readouterr().err.splitlines() if line]
    assert told == ["importing hangs.py:X …", "detr-spec: interrupted"]


def test_a_command_that_is_still_being_imported_ends_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import sys, time\nprint('imported', flush=True)\ntime.sleep(60)")
    code = "from detr_conformance.entry import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, "list"], env=environment, **streams) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == -signal.SIGINT


def test_every_command_is_short_or_among_them(command_names: tuple[tuple[str, ...], ...]) -> None:
    names = {arguments[: 1 + (arguments[0] == "vectors")] for arguments, *_ in LONG.values()}
    assert {names[-1] for names in command_names} == SHORT | {name[-1] for name in names}
