"""A check for so many minutes goes from seed to seed, and tells what fails with the seed that shows it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detr_conformance.base.verdict import Judgement, Verdict, over_seeds
from detr_conformance.commands.command_line import run
from detr_conformance.running.judges import ThisProcess
from detr_conformance.running.run import request
from detr_conformance.running.selection import Selection
from detr_spec.invariants import find_invariants

INVARIANTS = ("assignment.valid-pairs", "assignment.optimal-total")
HOW = ("--invariant", "S1", "--examples", "5", "-n", "0", "--seed", "3")


@pytest.fixture
def judgements(subjects: Path) -> Callable[..., list[Judgement]]:
    """What is judged in some two seconds, as it comes."""

    def judged(subject: str, **how: Any) -> list[Judgement]:
        asked = request(Selection(invariants=INVARIANTS), examples=5, seed=7, minutes=0.03, **how)
        return [judgement for _, judgement in asked.plan(f"{subjects}:{subject}").judgements(ThisProcess())]

    return judged


def test_each_seed_adds_its_cases(judgements: Callable[..., list[Judgement]]) -> None:
    found = judgements("RIGHT")
    assert len(found) > 2
    for place, judgement in enumerate(found):
        number, invariant = divmod(place, len(INVARIANTS))
        assert judgement.seed == 7 + number
        assert judgement.id == INVARIANTS[invariant]
        assert judgement.verdict is Verdict.HOLDS
        (asked,) = find_invariants(judgement.id)
        assert judgement.examples == sum(judgement.dtypes.values()) == asked.case_count(5) * (number + 1)


def test_what_fails_is_not_judged_again(judgements: Callable[..., list[Judgement]]) -> None:
    assert [(item.id, item.verdict) for item in judgements("GREEDY")] == [
        (name, Verdict.VIOLATED) for name in INVARIANTS
    ]


def test_a_known_violation_is_judged_on(
    judgements: Callable[..., list[Judgement]], ledger_of: Callable[..., Path]
) -> None:
    found = judgements("GREEDY", ledger=[ledger_of("greedy", *INVARIANTS)])
    assert len(found) > 2
    assert {judgement.verdict for judgement in found} == {Verdict.EXPECTED_VIOLATION}


def test_a_vacuous_seed_takes_nothing_back(judgements: Callable[..., list[Judgement]]) -> None:
    holds = judgements("RIGHT")[0]
    vacuous = Judgement("id", "S1", "MUST", "assignment", "", Verdict.VACUOUS, examples=5, seed=8)
    assert over_seeds(holds, vacuous).verdict is over_seeds(vacuous, holds).verdict is Verdict.HOLDS
    assert over_seeds(holds, vacuous).examples == holds.examples + 5


def test_the_command_that_is_told_gives_a_failure_of_a_later_seed_again(
    python_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    python_file(
        "large.py",
        """
        from scipy.optimize import linear_sum_assignment
        from detr_conformance import numpy_implementation

        def solver(cost):
            queries, targets = linear_sum_assignment(cost)
            return (queries, targets) if cost.shape != (3, 2) else (queries * 0, targets)

        IT = numpy_implementation(name="large", solver=solver)
        """,
    )
    how = ["--minutes", "0.1", *HOW, "--json", "r.json", "--vectors", "v"]
    assert run(["check", "large.py:IT", *HOW]) == 0
    assert run(["check", "large.py:IT", *how]) == 1
    told = capsys.readouterr().out
    (judgement,) = json.loads((tmp_path / "r.json").read_text())["implementations"][0]["invariants"]
    (command,) = re.findall(r"detr-spec (check large.py:IT .*)", told)
    assert judgement["seed"] > 3
    assert f"--seed {judgement['seed']} " in command
    assert run([*shlex.split(command), "-n", "0"]) == 1
    (vector,) = (tmp_path / "v").iterdir()
    assert run(["replay", str(vector), "large.py:IT"]) == 1


@pytest.mark.parametrize("minutes", ["0", "-1", "inf", "nan"])
def test_a_time_that_makes_no_sense_is_refused(
    subjects: Path, minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", f"{subjects}:RIGHT", "--minutes", minutes]) == 2
    assert "expected a positive number" in capsys.readouterr().err
