"""Weights of classes and surplus logit columns: by hand, and each defect of them is found on every seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from judging import share_fired
from torch import Tensor
from torch.nn.functional import cross_entropy

from detr_conformance import torch_implementation
from detr_conformance.campaign.hunt import hunt
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_spec.configuration import Configuration
from detr_spec.invariants import find_invariants
from detr_spec.losses import set_losses
from detr_spec.profile import Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.terms import ClassWeightedCrossEntropy
from detr_spec.values import InvalidValue, Matching, Outputs, Target

WEIGHTED = replace(DETR, name="weighted", class_loss=ClassWeightedCrossEntropy())


def test_the_weighted_cross_entropy_by_hand() -> None:
    """facebookresearch/detr#259: a matched query of label 1 with logits (1, 0, 0), an unmatched one with zeros."""
    configuration = Configuration(profile=WEIGHTED, dtype="float64", num_classes=2)
    outputs = Outputs(np.array([[[1.0, 0, 0], [0, 0, 0]]]), np.full((1, 2, 4), 0.5))
    target = Target([1], [[0.5, 0.5, 0.5, 0.5]])
    loss = set_losses(configuration, outputs, (target,), [Matching(np.array([0]), np.array([0]))])["classification"]
    assert float(loss.value) == pytest.approx(1.52988, abs=1e-5)
    assert configuration.class_weights == (1.0, 2.0)


def test_a_class_that_weighs_nothing_is_refused() -> None:
    with pytest.raises(InvalidValue, match="second of class-weighted-cross-entropy is 0; expected a weight above 0"):
        ClassWeightedCrossEntropy(second=0.0)


def with_weights(change: Callable[[Tensor, float], Tensor]) -> Callable[[Configuration], Any]:
    """The criterion with other weights of the classes and no object; change: from the right ones [C] and eos_coef."""

    def build(configuration: Configuration) -> Any:
        built = DeclaredCriterion(configuration)

        def loss(logits: Tensor, classes: Tensor, _: float) -> Tensor:
            eos_coef = float(configuration.class_loss.numbers["eos_coef"])
            weights = change(logits.new_tensor([*configuration.class_weights, eos_coef]), eos_coef)
            return cross_entropy(logits.flatten(0, 1), classes.flatten(), weights)

        built.criterion.classification_loss = loss  # type: ignore[method-assign]
        return built

    return build


def divided_by_queries(configuration: Configuration) -> Any:
    built = DeclaredCriterion(configuration)

    def loss(logits: Tensor, classes: Tensor, _: float) -> Tensor:
        weights = logits.new_tensor([*configuration.class_weights, configuration.class_loss.numbers["eos_coef"]])
        plain = logits.new_ones(len(weights))
        plain[-1] = weights[-1]
        summed = cross_entropy(logits.flatten(0, 1), classes.flatten(), weights, reduction="sum")
        return summed / plain[classes].sum()

    built.criterion.classification_loss = loss  # type: ignore[method-assign]
    return built


SURPLUS = "criterion.surplus-columns"
NEGATIVES = replace(DEFORMABLE, name="negatives", surplus_columns="negatives")
IGNORED = replace(DETR, name="ignored", surplus_columns="ignored")


def built_to(profile: Profile) -> Callable[[Configuration], Any]:
    return lambda configuration: DeclaredCriterion(replace(configuration, profile=profile))


def foreground(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, float], Tensor]:
    return lambda weights, _: torch.cat([change(weights[:-1]), weights[-1:]])


DEFECTS: dict[str, tuple[Profile, str, Callable[[Configuration], Any]]] = {
    "weights ignored": (WEIGHTED, "criterion.classification-value", with_weights(foreground(torch.ones_like))),
    "weights of the next class": (
        WEIGHTED, "criterion.classification-value", with_weights(foreground(lambda own: own.roll(-1)))
    ),
    "weights doubled": (
        WEIGHTED, "criterion.classification-value", with_weights(foreground(lambda own: 2 * own))
    ),
    "weights of the class before, from the last": (
        WEIGHTED, "criterion.classification-value", with_weights(foreground(lambda own: own.roll(1)))
    ),
    "weights of the first class for all": (
        WEIGHTED, "criterion.classification-value", with_weights(foreground(lambda own: own[:1].expand_as(own)))
    ),
    "weights also of no object": (
        WEIGHTED,
        "criterion.classification-value",
        with_weights(lambda own, _: torch.cat([own[:-1], own[-1:] * own[:1]])),
    ),
    "weights inverted": (WEIGHTED, "criterion.classification-value", with_weights(foreground(torch.reciprocal))),
    "weights squared": (WEIGHTED, "criterion.classification-value", with_weights(foreground(torch.square))),
    "no object weighs 1": (
        WEIGHTED, "criterion.classification-value", with_weights(lambda own, _: torch.cat([own[:-1], own.new_ones(1)]))
    ),
    "weights are not in the divisor": (WEIGHTED, "criterion.classification-value", divided_by_queries),
    "surplus columns ignored": (NEGATIVES, SURPLUS, built_to(replace(NEGATIVES, surplus_columns="ignored"))),
    "surplus columns trained": (IGNORED, SURPLUS, built_to(replace(IGNORED, surplus_columns="negatives"))),
    "surplus columns refused": (NEGATIVES, SURPLUS, built_to(DEFORMABLE)),
}  # fmt: skip


@pytest.mark.parametrize("profile", [NEGATIVES, IGNORED], ids=["deformable", "detr"])
@pytest.mark.parametrize("id", [SURPLUS])
def test_surplus_columns_are_no_empty_word(id: str, profile: Profile) -> None:
    assert share_fired(id, declared_implementation(profile), 30) > 0.5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("defect", list(DEFECTS))
def test_each_defect_is_found(defect: str, seed: int) -> None:
    profile, name, planted = DEFECTS[defect]
    (invariant,) = find_invariants(name)
    subject = torch_implementation(name="planted", profile=profile, criterion=planted)
    assert hunt(invariant, subject, examples=100, seed=seed).killed


def test_gradients_have_the_weights() -> None:
    (invariant,) = find_invariants("gradients.classification")
    for planted, found in ((with_weights(foreground(torch.ones_like)), True), (DeclaredCriterion, False)):
        subject = torch_implementation(name="planted", profile=WEIGHTED, criterion=planted)
        assert hunt(invariant, subject, examples=30, seed=0).killed == found
