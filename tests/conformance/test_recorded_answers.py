"""Answers in a file are judged as those of an implementation, and what is not answered never passes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from answering import answered, write_answers
from scipy.optimize import linear_sum_assignment

from detr_conformance import numpy_implementation
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Verdict
from detr_conformance.commands.check import judged_by
from detr_conformance.commands.command_line import run
from detr_conformance.commands.vectors import SCHEMAS
from detr_conformance.implementations import dialects
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.recorded.questions import read_questions
from detr_conformance.reports.reading import read_report
from detr_conformance.running.recorded import RecordedAnswers
from detr_conformance.running.report import Report
from detr_conformance.running.run import request
from detr_conformance.running.selection import Selection
from detr_conformance.vectors.exporting import set_texts
from detr_conformance.vectors.schema import schema_text
from detr_spec.implementation import Implementation
from detr_spec.profiles import DETR

FOLDER = Path(__file__).parents[2] / "conformance" / "detr_conformance" / "schemas"

Lines = list[dict[str, Any]]


def asked(folder: Path, *components: str, options: tuple[str, ...] = (), **others: Any) -> Path:
    """The file of the questions for an implementation of these components."""
    description, questions = folder / "mine.json", folder / "questions.jsonl"
    description.write_text(json.dumps({"name": "mine", "profile": "detr", "components": components, **others}))
    assert run(["vectors", "questions", str(description), str(questions), "--examples", "0", *options]) == 0
    return questions


def judged(questions: Path, lines: Lines, *invariants: str) -> Report:
    answers = write_answers(lines, questions.parent / "answers.jsonl")
    judges = RecordedAnswers(questions, answers)
    return judged_by(judges, [judges.address], request(Selection(invariants=invariants)))


def verdicts(report: Report, *components: str) -> dict[str, Verdict]:
    (item,) = report.implementations
    return {found.id: found.verdict for found in item.judgements if found.component in components}


@pytest.fixture(scope="module")
def of_assignment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked(tmp_path_factory.mktemp("assignment"), "assignment")


@pytest.fixture(scope="module")
def of_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked(tmp_path_factory.mktemp("sets"), "boxes", "matcher", "postprocess")


def solved(solver: Callable[..., Any]) -> Implementation:
    return numpy_implementation(name="mine", solver=solver, batch_solver=lambda costs: [solver(cost) for cost in costs])


def test_right_answers_hold_and_nothing_further_is_asked(of_assignment: Path, of_sets: Path) -> None:
    for questions, right, components in (
        (of_assignment, solved(linear_sum_assignment), ("assignment",)),
        (of_sets, declared_implementation(DETR), ("boxes", "matcher", "postprocess")),
    ):
        answers = write_answers(answered(questions, right), questions.parent / "right.jsonl")
        judges = RecordedAnswers(questions, answers)
        report = judged_by(judges, [judges.address], request(Selection()))
        found = verdicts(report, *components)
        assert list(found.values()).count(Verdict.HOLDS) >= 18
        assert set(found.values()) <= {Verdict.HOLDS, Verdict.VACUOUS, Verdict.NOT_APPLICABLE}
        vacuous = {name for name, verdict in found.items() if verdict is Verdict.VACUOUS}
        assert vacuous <= {"boxes.narrow-to-float32", "matcher.mixed-precision", "postprocess.mixed-precision"}
        assert judges.unanswered == 0
        assert report.exit_code == 0


def test_every_component_can_be_asked(tmp_path: Path) -> None:
    components = ("criterion", "masks", "gradients", "heads", "decoder")
    lines = [line for name in components for line in _of_detr(set_texts()[name])[:4]]
    (tmp_path / "some.jsonl").write_text("\n".join(lines) + "\n")
    questions = asked(tmp_path, *components, options=("--vectors", str(tmp_path / "some.jsonl")))
    report = judged(questions, answered(questions, declared_implementation(DETR)))
    found = verdicts(report, *components)
    assert list(found.values()).count(Verdict.HOLDS) >= 15
    assert not any(verdict.fails for verdict in found.values())


def _of_detr(text: str) -> list[str]:
    return [line for line in text.splitlines() if json.loads(line)["profile"]["name"] == "detr"]


def test_a_dialect_without_boxes_is_asked_what_comes_after_right_answers(tmp_path: Path) -> None:
    questions = asked(tmp_path, "matcher", profile="mask2former")
    (twin,) = [item for item in dialects.IMPLEMENTATIONS if item.profile.name == "mask2former"]
    report = judged(questions, answered(questions, twin))
    found = verdicts(report, "matcher")
    assert list(found.values()).count(Verdict.HOLDS) >= 15
    assert report.exit_code == 0
    assert max(len(question.calls) for question in read_questions(questions).asked) > 2


def test_a_wrong_solver_is_found(of_assignment: Path) -> None:
    def greedy(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        linear_sum_assignment(cost)  # refuses what it must
        count = min(cost.shape)
        return np.arange(count), np.arange(count)

    found = verdicts(judged(of_assignment, answered(of_assignment, solved(greedy))), "assignment")
    assert found["assignment.optimal-total"] is Verdict.VIOLATED
    assert found["assignment.valid-pairs"] is Verdict.HOLDS


def test_what_calls_leave_behind_is_seen_within_a_question(of_assignment: Path) -> None:
    """Calls are answered in order, so that the same call twice may have two answers."""
    calls: list[np.ndarray] = []

    def remembering(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = linear_sum_assignment(cost)
        calls.append(cost)
        again = len(calls) > 1 and np.array_equal(calls[-2], cost, equal_nan=True)
        return (rows, columns[::-1]) if again else (rows, columns)

    lines = answered(of_assignment, solved(remembering))
    repeated = [line for line in lines if _asks_twice(of_assignment, line["question"])]
    assert repeated
    assert any(verdict is Verdict.VIOLATED for verdict in verdicts(judged(of_assignment, lines), "assignment").values())


def _asks_twice(questions: Path, key: str) -> bool:
    (line,) = [item for item in map(json.loads, questions.read_text().splitlines()) if item.get("question") == key]
    calls = line["calls"]
    return any(first == second for first, second in pairwise(calls))


def test_what_is_not_answered_is_refused(of_assignment: Path) -> None:
    lines = answered(of_assignment, solved(linear_sum_assignment))
    with pytest.raises(
        UsageError, match=rf"leaves 1 question of {len(lines)} without an answer, such as {lines[3]['question']}"
    ):
        judged(of_assignment, lines[:3] + lines[4:])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda line: {**line, "question": "0" * 32}, "line 1: .* asks no question '0{32}'"),
        (
            lambda line: {**line, "answers": line["answers"][:-1]},
            "line 1, at /answers: found .* expected . one for each",
        ),
        (lambda line: {**line, "answers": [{}] * len(line["answers"])}, "one of value, raised, not_provided"),
        (lambda line: {**line, "more": 1}, "line 1: found an object with the field 'more'"),
        (
            lambda line: {**line, "answers": [{"value": 1, "raised": {}}] * len(line["answers"])},
            "found the fields value, raised; expected one of",
        ),
        (
            lambda line: {**line, "answers": [{"value": 7}] * len(line["answers"])},
            "at /answers/0/value: found 7; expected",
        ),
    ],
)
def test_answers_in_another_form_are_refused_with_their_place(
    change: Callable[[dict[str, Any]], dict[str, Any]], told: str, of_assignment: Path
) -> None:
    first, *others = answered(of_assignment, solved(linear_sum_assignment))
    with pytest.raises(UsageError, match=told.replace("expected .", r"expected \d,")):
        judged(of_assignment, [change(first), *others])


def test_a_second_answer_is_refused(of_assignment: Path) -> None:
    lines = answered(of_assignment, solved(linear_sum_assignment))
    with pytest.raises(UsageError, match=f"line {len(lines) + 1}: .* was answered in line 1 already"):
        judged(of_assignment, [*lines, lines[0]])


def test_answers_to_a_changed_file_of_questions_are_refused(of_assignment: Path, tmp_path: Path) -> None:
    lines = answered(of_assignment, solved(linear_sum_assignment))
    head, first, *others = of_assignment.read_text().splitlines()
    (tmp_path / "questions.jsonl").write_text(
        "\n".join([head, first.replace('"cost_bbox":5.0', '"cost_bbox":6.0'), *others])
    )
    with pytest.raises(UsageError, match="line 2: the question was changed"):
        judged(tmp_path / "questions.jsonl", lines)
    (tmp_path / "questions.jsonl").write_text("\n".join([head, *others]))
    with pytest.raises(UsageError, match=r"line 1: .* asks no question"):
        judged(tmp_path / "questions.jsonl", lines)


def test_what_raises_or_is_not_provided_does_not_hold(of_assignment: Path) -> None:
    lines = answered(of_assignment, numpy_implementation(name="mine", solver=linear_sum_assignment))
    found = verdicts(judged(of_assignment, lines), "assignment")
    assert found["assignment.batch-valid-pairs"] is Verdict.NOT_PROVIDED
    assert found["assignment.optimal-total"] is Verdict.HOLDS
    found = verdicts(judged(of_assignment, list(map(raising, lines))), "assignment")
    assert Verdict.HOLDS not in found.values()


def test_answers_of_a_wrong_form_are_violations(of_assignment: Path) -> None:
    lines = answered(of_assignment, solved(linear_sum_assignment))
    floats = json.loads(json.dumps(lines).replace("int64", "float64"))
    assert verdicts(judged(of_assignment, floats), "assignment")["assignment.valid-pairs"] is Verdict.VIOLATED


def raising(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "answers": [{"raised": {"type": "ValueError", "text": "no answer"}}] * len(line["answers"])}


def test_what_raised_in_each_call_is_one_finding(of_assignment: Path) -> None:
    lines = answered(of_assignment, solved(linear_sum_assignment))
    report = judged(of_assignment, list(map(raising, lines)))
    (item,) = report.implementations
    failing = [judgement for judgement in item.judgements if judgement.verdict.fails]
    told = [judgement.message.partition(" cannot be called")[0] for judgement in failing]
    assert sorted(told) == ["solve of the assignment", "solve_batch of the assignment"]
    assert {judgement.verdict for judgement in failing} == {Verdict.CANNOT_BE_CALLED}


def test_what_answered_once_raised_in_findings_of_their_own(of_assignment: Path) -> None:
    first, *others = answered(of_assignment, solved(linear_sum_assignment))
    found = verdicts(judged(of_assignment, [first, *map(raising, others)]), "assignment")
    assert found["assignment.optimal-total"] is Verdict.ERROR


def test_what_was_not_observed_is_not_provided(of_assignment: Path) -> None:
    lines = answered(of_assignment, solved(linear_sum_assignment))
    silent = [
        {
            **line,
            "answers": [
                {name: item for name, item in answer.items() if name != "observation"} for answer in line["answers"]
            ],
        }
        for line in lines
    ]
    found = verdicts(judged(of_assignment, silent), "assignment")
    assert found["assignment.input-unchanged"] is Verdict.NOT_PROVIDED
    assert found["assignment.valid-pairs"] is Verdict.HOLDS


def test_the_same_answer_to_everything_shows_nothing(tmp_path: Path) -> None:
    questions = asked(tmp_path, "assignment", options=("--examples", "20"))
    none = {"dtype": "int64", "shape": [0], "values": []}
    alike = {"value": {"queries": none, "targets": none}, "observation": {"mutated": []}}
    lines = answered(questions, numpy_implementation(name="mine", solver=linear_sum_assignment))
    lines = [
        {**line, "answers": [answer if "not_provided" in answer else alike for answer in line["answers"]]}
        for line in lines
    ]
    found = verdicts(judged(questions, lines), "assignment")
    assert Verdict.VACUOUS in found.values()
    assert Verdict.HOLDS not in found.values()


def test_questions_that_follow_from_the_answers_are_asked_in_a_second_round(
    of_assignment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is asked beyond the first call of each question is not known before."""
    whole, right = read_questions(of_assignment), solved(linear_sum_assignment)
    begun = [replace(question, calls=question.calls[:1]) for question in whole.asked]
    first, answers, further = (tmp_path / f"{name}.jsonl" for name in ("first", "answers", "further"))
    first.write_text(replace(whole, asked=tuple({question.key: question for question in begun}.values())).text())
    write_answers(answered(first, right), answers)
    command = ["judge-answers", str(answers), "--further", str(further), "--questions"]
    assert run([*command, str(first)]) == 2
    said = capsys.readouterr()
    assert re.search(r"optimal-total +S2 +MUST +holds", said.out)
    assert re.search(r"assignment.repeatable +S9 +MUST +- ", said.out)
    assert re.search(r"\d+ further questions follow from the answers, so the verdicts are not whole", said.err)
    questions, rounds = further, 1
    while run([*command, str(questions)]) == 2:
        write_answers(answered(further, right), answers)
        rounds += 1
    assert rounds == max(len(question.calls) for question in whole.asked)
    assert {item.key for item in read_questions(further).asked} == {item.key for item in whole.asked}


