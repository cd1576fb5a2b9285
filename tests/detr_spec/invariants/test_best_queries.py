"""Where it is declared, each query gives one detection at most, and the best come first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from judging import failure, own_invariants, share_fired
from torch import Tensor

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.declared.postprocess import DeclaredPostProcess
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import detections, expected_count
from detr_spec.profile import DetectionRules, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR

ALL_QUERIES = replace(DETR, name="all", detection=DetectionRules(rule="best-queries", top_k=None))
SOME = replace(
    DEFORMABLE,
    name="some",
    detection=DetectionRules(rule="best-queries", non_finite_scores="rank-last", non_finite_boxes="drop"),
)
STRICT = replace(
    DETR,
    name="strict",
    detection=DetectionRules(rule="best-queries", top_k_overflow="refuse", threshold=True, non_finite_scores="drop"),
)
PROFILES = (ALL_QUERIES, SOME, STRICT)
PAIRS, ORDER, SCORES = "postprocess.distinct-pairs", "postprocess.descending-scores", "postprocess.scores"


def test_by_hand() -> None:
    """The first query says its classes with 3/8 and 1/4, the second with 1/2 and 1/4, the third with 1/8 and 1/4."""
    scores = np.array([[3 / 8, 1 / 4, 3 / 8], [1 / 2, 1 / 4, 1 / 4], [1 / 8, 1 / 4, 5 / 8]])
    boxes = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])
    for profile, top_k, expected in ((ALL_QUERIES, 1, [1, 0, 2]), (STRICT, 2, [1, 0])):
        configuration = Configuration(profile=profile, num_classes=2, top_k=top_k)
        assert expected_count((3, 2), configuration) == len(expected)
        found = detections(np.log(scores), boxes, np.array([4, 4]), configuration)
        assert found.labels.tolist() == [0, 0, 1][: len(expected)]
        assert found.scores.tolist() == pytest.approx([1 / 2, 3 / 8, 1 / 4][: len(expected)])
        assert found.boxes[:, 0].tolist() == pytest.approx([1.5, 1.0, 2.0][: len(expected)])


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_right_implementation_holds(profile: Profile) -> None:
    subject = declared_implementation(profile)
    asked = {item.id for item in own_invariants("postprocess") if item.applies(profile)}
    assert {PAIRS, ORDER, SCORES} <= asked
    for each in sorted(asked):
        assert failure(each, subject, 40) is None, each
    assert share_fired(PAIRS, subject, 20) == 1.0


class Changed(DeclaredPostProcess):
    """What is chosen of the probabilities [Q, K], changed: scores, queries and labels."""

    change: Callable[[Tensor, tuple[Tensor, Tensor, Tensor]], tuple[Tensor, Tensor, Tensor]]

    def _chosen(self, probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return type(self).change(probabilities, super()._chosen(probabilities))


def scores_alone_sorted(probabilities: Tensor, chosen: Any) -> Any:
    scores, queries, _ = chosen
    return scores, queries.sort().values, probabilities.max(dim=-1).indices[queries.sort().values]


def labels_of_the_first(probabilities: Tensor, chosen: Any) -> Any:
    scores, queries, _ = chosen
    return scores, queries, probabilities.max(dim=-1).indices[: len(queries)]


def boxes_of_the_first(_: Tensor, chosen: Any) -> Any:
    scores, queries, labels = chosen
    return scores, torch.arange(len(queries)), labels


def best_last(_: Tensor, chosen: Any) -> Any:
    return tuple(part.flip(0) for part in chosen)


def in_query_order(_: Tensor, chosen: Any) -> Any:
    scores, queries, labels = chosen
    order = queries.argsort()
    return scores[order], queries[order], labels[order]


def of_pairs(probabilities: Tensor, chosen: Any) -> Any:
    places = probabilities.flatten().topk(len(chosen[0])).indices
    return probabilities.flatten()[places], places // probabilities.shape[1], places % probabilities.shape[1]


def best_query_repeated(_: Tensor, chosen: Any) -> Any:
    return tuple(part[:1].expand(len(part)) for part in chosen)


DEFECTS = {
    scores_alone_sorted: PAIRS,
    labels_of_the_first: PAIRS,
    boxes_of_the_first: PAIRS,
    best_last: ORDER,
    in_query_order: ORDER,
    of_pairs: SCORES,
    best_query_repeated: PAIRS,
}


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("profile", [ALL_QUERIES, SOME], ids=lambda profile: profile.name)
def test_a_defect_is_found(profile: Profile, defect: Any) -> None:
    wrong = type("Wrong", (Changed,), {"change": staticmethod(defect)})
    subject = torch_implementation(name="wrong", profile=profile, postprocess=wrong)
    assert failure(DEFECTS[defect], subject, 60) is not None


@pytest.mark.parametrize("rule", ["best-foreground-class", "top-k"])
def test_another_rule_is_found(rule: Any) -> None:
    other = replace(SOME, detection=replace(SOME.detection, rule=rule))
    for declared, built in ((SOME, other), (other, SOME)):
        asked = [item.id for item in own_invariants("postprocess") if item.applies(declared)]
        assert any(failure(each, declared_implementation(declared, built), 40) is not None for each in asked)


def test_a_query_is_not_ranked_and_dropped() -> None:
    with pytest.raises(ValueError, match="drops_no_object is True, and the rule is 'best-queries'"):
        DetectionRules(drops_no_object=True, rule="best-queries")
