"""A report comes back from its file as it was; what is no report is refused in one line that says where."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jsonschema
import pytest
from hypothesis import given, settings

from detr_conformance import check
from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Verdict
from detr_conformance.reports.reading import parsed_report, read_report
from detr_conformance.running.report import ImplementationReport, Report

SCHEMA = json.loads((files("detr_conformance") / "schemas" / "report.schema.json").read_text(encoding="utf-8"))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_knows_every_verdict() -> None:
    known = SCHEMA["$defs"]["judgement"]["properties"]["verdict"]["enum"]
    assert known == [verdict.value for verdict in Verdict]


@pytest.mark.parametrize("name", ["full", "hostile"])
def test_a_report_comes_back_exactly(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    report = request.getfixturevalue(name)
    file = tmp_path / "report.json"
    file.write_text(report.to_json(), encoding="utf-8")
    assert read_report(file) == report
    assert read_report(file).to_json() == report.to_json()
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(report.to_json()))


def test_a_run_comes_back_exactly(subjects: Path) -> None:
    report = check(f"{subjects}:GREEDY", invariants=["S1", "M1"], examples=5)
    assert parsed_report(report.to_json(), "it") == report


def test_an_empty_and_an_interrupted_report_come_back(full: Report) -> None:
    for report in (Report("1", 0, 1, ()), Report("1", -5, 1, (ImplementationReport("it", "p", (), ()),), True, "cuda")):
        assert parsed_report(report.to_json(), "it") == report
    assert parsed_report(replace(full, interrupted=True).to_json(), "it").exit_code == 130


def first_judgement(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["implementations"][0]["invariants"][0]
    return found


Damage = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: d.pop("format"), "its format is None; expected 'detr-spec-report/1'"),
        (lambda d: d.update(format="detr-spec-report/2"), "'detr-spec-report/2'"),
        (lambda d: d.update(extra=1), "it: found an object with the field 'extra'; expected the fields version, seed"),
        (lambda d: d.pop("seed"), "it: found an object without the field 'seed'"),
        (lambda d: d.update(seed="0"), "it, at /seed: found '0'; expected an integer"),
        (
            lambda d: d["implementations"][1].update(extra=1),
            "it, at /implementations/1: found an object with the field",
        ),
        (
            lambda d: first_judgement(d).update(extra=1),
            "it, at /implementations/0/invariants/0: found an object with the field",
        ),
        (
            lambda d: first_judgement(d).update(verdict="passed"),
            "/0/verdict: found 'passed'; did you mean crashed?; expected one of holds",
        ),
        (lambda d: first_judgement(d).update(seconds="1"), "/invariants/0/seconds: found '1'; expected a number"),
        (
            lambda d: first_judgement(d).update(dtypes={"float32": 0.5}),
            "/dtypes/float32: found 0.5; expected",
        ),
        (lambda d: first_judgement(d)["counterexample"].update(extra=1), "/invariants/0/counterexample"),
        (
            lambda d: first_judgement(d).update(message=["\n" * 10_000]),
            "/0/message: found a list of 1; expected a string",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(damage: Damage, told: str, full: Report) -> None:
    document = json.loads(full.to_json())
    damage(document)
    with pytest.raises(UsageError) as refusal:
        parsed_report(json.dumps(document), "it")
    message = str(refusal.value)
    assert message.startswith("it")
    assert told in message
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "its format is None"),
        ('{"format": 1, "format": 2}', "the key 'format' comes twice"),
        ('{"seed": NaN}', "NaN is no JSON"),
        ('{"seed": -Infinity}', "-Infinity is no JSON"),
        ('{"seed": 1e999}', "1e999 is beyond float64"),
        (f'{{"seed": {"9" * 5000}}}', "has more than 300 digits"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=r"the-file\.json") as refusal:
        parsed_report(text, "the-file.json")
    assert told in str(refusal.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.json cannot be read: No such file"):
        read_report(tmp_path / "missing.json")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read_report(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(UsageError, match="is no text in UTF-8"):
        read_report(tmp_path / "bytes.json")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_is_refused_or_harmless(data: st.DataObject, full: Report) -> None:
    few = replace(full.implementations[0], judgements=full.implementations[0].judgements[2:4])
    document = json.loads(replace(full, implementations=(few,)).to_json())
    place: Any = document
    while True:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not inner or not isinstance(inner, (dict, list)) or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(PLAIN)
    try:
        report = parsed_report(json.dumps(document), "it")
    except UsageError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert parsed_report(report.to_json(), "it") == report
    assert "\n" not in refusal