def test_drawn_cases_are_asked_too_and_the_same_ones_for_the_same_seed(tmp_path: Path, of_assignment: Path) -> None:
    texts = []
    for number, seed in enumerate(("1", "1", "2")):
        folder = tmp_path / str(number)
        folder.mkdir()
        texts.append(asked(folder, "assignment", options=("--examples", "3", "--seed", seed)).read_text())
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0].splitlines()) > len(of_assignment.read_text().splitlines())


def test_a_ledger_lists_what_is_violated(
    of_assignment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def backwards(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = linear_sum_assignment(-cost)
        return rows, columns

    answers = write_answers(answered(of_assignment, solved(backwards)), tmp_path / "answers.jsonl")
    command = [
        "judge-answers",
        str(answers),
        "--questions",
        str(of_assignment),
        "--invariant",
        "assignment.optimal-total",
    ]
    report = tmp_path / "report.json"
    assert run([*command, "--json", str(report), "--vectors", str(tmp_path / "left")]) == 1
    said = capsys.readouterr().out
    assert f"detr-spec {' '.join(command)}" in said.replace("\n    ", " ")
    ((_, judgement),) = read_report(report).violated
    assert judgement.counterexample is not None
    entry = (
        '[[violation]]\nimplementation = "mine"\ninvariant = "assignment.optimal-total"\nreason = "It is meant."\n'
        f"vector = '''{json.dumps(judgement.counterexample.vector)}'''\n"
    )
    ledger = tmp_path / "ledger.toml"
    ledger.write_text(entry)
    assert run([*command, "--ledger", str(ledger)]) == 0
    right = write_answers(answered(of_assignment, solved(linear_sum_assignment)), answers)
    assert right == answers
    assert run([*command, "--ledger", str(ledger)]) == 1
    (left,) = (tmp_path / "left").iterdir()
    assert run(["replay", str(left), "detr-spec-solver"]) == 0


def test_limits_and_profiles_of_ones_own_decide_what_is_asked(tmp_path: Path) -> None:
    questions = asked(tmp_path, "assignment", limits={"dtypes": ["float64"], "equal_shapes": True})
    lines = [json.loads(line) for line in questions.read_text().splitlines()]
    assert {build["dtype"] for line in lines[1:] for build in line["builds"]} == {"float64"}
    own = {"name": "own", "base": "detr", "non_finite_costs": "forbid"}
    assert asked(tmp_path, "assignment", profile=own).exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{}", "lacks|without the field 'name'"),
        ('{"name": "x", "profile": "none", "components": ["boxes"]}', "implementation.profile is 'none'"),
        ('{"name": "x", "profile": "detr", "components": []}', "expected at least one component"),
        ('{"name": "x", "profile": "detr", "components": ["box"]}', "'box'"),
        ("[]", "a list of 0; expected an object"),
    ],
)
def test_a_description_in_another_form_is_refused(
    said: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(said)
    assert run(["vectors", "questions", str(path), str(tmp_path / "questions.jsonl")]) == 2
    assert re.search(told, capsys.readouterr().err)
    assert not (tmp_path / "questions.jsonl").exists()


@pytest.mark.parametrize("of", ["questions", "answers"])
def test_the_published_schemas_are_those_of_the_values_and_of_the_files(
    of: str, of_assignment: Path, of_sets: Path
) -> None:
    published = (FOLDER / f"{of}.schema.json").read_text(encoding="utf-8")
    assert schema_text(SCHEMAS[of]()) == published, f"renew it: detr-spec vectors schema {of}"
    validator = jsonschema.Draft202012Validator(json.loads(published))
    validator.check_schema(json.loads(published))
    for path in (of_assignment, of_sets):
        own = solved(linear_sum_assignment) if path is of_assignment else declared_implementation(DETR)
        lines = map(json.loads, path.read_text().splitlines()) if of == "questions" else answered(path, own)
        for line in lines:
            validator.validate(line)
            assert list(validator.iter_errors({**line, "more": 1}))
