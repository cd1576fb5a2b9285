"""What becomes of scores and boxes that are no numbers: right answers to each declaration, and departures from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from judging import failure
from torch import Tensor

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_reference import PostProcess, box_cxcywh_to_xyxy
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariants import all_invariants
from detr_spec.profile import DetectionRules, Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.values import Outputs

EXAMPLES = 6
BROKEN = [item for item in all_invariants() if item.number == "P12"]
HINTS = get_type_hints(DetectionRules)
FIELDS = {field: get_args(HINTS[field]) for field in ("non_finite_scores", "non_finite_boxes")}


def declaring(base: Profile, **rules: Any) -> Profile:
    return replace(base, detection=replace(base.detection, **rules))


BASES = {"each query": DETR, "top-k": DEFORMABLE}
AS_MANY_AS_QUERIES = declaring(DEFORMABLE, top_k=None)


def found(subject: Implementation, examples: int = EXAMPLES) -> dict[str, Exception]:
    """What each invariant about broken numbers says of a subject that it does not hold for."""
    applied = [item.id for item in BROKEN if item.applies(subject.profile)]
    failures = {name: failure(name, subject, examples) for name in applied}
    return {name: error for name, error in failures.items() if error is not None}


def built_to(built: Profile, declared: Profile) -> Implementation:
    """What one profile declares, declared as another."""
    right = declared_implementation(built)
    assert right.postprocess is not None
    build = right.postprocess
    return replace(right, profile=declared, postprocess=lambda c: build(replace(c, profile=built)))


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in FIELDS.items() for value in values])
@pytest.mark.parametrize("base", BASES)
def test_each_declaration_has_a_right_answer_above_a_threshold(base: str, field: str, value: str) -> None:
    assert not found(declared_implementation(declaring(BASES[base], threshold=True, **{field: value})))


def fulfils(base: str, field: str, built: str, declared: str) -> bool:
    """Whether what is built to one declaration does what another says."""
    if declared in ("unchecked", built):
        return True
    if field == "non_finite_boxes":
        return (built, declared) == ("unchecked", "keep")
    last = declared == "rank-last" and (base == "each query" or built == "unchecked")
    return built in ("keep", "rank-last", "unchecked") and (declared == "keep" or last)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("field", FIELDS)
def test_what_departs_from_its_declaration_is_found(base: str, field: str) -> None:
    for built, declared in product(FIELDS[field], repeat=2):
        profiles = (declaring(BASES[base], **{field: value}) for value in (built, declared))
        wrong = found(built_to(*profiles))
        assert bool(wrong) is not fulfils(base, field, built, declared), (built, declared, wrong)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in FIELDS.items() for value in values])
def test_where_k_is_the_number_of_queries_sound_ones_alone_give_fewer(field: str, value: str) -> None:
    assert not found(declared_implementation(declaring(AS_MANY_AS_QUERIES, **{field: value})))


@pytest.mark.parametrize(("built", "declared"), [("keep", "drop"), ("drop", "keep")])
@pytest.mark.parametrize("field", FIELDS)
def test_what_departs_is_found_where_k_is_the_number_of_queries(field: str, built: str, declared: str) -> None:
    profiles = (declaring(AS_MANY_AS_QUERIES, **{field: value}) for value in (built, declared))
    assert found(built_to(*profiles), 20)


Detect = Callable[[Tensor, float], Tensor]
"""Which scores are detections, given the threshold."""


def above(keeps: Detect, replaced: Callable[[Tensor], Tensor] = lambda logits: logits) -> Implementation:
    """Sigmoid scores that a threshold keeps, by its own rule and with its own treatment of what is broken."""

    def build(configuration: Configuration) -> Any:
        def call(outputs: dict[str, Tensor], sizes: Tensor) -> list[dict[str, Tensor]]:
            scores = replaced(outputs["pred_logits"]).sigmoid().flatten(1)
            scores, places = scores.topk(min(configuration.top_k, scores.shape[1]))
            classes = outputs["pred_logits"].shape[2]
            boxes = pixels(outputs["pred_boxes"], sizes)
            detections = []
            for score, place, box in zip(scores, places, boxes, strict=True):
                kept = keeps(score, configuration.threshold)
                chosen = place[kept]
                detections.append({"scores": score[kept], "labels": chosen % classes, "boxes": box[chosen // classes]})
            return detections

        return call

    return torch_implementation(name="above", profile=declaring(DEFORMABLE, threshold=True), postprocess=build)


def pixels(boxes: Tensor, sizes: Tensor) -> Tensor:
    height, width = sizes.to(boxes).unbind(1)
    return box_cxcywh_to_xyxy(boxes) * torch.stack([width, height, width, height], dim=1)[:, None]


RIGHT = above(lambda scores, threshold: scores > threshold)
PASSING_NAN = above(lambda scores, threshold: ~(scores <= threshold))


def test_nan_passes_no_threshold_whatever_is_declared() -> None:
    unchecked = declaring(DEFORMABLE, threshold=True, non_finite_scores="unchecked")
    for wrong in (PASSING_NAN, replace(PASSING_NAN, profile=unchecked)):
        assert "postprocess.no-score-passes" in found(wrong)
    assert not found(RIGHT)
    assert not found(replace(RIGHT, profile=unchecked))


def test_a_number_in_place_of_nan_is_found() -> None:
    for number in (9.0, -99.0):
        wrong = above(lambda scores, threshold: scores > threshold, partial(torch.nan_to_num, nan=number))
        assert ("postprocess.broken-scores" in found(wrong)) is (number > 0), number


def acting_on(policy: str, broken: Callable[[Tensor], Tensor]) -> Implementation:
    """The reference, which drops or refuses boxes with a number that is broken, and declares so of all not finite."""

    def build(_: Configuration) -> Any:
        def call(outputs: dict[str, Tensor], sizes: Tensor) -> list[dict[str, Tensor]]:
            spoilt = broken(outputs["pred_boxes"]).any(dim=2)
            if policy == "refuse" and spoilt.any():
                raise ValueError("broken boxes")
            images = zip(PostProcess()(outputs, sizes), spoilt, strict=True)
            return [{name: part[~rows] for name, part in found.items()} for found, rows in images]

        return call

    profile = declaring(DETR, non_finite_boxes=policy)
    return torch_implementation(name="acting on boxes", profile=profile, postprocess=build)


@pytest.mark.parametrize("policy", ["drop", "refuse"])
def test_infinite_boxes_are_not_finite_either(policy: str) -> None:
    assert not found(acting_on(policy, lambda boxes: ~boxes.isfinite()))
    for broken in (torch.isnan, torch.isinf, torch.isposinf):
        assert found(acting_on(policy, broken), 40), broken


def test_the_case_from_the_field() -> None:
    """K = 1, a threshold of 0.5, logits NaN and 2: one detection, of score 0.8808."""
    configuration = Configuration(profile=RIGHT.profile, num_classes=1, top_k=2)
    outputs = Outputs(np.array([[[np.nan], [2.0]]]), np.full((1, 2, 4), 0.25), broken=True)
    counts = {}
    for name, subject in {"right": RIGHT, "wrong": PASSING_NAN}.items():
        assert subject.postprocess is not None
        (image,) = subject.postprocess(configuration)(outputs, np.array([[10, 20]])).value
        counts[name] = image.scores.round(4).tolist()
    assert counts["right"] == [0.8808]
    assert len(counts["wrong"]) == 2
