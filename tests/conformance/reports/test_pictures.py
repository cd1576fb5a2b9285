"""Each violation gets the pictures that its case allows, drawn from the right numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from exact import exhaustive_minimum

from detr_conformance.base.verdict import Counterexample, Judgement
from detr_conformance.reports.failure_text import counterexample_lines
from detr_conformance.reports.junit import as_junit
from detr_conformance.reports.page import as_html
from detr_conformance.reports.pictures import Picture, pictures_of
from detr_conformance.reports.scene import least, pairs_in, scenes
from detr_conformance.running.report import Report


def judged(report: Report, id: str) -> Judgement:
    return next(judgement for judgement in report.implementations[0].judgements if judgement.id == id)


def drawn(judgement: Judgement) -> Sequence[Picture]:
    pictures, note = pictures_of(judgement)
    assert note == ""
    return pictures


def with_counterexample(judgement: Judgement, **different: Any) -> Judgement:
    assert judgement.counterexample is not None
    return replace(judgement, counterexample=replace(judgement.counterexample, **different))


def test_a_matching_is_drawn_beside_the_norms(full: Report) -> None:
    theirs, norm = drawn(judged(full, "matcher.optimal-cost"))
    assert (theirs.title, theirs.side) == ("image 0: their matching", "theirs")
    assert theirs.lines[:2] == ("q0 → t0, q1 → t1", "total cost −1.5")
    assert (norm.title, norm.side) == ("image 0: the norm's matching", "norm")
    assert norm.lines[:2] == ("q0 → t1, q1 → t0", "total cost −2.75")
    assert [str(picture.drawing).count('class="match ') for picture in (theirs, norm)] == [2, 2]
    assert str(theirs.drawing).count('class="target"') == 2


def test_the_norms_matching_is_computed_where_it_is_not_shown(full: Report) -> None:
    bare = with_counterexample(judged(full, "matcher.optimal-cost"), details={}, got=[1, 1])
    (scene,) = scenes(bare)
    assert scene.costs is not None
    assert scene.costs.norm is not None
    assert scene.costs.total(scene.costs.norm) == pytest.approx(exhaustive_minimum(scene.costs.matrix))
    assert [picture.title for picture in drawn(bare)] == ["image 0: the norm's matching"]


def test_the_layer_and_the_image_are_those_of_the_message(full: Report) -> None:
    violation = judged(full, "criterion.l1-value")
    assert scenes(violation)[0].name == "image 0, decoder layer 0"
    last = replace(violation, message="loss_bbox differs from its definition")
    assert scenes(last)[0].name == "image 0, decoder layer 1"
    named = replace(violation, message="the matching of decoder layer 0, image 0, is wrong")
    assert scenes(named)[0].layer == 0


def test_what_is_not_known_is_not_drawn(full: Report) -> None:
    violation = judged(full, "matcher.optimal-cost")
    assert violation.counterexample is not None
    case = violation.counterexample.case
    configuration = {**case["configuration"], "profile": "mine"}
    unknown = with_counterexample(violation, case={**case, "configuration": configuration}, details={}, got="no")
    assert [picture.title for picture in drawn(unknown)] == ["image 0: as given"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_do_no_harm(value: str, full: Report) -> None:
    violation = judged(full, "matcher.optimal-cost")
    assert violation.counterexample is not None
    outputs = violation.counterexample.case["outputs"]
    for broken in ({"logits": [[[value] * 3] * 2]}, {"boxes": [[[value] * 4, [0.5, value, 0.25, 0.25]]]}):
        case = {**violation.counterexample.case, "outputs": {**outputs, **broken}}
        changed = with_counterexample(violation, case=case, details={}, got=value, expected=value)
        pictures = drawn(changed)
        assert pictures[0].title == "image 0: as given"
        assert not any(re.search(r'="[^"]*(nan|inf)', picture.drawing) for picture in pictures)
    assert least(np.array([[np.nan, 1.0]])) is None


@pytest.mark.parametrize(
    "case",
    [
        {"outputs": 1, "sizes": 2},
        {"outputs": {"auxiliary": [], "logits": [[["x"]]], "boxes": [[[1]]]}, "targets": [{}], "sizes": [[1, 1]]},
    ],
)
def test_a_case_of_another_form_costs_its_picture_alone(case: object, full: Report) -> None:
    violation = replace(judged(full, "matcher.optimal-cost"), counterexample=Counterexample(case))
    pictures, note = pictures_of(violation)
    assert pictures == ()
    assert note.startswith("No picture: the case is not of the usual form")
    odd = replace(full, implementations=(replace(full.implementations[0], judgements=(violation,)),))
    assert "No picture: the case is not of the usual form" in as_html(odd)
    assert "matcher.optimal-cost" in as_junit(odd)


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ([[0, 1], [2, 0]], ((0, 1), (2, 0))),
        ({"0": 1, "1": 0}, ((1, 0), (0, 1))),
        ([0, 1], None),
        ([[0.5, 1.0]], None),
        ([[0, -1]], None),
        ([[True, False]], None),
        ("pairs", None),
        ([], None),
    ],
)
def test_pairs_are_read_where_they_are_pairs(value: object, pairs: object) -> None:
    assert pairs_in(value) == pairs


@pytest.mark.parametrize(
    ("got", "allowance", "told"),
    [
        (1.5, 0.0, "apart      0.5"),
        (0.5, [-0.125, 0.25], "apart      -0.5, 4 times what is allowed"),
        (1.5, [-0.125, 0.25], "apart      0.5, 2 times what is allowed"),
    ],
)
def test_the_difference_is_told_in_words(got: float, allowance: object, told: str) -> None:
    assert f"  {told}" in counterexample_lines(Counterexample(None, 1.0, got, allowance))
    assert not any("apart" in line for line in counterexample_lines(Counterexample(None, 1.0, "inf", allowance)))
