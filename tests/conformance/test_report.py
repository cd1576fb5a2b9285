"""Reports hold what was judged, say whether it passes, and become strict JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detr_conformance import Report, Verdict, check
from detr_conformance.base.verdict import Judgement
from detr_conformance.running.report import ImplementationReport


def judgement(verdict: Verdict, **different: Any) -> Judgement:
    return Judgement("matcher.toy", "M1", "MUST", "matcher", "A toy.", verdict, **different)


def report_of(*verdicts: Verdict, interrupted: bool = False) -> Report:
    item = ImplementationReport("it", "detr", ("float32",), tuple(map(judgement, verdicts)), "it.py:IT")
    return Report("1", 0, 100, (item,), interrupted)


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.HOLDS, 0),
        (Verdict.NOT_PROVIDED, 0),
        (Verdict.NOT_APPLICABLE, 0),
        (Verdict.VACUOUS, 0),
        (Verdict.EXPECTED_VIOLATION, 0),
        (Verdict.VIOLATED, 1),
        (Verdict.UNEXPECTEDLY_HOLDS, 1),
        (Verdict.ERROR, 1),
        (Verdict.TIMED_OUT, 1),
        (Verdict.CRASHED, 1),
        (Verdict.CANNOT_BE_CALLED, 1),
        (Verdict.NOT_JUDGED, 0),
    ],
)
def test_each_verdict_lets_the_run_pass_or_not(verdict: Verdict, code: int) -> None:
    assert report_of(Verdict.HOLDS, verdict).exit_code == code


def test_an_interrupted_run_has_not_passed() -> None:
    assert report_of(Verdict.HOLDS, interrupted=True).exit_code == 130


def test_only_violated_is_violated() -> None:
    report = report_of(*Verdict)
    assert [item.verdict for _, item in report.violated] == [Verdict.VIOLATED]
    assert len(report.failing) == 6


def test_the_document_holds_everything_that_is_known(subjects: Path) -> None:
    report = check(f"{subjects}:GREEDY", invariants=["S1", "M1"], examples=20, seed=3)
    document = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert document["version"] == report.version
    assert (document["seed"], document["examples"], document["interrupted"]) == (3, 20, False)
    (item,) = document["implementations"]
    assert (item["implementation"], item["profile"]) == ("greedy", "detr")
    assert item["dtypes"] == ["float32", "float64"]
    violated = next(entry for entry in item["invariants"] if entry["id"] == "assignment.valid-pairs")
    assert violated["verdict"] == "violated"
    assert (violated["number"], violated["level"], violated["component"]) == ("S1", "MUST", "assignment")
    assert violated["statement"]
    assert violated["message"]
    assert violated["examples"] >= violated["fired"] > 0
    assert violated["seconds"] > 0
    assert violated["counterexample"]["case"]["costs"]
    missing = next(entry for entry in item["invariants"] if entry["id"] == "matcher.valid-pairs")
    assert missing["verdict"] == "not provided"
    assert missing["counterexample"] is None


def test_the_command_is_quoted_for_a_shell() -> None:
    item = ImplementationReport("it", "detr", ("float32",), (), "my folder/it.py:IT")
    command = Report("1", 7, 50, (item,)).command(item, judgement(Verdict.VIOLATED))
    assert command == (
        "detr-spec check 'my folder/it.py:IT' --profile detr --invariant matcher.toy --seed 7 --examples 50"
    )


def test_an_object_is_reproduced_from_python() -> None:
    item = ImplementationReport("it", "detr", ("float32",), ())
    command = Report("1", 7, 50, (item,)).command(item, judgement(Verdict.VIOLATED))
    assert command == "check(it, profile='detr', invariants=['matcher.toy'], seed=7, examples=50)"


def test_the_cost_of_a_case_beyond_the_implementation_is_counted() -> None:
    timed = judgement(Verdict.HOLDS, examples=10, seconds=3.0, implementation_seconds=1.0)
    report = Report("1", 0, 100, (ImplementationReport("it", "detr", (), (timed, timed)),))
    assert report.cost.examples == 20
    assert report.cost.beyond == pytest.approx(0.2)
