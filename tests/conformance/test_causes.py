"""What would explain violations is named: the field in which an implementation departs from its profile."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from detr_conformance import Report, check, torch_implementation
from detr_conformance.base.cause import Cause
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.causes import explaining
from detr_conformance.causes.alternatives import alternatives, changed_in, names_in
from detr_conformance.causes.asking import Asking, Time
from detr_conformance.causes.declarations import declarations
from detr_conformance.causes.explaining import seconds_for
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.reports.cause_text import cause_title, dtypes_told
from detr_conformance.reports.junit import as_junit
from detr_conformance.reports.markdown import as_markdown
from detr_conformance.reports.page import as_html
from detr_conformance.reports.reading import parsed_report
from detr_reference import HungarianMatcher
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import Profile
from detr_spec.profiles import DETR, PROFILES

LONG = 60.0
"""Seconds for a search for causes that is to find what there is, on a slow machine too."""


def departing(*departures: tuple[str, Any], base: Profile = DETR) -> Implementation:
    """The reference that declares one profile and is built to another."""
    built = base
    for path, value in departures:
        changed = changed_in(built, path, value)
        assert changed is not None
        built = changed
    return declared_implementation(base, built)


def judged(subject: Implementation, ids: list[str]) -> tuple[Judgement, ...]:
    return check(subject, invariants=ids, examples=20).implementations[0].judgements


def causes_of(subject: Implementation, *ids: str) -> tuple[Cause, ...]:
    judgements = judged(subject, list(ids))
    return declarations(judgements, Asking(subject, "cpu", 1, Time(time.monotonic() + LONG)))


PLANTED = [
    ("keys.cardinality", None, ("criterion.keys", "criterion.l1-value")),
    ("keys.box_l1", "loss_of_boxes", ("criterion.keys", "criterion.giou-value")),
    ("boxes.iou_epsilon", 1e-6, ("boxes.iou-definition", "boxes.identical")),
    ("boxes.giou_epsilon", 1e-3, ("boxes.giou-definition", "boxes.iou-definition")),
    ("losses.weighted", True, ("criterion.l1-value", "criterion.giou-value")),
    ("targets.box_format", "xyxy", ("criterion.l1-value", "matcher.valid-pairs")),
    ("detection.clamp", True, ("postprocess.clamping", "postprocess.scores")),
    ("label_beyond_range", "unchecked", ("criterion.foreign-label-refused",)),
    ("ascending_queries", False, ("matcher.ascending-queries", "matcher.valid-pairs")),
    (
        "non_finite_costs",
        "forbid",
        ("assignment.nan-refused", "assignment.infinity-forbids", "assignment.optimal-total"),
    ),
    ("denominator", "matches", ("criterion.denominator", "criterion.l1-value")),
]


@pytest.mark.parametrize(("path", "value", "ids"), PLANTED, ids=lambda part: str(part).replace(" ", ""))
def test_the_field_that_departs_is_named_with_the_line_to_write(path: str, value: Any, ids: tuple[str, ...]) -> None:
    (cause,) = causes_of(departing((path, value)), *ids)
    assert cause.name == path
    changed: dict[str, Any] = {}
    exec(f"changed = dict({cause.message})", {"replace": replace, "profile": DETR}, changed)
    assert replace(DETR, **changed["changed"]) == changed_in(DETR, path, value)


def test_a_name_is_taken_from_what_was_raised() -> None:
    class Renamed(HungarianMatcher):
        def forward(self, outputs: Any, targets: Any) -> Any:
            return super().forward({"pred_logits": outputs["scores"], "pred_boxes": outputs["pred_boxes"]}, targets)

    subject = torch_implementation(
        name="renamed", profile=DETR, matcher=lambda configuration: Renamed(*configuration.cost_weights)
    )
    (cause,) = causes_of(subject, "matcher.valid-pairs", "matcher.optimal-cost")
    assert cause.message == 'keys=replace(profile.keys, logits="scores")'


def test_two_departures_are_named_one_after_the_other() -> None:
    subject = departing(("boxes.iou_epsilon", 1e-6), ("boxes.giou_epsilon", 1e-3))
    found = causes_of(subject, "boxes.iou-definition", "boxes.identical", "boxes.giou-definition", "boxes.scaling")
    assert {cause.name for cause in found} == {"boxes.iou_epsilon", "boxes.giou_epsilon"}
    explained = [name for cause in found for name in cause.invariants]
    assert len(explained) == len(set(explained))


def test_a_defect_is_not_explained_by_a_declaration() -> None:
    (subject,) = (item for item in resolved("mutant:cross-entropy-plain-mean") if item.profile is DETR)
    assert not causes_of(subject, "criterion.classification-value", "criterion.l1-value")


def resolved(name: str) -> tuple[Implementation, ...]:
    from detr_conformance.implementations.resolve import resolve

    return resolve(name)


def test_what_holds_has_no_causes_and_takes_no_time() -> None:
    report = check(declared_implementation(DETR), invariants=["boxes.iou-definition"], examples=5)
    assert report.implementations[0].causes == ()
    assert seconds_for(report.implementations[0].judgements) == 0


def test_the_search_is_bounded_by_the_time_of_the_check() -> None:
    def failing(seconds: float) -> tuple[Judgement, ...]:
        return (Judgement("matcher.toy", "M1", "MUST", "matcher", "", Verdict.VIOLATED, seconds=seconds),)

    assert seconds_for(failing(0.1)) == explaining.LEAST
    assert seconds_for(failing(30.0)) == pytest.approx(6.0)
    assert seconds_for(failing(1000.0)) == explaining.MOST


def test_without_time_nothing_is_lost() -> None:
    subject = departing(("boxes.iou_epsilon", 1e-6))
    judgements = judged(subject, ["boxes.iou-definition"])
    assert declarations(judgements, Asking(subject, "cpu", 1, Time(time.monotonic()))) == ()


def test_a_search_that_fails_leaves_the_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr("detr_conformance.running.judges.explained", broken)
    report = check(departing(("boxes.iou_epsilon", 1e-6)), invariants=["boxes.iou-definition"], examples=20)
    assert report.failing
    assert report.implementations[0].causes == ()


def test_every_alternative_differs_in_the_one_field_that_it_names() -> None:
    for profile in (DETR, *PROFILES.values()):
        found = list(alternatives(profile, ("loss_other",)))
        assert found
        for alternative in found:
            assert alternative.profile != profile
            assert changed_in(profile, alternative.path, alternative.value) == alternative.profile


def test_names_come_from_what_findings_say() -> None:
    said = Judgement("criterion.keys", "C1", "MUST", "criterion", "", Verdict.ERROR, message="KeyError: 'scores' there")
    assert names_in([said]) == ("scores",)


SUBJECT = """
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_spec.profile import BoxRules, replace
from detr_spec.profiles import DETR
MINE = declared_implementation(DETR, replace(DETR, boxes=BoxRules(iou_epsilon=1e-6)))
"""


def test_workers_find_what_this_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "LEAST", LONG)
    monkeypatch.setattr(explaining, "MOST", LONG)
    (tmp_path / "subject.py").write_text(SUBJECT)
    name = f"{tmp_path / 'subject.py'}:MINE"
    how: dict[str, Any] = {"invariants": ["boxes.iou-definition", "boxes.identical"], "examples": 10}
    here, there = (check(name, workers=workers, **how).implementations[0].causes for workers in (0, 1))
    assert [cause.name for cause in here] == ["boxes.iou_epsilon"]
    assert here == there


def test_a_violation_of_one_dtype_says_so() -> None:
    whole = departing()

    def single(configuration: Any) -> Any:
        if configuration.dtype != "float64":
            return whole.boxes(configuration)  # type: ignore[misc]
        return departing(("boxes.iou_epsilon", 1e-3)).boxes(configuration)  # type: ignore[misc]

    subject = replace(whole, boxes=single, limits=Limits())
    (judgement,) = judged(subject, ["boxes.iou-definition"])
    assert judgement.dtype_answers == {"float32": "holds", "float64": "violated"}
    assert dtypes_told(judgement.dtype_answers) == "holds in float32, violated in float64"


def test_every_form_of_a_report_tells_causes_and_how_to_have_findings_explained() -> None:
    cause = Cause("declaration", "boxes.iou_epsilon", "boxes=…", ("boxes.iou-definition",), 1, 2)
    report = check(departing(("boxes.iou_epsilon", 1e-6)), invariants=["boxes.iou-definition"], examples=10)
    (item,) = report.implementations
    report = replace(report, implementations=(replace(item, causes=(cause,)),))
    assert parsed_report(report.to_json(), "text").implementations[0].causes == (cause,)
    for text in (as_markdown(report), as_html(report), as_junit(report)):
        assert cause_title(cause) in text
        assert "detr-spec explain boxes.iou-definition" in text
    assert_is_of_the_schema(report)


def assert_is_of_the_schema(report: Report) -> None:
    import json

    import jsonschema

    schema = Path(explaining.__file__).parents[1] / "schemas" / "report.schema.json"
    jsonschema.validate(json.loads(report.to_json()), json.loads(schema.read_text()))
