"""Labels that name phrases, against numbers worked out by hand, and the cases that have them."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from judging import drawing

from detr_spec.cases import RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import candidates, count_range
from detr_spec.gradients import LayerObjective
from detr_spec.invariant import Domain
from detr_spec.losses import class_error, set_losses
from detr_spec.matching.costs import image_costs
from detr_spec.profile import MatcherRules
from detr_spec.profiles import DEFORMABLE, DETR, GROUNDING_DINO
from detr_spec.strategies import rank_cases, set_cases
from detr_spec.terms import Focal
from detr_spec.values import InvalidValue, Matching, Outputs, Target

LN2, LN3 = log(2.0), log(3.0)
BOX = [0.5, 0.5, 0.5, 0.5]
AT_0, AT_LN3 = -LN2 / 8, -(52 * LN2 + LN3) / 64
"""The focal cost of a token of probability 1/2, and of one of 3/4."""


def outputs(logits: Any, phrases: Any, tokens: Any) -> Outputs:
    """One image's outputs, all boxes alike."""
    return Outputs(
        np.array([logits], dtype=np.float64),
        np.array([[BOX] * len(logits)]),
        phrases=np.array([phrases], dtype=np.bool_),
        tokens=np.array([tokens], dtype=np.bool_),
    )


def configured(**changes: Any) -> Configuration:
    return Configuration(profile=GROUNDING_DINO, dtype="float64", num_classes=2, **changes)


PHRASES, TOKENS = [[1, 1, 0, 0], [0, 1, 0, 0]], [1, 1, 1, 0]
LOGITS = [[0.0, LN3, 5.0, -np.inf], [LN3, LN3, -5.0, -np.inf]]


def test_a_phrase_costs_what_its_tokens_cost_on_average() -> None:
    alone = configured(cost_class=1.0, cost_bbox=0.0, cost_giou=0.0)
    (cost,) = image_costs(outputs(LOGITS, PHRASES, TOKENS), (Target([0, 1, 0], [BOX] * 3),), alone)
    mean = (AT_0 + AT_LN3) / 2
    expected = np.array([[mean, AT_LN3, mean], [AT_LN3, AT_LN3, AT_LN3]])
    assert np.abs(cost.value - expected).max() < 1e-7  # the epsilon of 1e-8
    assert ((cost.lower <= cost.value) & (cost.value <= cost.upper)).all()


@pytest.mark.parametrize(("term", "divisor"), [(None, 1.0), (Focal(), 3.0)])
def test_every_token_of_a_phrase_is_trained_and_padding_is_not(term: Focal | None, divisor: float) -> None:
    """2 · ln 2/16 for the phrase, 3 · ln 2/16 for the token beside it, and 9 · ln 2/16 for the query without a target.

    One of three targets is matched: the sum is over the pairs, or over the targets.
    """
    zeros = outputs([[0.0, 0.0, 0.0, -np.inf]] * 2, PHRASES, TOKENS)
    targets = (Target([0, 1, 1], [BOX] * 3),)
    configuration = configured() if term is None else configured(class_loss=term)
    found = set_losses(configuration, zeros, targets, [Matching(np.array([0]), np.array([0]))])
    assert abs(float(found["classification"].value) - 14 / 16 * LN2 / divisor) < 1e-12


def test_padding_has_no_gradient() -> None:
    for padding in (-np.inf, 7.0):
        layer = outputs([[0.0, 0.0, 0.0, padding]], PHRASES, TOKENS)
        pairs = [Matching(np.array([0]), np.array([1]))]
        objective = LayerObjective(configured(), layer, (Target([0, 1], [BOX] * 2),), pairs, {"classification": 1.0})
        slopes = objective.range.logits
        assert (slopes.value[0, 0, [0, 1, 2]] != 0).all()
        assert slopes.lower[0, 0, 3] == slopes.upper[0, 0, 3] == 0


def test_the_score_of_a_phrase_is_the_mean_of_its_tokens() -> None:
    layer = outputs(LOGITS, [*PHRASES, [0, 0, 0, 0]], TOKENS)
    own = configured(top_k=100)
    found = candidates(layer.logits[0], layer.boxes[0], np.array([1, 1]), own, layer.phrases_of(0))
    assert np.allclose(found.scores.value, [[5 / 8, 3 / 4], [3 / 4, 3 / 4]], atol=1e-15)
    assert count_range(found, own) == (4, 4)


