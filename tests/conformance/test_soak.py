"""A soak goes from seed to seed, is kept in a file, goes on from there, and tells what failed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Verdict
from detr_conformance.commands.command_line import run
from detr_conformance.implementations.declared.boxes import Overlaps
from detr_conformance.running.judges import ThisProcess
from detr_conformance.running.run import request
from detr_conformance.running.selection import Selection
from detr_conformance.running.soak import Soak, asked_of, names_in_round, read_soak, rounds, to_json

INVARIANTS = ("assignment.valid-pairs", "assignment.optimal-total")


@pytest.fixture
def soaking(subjects: Path) -> Callable[..., tuple[Soak, Any]]:
    """A soak at its beginning and what carries it on."""

    def begin(subject: str = "RIGHT", seed: int = 7) -> tuple[Soak, Any]:
        asked = request(Selection(invariants=INVARIANTS), examples=5, seed=seed)
        plan = asked.plan(f"{subjects}:{subject}")
        return Soak(asked_of([subject], plan), seed), lambda soak: rounds(soak, asked, lambda _: plan, ThisProcess())

    return begin


def test_each_round_has_a_seed_of_its_own_and_adds_its_cases(soaking: Callable[..., Any]) -> None:
    soak, carry_on = soaking()
    *_, last = islice(carry_on(soak), 6)
    assert (last.seed, last.finished, last.judged) == (9, 2, frozenset())
    assert last.examples == {("right", "detr", item): 10 for item in INVARIANTS}
    assert last.cases == 20
    assert not last.findings


def test_what_failed_is_told_once_and_not_judged_again(
    soaking: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    soak, carry_on = soaking("GREEDY")
    *_, last = carry_on(soak)
    assert {finding.invariant for finding in last.findings} == set(INVARIANTS)
    assert all(finding.verdict == Verdict.VIOLATED for finding in last.findings)
    for finding in last.findings:
        assert run([*shlex.split(finding.command)[1:], "-n", "0"]) == 1
        assert f"VIOLATED: {finding.invariant}" in capsys.readouterr().out


def test_a_soak_that_was_stopped_goes_on_where_it_was(soaking: Callable[..., Any], tmp_path: Path) -> None:
    soak, carry_on = soaking()
    whole = list(islice(carry_on(soak), 6))
    path = tmp_path / "soak.json"
    for stopped in whole[:-1]:
        path.write_text(to_json(stopped))
        read = read_soak(path, json.loads(to_json(stopped))["asked"])
        assert next(carry_on(read)).examples == whole[whole.index(stopped) + 1].examples


def test_a_known_violation_is_no_finding(subjects: Path, ledger_of: Callable[..., Path]) -> None:
    ledger = ledger_of("greedy", *INVARIANTS)
    asked = request(Selection(invariants=INVARIANTS), examples=5, seed=0, ledger=[ledger])
    plan = asked.plan(f"{subjects}:GREEDY")
    *_, last = islice(rounds(Soak(asked_of(["greedy"], plan), 0), asked, lambda _: plan, ThisProcess()), 3)
    assert last.finished == 1
    assert not last.findings


def test_the_command_keeps_what_it_found_and_its_exit_code_says_it(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "soak.json"
    how = ["--invariant", "S1", "--examples", "5", "--minutes", "0.01", "-n", "0", "--seed", "3", "--file", str(path)]
    assert run(["soak", f"{subjects}:GREEDY", *how]) == 1
    (finding,) = json.loads(path.read_text())["findings"]
    assert (finding["invariant"], finding["seed"]) == ("assignment.valid-pairs", 3)
    assert finding["command"] in capsys.readouterr().out
    assert run(["soak", f"{subjects}:GREEDY", *how]) == 1
    assert (
        run(["soak", f"{subjects}:RIGHT", "--invariant", "S1", "--examples", "5", "--minutes", "0.01", "-n", "0"]) == 0
    )


@pytest.mark.parametrize("minutes", ["0", "-1", "inf", "nan"])
def test_a_time_that_makes_no_sense_is_refused(
    subjects: Path, minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["soak", f"{subjects}:RIGHT", "--minutes", minutes]) == 2
    assert "expected a positive number" in capsys.readouterr().err


def test_a_file_of_another_soak_is_refused(soaking: Callable[..., Any], tmp_path: Path) -> None:
    soak, _ = soaking()
    path = tmp_path / "soak.json"
    path.write_text(to_json(soak))
    with pytest.raises(UsageError, match="a soak with other examples; name another file"):
        read_soak(path, {**json.loads(to_json(soak))["asked"], "examples": 6})


@pytest.mark.parametrize(("field", "value"), [("seed", 1e308), ("finished", -1), ("seconds", 1e308)])
def test_numbers_that_no_soak_can_have_are_refused(
    soaking: Callable[..., Any], tmp_path: Path, field: str, value: float
) -> None:
    path = tmp_path / "soak.json"
    path.write_text(json.dumps({**json.loads(to_json(soaking()[0])), field: value}))
    with pytest.raises(UsageError, match=field):
        read_soak(path, {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"asked": {}}', "nonsense"])
def test_a_file_that_holds_no_soak_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "soak.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"soak\.json"):
        read_soak(path, {})


def test_a_soak_of_declared_profiles_has_another_one_in_each_round(capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--invariant", "boxes.giou-definition", "--examples", "2", "--minutes", "0.03", "-n", "0", "--seed", "5"]
    assert run(["soak", "declared", *how]) == 0
    assert re.search(r"declared +declared +1 +\d+ +\d+ +0\n", capsys.readouterr().out)
    assert [names_in_round(["declared", "reference"], seed) for seed in (5, 6)] == [
        ["declared:5", "reference"],
        ["declared:6", "reference"],
    ]


def test_a_finding_in_a_drawn_profile_is_given_again_by_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Overlaps, "_divisor", lambda self, area, _: area + self.rules.giou_epsilon + 0.01)
    how = ["--invariant", "boxes.giou-definition", "--examples", "2", "--minutes", "1", "-n", "0", "--seed", "5"]
    assert run(["soak", "declared", *how]) == 1
    (command,) = re.findall(r"detr-spec (check declared:5 .*)", capsys.readouterr().out)
    assert run([*shlex.split(command), "-n", "0"]) == 1
