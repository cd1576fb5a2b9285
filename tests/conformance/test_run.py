"""A check gives the same judgements however it is run, and outlives what hangs or dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detr_conformance import Report, Verdict, check
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Judgement
from detr_conformance.running.run import default_time_limit
from detr_conformance.testee.bounds import BOUNDS
from detr_spec.implementation import Implementation


def without_times(report: Report) -> Report:
    return replace(
        report,
        implementations=tuple(
            replace(item, judgements=tuple(map(timeless, item.judgements))) for item in report.implementations
        ),
    )


def timeless(judgement: Judgement) -> Judgement:
    return replace(judgement, seconds=0.0, implementation_seconds=0.0)


def test_a_check_of_an_object_needs_nothing_else(right: Implementation) -> None:
    report = check(right, components=["assignment"], examples=10)
    (item,) = report.implementations
    assert (item.name, item.profile, item.address) == ("right", "detr", None)
    assert item.counts[Verdict.HOLDS] > 5
    assert report.exit_code == 0
    assert report.examples == 10
    assert not report.violated


def test_everything_that_is_not_provided_is_listed_as_such(right: Implementation) -> None:
    (item,) = check(right, invariants=["S1", "M1"], examples=5).implementations
    verdicts = {judgement.id: judgement.verdict for judgement in item.judgements}
    assert verdicts["assignment.valid-pairs"] is Verdict.HOLDS
    assert verdicts["matcher.valid-pairs"] is Verdict.NOT_PROVIDED


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(subjects: Path, workers: int) -> None:
    chosen: dict[str, Any] = {"invariants": ["S1", "S2"], "examples": 12}
    address = [f"{subjects}:GREEDY", f"{subjects}:BOTH"]
    alone = check(address, **chosen)
    assert alone.violated
    assert without_times(check(address, workers=workers, **chosen)) == without_times(alone)


def test_what_hangs_has_timed_out_and_the_run_goes_on(subjects: Path) -> None:
    report = check(
        [f"{subjects}:HANGING", f"{subjects}:RIGHT"],
        invariants=["assignment.valid-pairs"],
        examples=5,
        workers=1,
        time_limit=0.5,
    )
    hanging, right = report.implementations
    assert {judgement.verdict for judgement in hanging.judgements} == {Verdict.TIMED_OUT}
    assert hanging.judgements[0].message.startswith("not finished after 2.5 s, of which it computed for 0")
    assert "--time-limit allows more" in hanging.judgements[0].message
    assert {judgement.verdict for judgement in right.judgements} == {Verdict.HOLDS}
    assert report.exit_code == 1


def test_what_dies_has_crashed_and_nothing_else_is_lost(subjects: Path) -> None:
    report = check(
        [f"{subjects}:{name}" for name in ("DYING", "KILLED", "ENDING", "INTERRUPTING", "RIGHT")],
        invariants=["assignment.valid-pairs"],
        examples=5,
        workers=1,
    )
    *dead, interrupting, right = report.implementations
    dying, killed, ending = dead
    assert {judgement.verdict for item in dead for judgement in item.judgements} == {Verdict.CRASHED}
    assert "exit code 7" in dying.judgements[0].message
    assert "exit code 0" in ending.judgements[0].message
    assert {judgement.verdict for judgement in interrupting.judgements} == {Verdict.CANNOT_BE_CALLED}
    assert "it raised KeyboardInterrupt (" in interrupting.judgements[0].message
    assert "SIGKILL" in killed.judgements[0].message
    assert {judgement.verdict for judgement in right.judgements} == {Verdict.HOLDS}


@pytest.mark.parametrize("code", [0, 9])
def test_what_dies_when_it_is_imported_is_a_usage_error(python_file: Callable[..., Path], code: int) -> None:
    path = python_file("fatal.py", f"import os\nos._exit({code})")
    told = f"fatal.py:X cannot be judged: as it was imported, the worker process died, with exit code {code}"
    with pytest.raises(UsageError, match=told):
        check(f"{path}:X", workers=1)


def test_what_hangs_when_it_is_imported_costs_its_own_judgements(
    python_file: Callable[..., Path], subjects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = f"{python_file('hanging.py', 'import time; time.sleep(1000)')}:X"
    monkeypatch.setattr(BOUNDS, "start", 1.0)
    with pytest.raises(UsageError, match=r"hanging.py:X cannot be judged: not finished after 5 s"):
        check(hanging, isolate=True, time_limit=0.5)
    chosen: dict[str, Any] = {"invariants": ["assignment.valid-pairs"], "examples": 3, "time_limit": 1.0}
    report = check([hanging, f"{subjects}:RIGHT"], workers=2, **chosen)
    late, right = (item.judgements[0] for item in report.implementations)
    assert (late.verdict, right.verdict) == (Verdict.TIMED_OUT, Verdict.HOLDS)
    assert late.message.startswith("as it was imported, not finished after 5 s, of which it computed for 0")
    assert report.exit_code == 1


def test_progress_is_told_for_each_judgement(right: Implementation) -> None:
    told: list[tuple[int, str]] = []
    report = check(
        right,
        invariants=["S1", "M1"],
        examples=3,
        progress=lambda plan, place, judgement: told.append((place, judgement.id)),
    )
    ids = [judgement.id for judgement in report.implementations[0].judgements]
    assert sorted(told) == list(enumerate(ids))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"examples": 0}, "examples is 0; expected an integer of at least 1"),
        ({"seed": 1.5}, "seed is 1.5; expected an integer or 'random'"),
        ({"seed": "many"}, "seed is 'many'; expected an integer or 'random'"),
        ({"workers": -1}, "workers is -1; expected an integer of at least 0"),
        ({"time_limit": 0.0}, "time limit is 0; expected a positive number of seconds"),
        ({"workers": 1}, "worker processes cannot find an implementation that is given as an object"),
        ({"profile": "deformable"}, "right declares no profile deformable"),
        ({"ledger": ["missing.toml"]}, "missing.toml cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused(right: Implementation, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        check(right, **{"components": ["assignment"], "examples": 3, **arguments})


def test_something_that_is_no_implementation_is_refused() -> None:
    with pytest.raises(UsageError, match="the implementation is of type int, not an Implementation"):
        check(3)


def test_a_random_seed_is_reported(right: Implementation) -> None:
    seeds = {check(right, invariants=["S1"], examples=1, seed="random").seed for _ in range(3)}
    assert len(seeds) == 3


def test_the_time_limit_grows_with_the_examples() -> None:
    assert default_time_limit(1) == 120
    assert default_time_limit(2000) == 2400


def test_a_script_needs_no_main_guard(python_file: Callable[..., Path], subjects: Path) -> None:
    script = python_file(
        "script.py",
        f"""
        from detr_conformance import check
        print(check({f"{subjects}:RIGHT"!r}, invariants=["S1"], examples=1, workers=1).exit_code)
        """,
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for one process on Windows")
@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_interrupt_shows_and_writes_what_is_known(
    subjects: Path, workers: str, interrupted: Callable[..., tuple[int, str]]
) -> None:
    file = subjects.parent / "report.json"
    code, output = interrupted(
        *(f"{subjects}:RIGHT", f"{subjects}:SLOW", "--component", "assignment"),
        *("--examples", "60", "-n", workers, "--json", str(file)),
    )
    assert code == 130
    assert "interrupted: this is what was known so far" in output
    assert "right (detr): " in output
    assert '"interrupted": true' in file.read_text()