def test_a_query_is_right_that_says_any_token_of_its_phrase() -> None:
    positive = np.array([[True, True, False]] * 3)
    error = class_error(np.array([[0.0, 2.0, 1.0], [1.0, -2.0, 0.0], [0.0, 1.0, 2.0]]), positive, "float64")
    assert abs(float(error.value) - 100 / 3) < 1e-12


def test_an_image_has_phrases_of_its_own() -> None:
    several = Outputs(
        np.zeros((2, 1, 3)),
        np.full((2, 1, 4), 0.5),
        phrases=np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 0]]], dtype=np.bool_),
        tokens=np.array([[1, 1, 1], [1, 1, 0]], dtype=np.bool_),
    )
    targets = Target([1], [BOX]), Target([0], [BOX])
    case = SetCase(configuration=configured(), outputs=several, targets=targets, sizes=np.ones((2, 2), dtype=np.int64))
    assert [case.classes(image) for image in range(2)] == [2, 1]
    assert [case.columns(image, target.labels).tolist() for image, target in enumerate(targets)] == [[1, 2], [0, 1]]
    turned = several.take(images=[1, 0])
    assert turned.phrases is not None
    assert (turned.phrases[0] == [[True, True, False], [False] * 3]).all()
    with pytest.raises(InvalidValue, match=r"targets\[1\].labels contain 1; expected class indices below 1"):
        replace(case, targets=targets[:1] * 2)


@pytest.mark.parametrize(
    ("phrases", "tokens"),
    [([[0, 0, 0], [1, 0, 0]], [1, 1, 1]), ([[0, 0, 1]], [1, 1, 0]), ([[1, 0, 0], [0, 0, 0], [1, 0, 0]], [1, 1, 1])],
)
def test_a_phrase_without_tokens_is_none(phrases: Any, tokens: Any) -> None:
    with pytest.raises(InvalidValue, match="a phrase has no token, or one that is padding"):
        outputs([[0.0, 0.0, 0.0]], phrases, tokens)


def test_logits_of_padding_that_are_no_numbers_are_infinite() -> None:
    layer = outputs([[0.0, np.nan], [0.0, np.inf]], [[1, 0]], [1, 0])
    assert (layer.logits[0, :, 1] == -np.inf).all()
    with pytest.raises(InvalidValue, match="logits"):
        outputs([[np.nan, 0.0]], [[1, 0]], [1, 0])


def test_what_contradicts_phrases_is_refused() -> None:
    with pytest.raises(InvalidValue, match="labels is 'phrases', and activation is 'softmax'"):
        replace(DETR, labels="phrases")
    with pytest.raises(InvalidValue, match="phrases"):
        replace(GROUNDING_DINO, matcher=MatcherRules(arguments=("logits", "boxes", "labels", "target_boxes")))


@drawing(80)
@given(case=set_cases(layers=(1, 2))(Domain(GROUNDING_DINO)))
def test_cases_have_texts_that_all_layers_share(case: SetCase) -> None:
    for layer in case.outputs.layers:
        assert layer.phrases is not None
        assert layer.tokens is not None
        assert layer.phrases.shape == (case.outputs.batch, case.configuration.num_classes, layer.logits.shape[-1])
        assert (layer.phrases == case.outputs.phrases).all()
        assert (np.isfinite(layer.logits) == layer.tokens[:, None]).all()
    for image, target in enumerate(case.targets):
        assert target.labels.max(initial=0) < case.classes(image)


@drawing(30)
@given(case=rank_cases()(Domain(GROUNDING_DINO)))
def test_ranks_have_texts_of_one_length(case: RankCase) -> None:
    assert len({outputs.logits.shape[-1] for outputs, _ in case.batches}) == 1
    union, targets = case.union
    assert union.phrases is not None
    assert len(union.phrases) == len(targets)


@drawing(10)
@given(case=set_cases()(Domain(DEFORMABLE)))
def test_other_dialects_have_none(case: SetCase) -> None:
    assert case.outputs.phrases is None
    assert case.outputs.tokens is None
