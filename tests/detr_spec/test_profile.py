"""The named profiles declare what their dialects are; others are made by replacing what differs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from detr_spec.costs import FocalCost, NegativeProbability
from detr_spec.invariant import every_profile, with_no_object, without_no_object
from detr_spec.profile import (
    BoxRules,
    DenoisingRules,
    DetectionRules,
    Keys,
    LossRules,
    MatcherRules,
    TargetRules,
    replace,
)
from detr_spec.profiles import DEFORMABLE, DETR, PROFILES, named_profile
from detr_spec.terms import CrossEntropy, Focal
from detr_spec.values import InvalidValue


def test_profiles_are_found_by_name() -> None:
    assert named_profile("detr") is DETR
    assert named_profile("deformable") is DEFORMABLE
    assert list(PROFILES)[:2] == ["detr", "deformable"]
    with pytest.raises(KeyError, match="no profile is called 'dter'; the profiles are detr, deformable, "):
        named_profile("dter")


def test_the_softmax_dialect_has_a_column_for_no_object() -> None:
    assert DETR.has_no_object
    assert DETR.columns(91) == 92
    assert with_no_object(DETR)
    assert not without_no_object(DETR)
    assert (DETR.class_cost, DETR.class_loss) == (NegativeProbability(), CrossEntropy(eos_coef=0.1))
    assert DETR.cost_weights == DETR.loss_weights == (1.0, 5.0, 2.0)
    assert DETR.detection.rule == "best-foreground-class"


def test_the_sigmoid_dialect_has_none() -> None:
    assert not DEFORMABLE.has_no_object
    assert DEFORMABLE.columns(91) == 91
    assert without_no_object(DEFORMABLE)
    assert not with_no_object(DEFORMABLE)
    assert (DEFORMABLE.class_cost, DEFORMABLE.class_loss) == (FocalCost(), Focal())
    assert DEFORMABLE.cost_weights == DEFORMABLE.loss_weights == (2.0, 5.0, 2.0)
    assert (DEFORMABLE.detection.rule, DEFORMABLE.detection.top_k) == ("top-k", 100)


def test_nothing_is_dropped_clamped_or_tolerated_unless_declared() -> None:
    for profile in (DETR, DEFORMABLE):
        assert every_profile(profile)
        assert not profile.detection.threshold
        assert not profile.detection.clamp
        assert profile.detection.size_order == "height-width"
        assert (profile.boxes.iou_epsilon, profile.boxes.giou_epsilon) == (0.0, 0.0)
        assert profile.boxes.invalid == "refuse"
        assert profile.non_finite_logits == profile.non_finite_boxes == profile.non_finite_costs == "refuse"
        assert profile.denominator == "targets"
        assert profile.keys == Keys()


TENSORS = ("logits", "boxes", "labels", "target_boxes")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: replace(DETR, activation="sigmoid"),
            "class_loss is 'cross-entropy', which needs the activation 'soft",
        ),
        (lambda: replace(DETR, class_cost=FocalCost()), "expected 'negative-probability', or the other activation"),
        (lambda: replace(DEFORMABLE, cardinality="argmax-is-foreground"), "'argmax-is-not-last' or 'score-above-half'"),
        (lambda: replace(DETR, non_finite_costs="refuses"), "expected one of 'refuse', 'forbid', 'unchecked'"),
        (lambda: replace(DETR, ascending_queries="no"), "ascending_queries is 'no'; expected one of False, True"),
        (lambda: replace(DETR, cost_weights=(0.0, 0.0, 0.0)), "cost_weights are all 0; expected at least one"),
        (lambda: replace(DETR, loss_weights=(1.0, -1.0, 0.0)), "a weight of loss_weights is -1.0; expected a finite"),
        (
            lambda: CrossEntropy(eos_coef=math.nan),
            "eos_coef of cross-entropy is nan; expected a finite number of at least 0",
        ),
        (lambda: FocalCost(epsilon=-1e-8), "epsilon of focal is -1e-08; expected a finite number"),
        (lambda: BoxRules(least_divisor=math.inf), "least_divisor is inf; expected a finite number of at least 0"),
        (lambda: BoxRules(invalid="clamp"), "invalid is 'clamp'; expected one of 'refuse', 'unchecked'"),  # type: ignore[arg-type]
        (lambda: DetectionRules(top_k=0), "top_k is 0; expected at least 1"),
        (lambda: Keys(logits="x", boxes="x"), "two outputs are called 'x'; expected a name of its own for each"),
        (lambda: Keys(labels="boxes"), "two parts of a target are called 'boxes'"),
        (lambda: Keys(box_l1="loss_ce"), "two losses are called 'loss_ce'"),
        (lambda: Keys(encoder_loss="{loss}"), "two losses are called 'loss_ce'"),
        (lambda: Keys(denoising_loss="loss_dn"), "denoising_loss is 'loss_dn'; expected text with {loss}, {layer}"),
        (lambda: Keys(encoder_loss="{loss}_{place}"), "expected text with {loss}, {layer} where wanted, {number}"),
        (lambda: Keys(denoising_auxiliary_loss="{loss}_dn_{layer}"), "is given without denoising_loss; expected both"),
        (
            lambda: Keys(denoising_loss="{loss}_dn_0", denoising_auxiliary_loss="{loss}_dn_{layer}"),
            "two losses are called 'loss_ce_dn_0'",
        ),
        (lambda: Keys(denoising_groups="pad_size"), "two parts of the meta data are called 'pad_size'"),
        (lambda: Keys(denoising_meta="dn_outputs"), "two outputs are called 'dn_outputs'"),
        (lambda: DenoisingRules(absent="ones"), "absent is 'ones'; expected one of 'nothing', 'zeros'"),  # type: ignore[arg-type]
        (lambda: Keys(auxiliary_loss="{layer}"), "expected text with {loss}, {layer} where wanted, and nothing else"),
        (lambda: Keys(auxiliary_loss="{loss.upper}_{layer}"), "expected text with {loss}, {layer} where wanted"),
        (lambda: Keys(auxiliary_loss="{loss_{layer}"), "expected text with {loss}, {layer} where wanted"),
        (lambda: Keys(encoder_loss="{loss}_{layer}", total="loss_ce"), "two losses are called 'loss_ce'"),
        (lambda: LossRules(extra=("",)), "an extra name is empty; expected the name of an entry"),
        (
            lambda: replace(DETR, matcher=MatcherRules(arguments=("logits", "boxes", "labels"))),
            "expected logits, boxes, labels, target_boxes, in any order",
        ),
        (
            lambda: replace(DETR, targets=TargetRules(layout="padded"), matcher=MatcherRules(arguments=TENSORS)),
            "in any order, of target_valid and target_counts at least one",
        ),
        (
            lambda: replace(DETR, matcher=MatcherRules(arguments=(*TENSORS, "target_size"))),
            "the arguments of the matcher are logits, boxes, labels, target_boxes, target_size",
        ),
        (lambda: MatcherRules(first_target=-1), "first_target is -1; expected an index of at least 0"),
        (lambda: LossRules(shared="median"), "shared is 'median'; expected one of 'sum', 'mean'"),
    ],
)
def test_what_contradicts_itself_is_refused_and_told_what_to_do(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(message)):
        build()


def test_a_profile_of_ones_own() -> None:
    mine = replace(DETR, name="mine", keys=replace(DETR.keys, logits="logits", class_error=None))
    assert (mine.keys.logits, mine.keys.boxes, mine.keys.class_error) == ("logits", "pred_boxes", None)
    assert DETR.keys.logits == "pred_logits"
    with pytest.raises(TypeError, match="color"):
        replace(DETR, color="red")  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        mine.name = "other"  # type: ignore[misc]
