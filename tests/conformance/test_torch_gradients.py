"""The bridge reads gradients from any criterion in PyTorch, and says which predictions are not connected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detr_conformance import numpy_implementation, torch_implementation
from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import IMPLEMENTATIONS, detr_criterion
from detr_conformance.judging.judge import judge
from detr_spec.configuration import Configuration
from detr_spec.invariants import find_invariants
from detr_spec.profiles import DETR
from detr_spec.values import Outputs, Target
from detr_spec.violation import Raised

CONFIGURATION = Configuration(profile=DETR, num_classes=2, decoder_layers=2, dtype="float64")
TARGETS = (Target(np.array([0]), np.array([[0.5, 0.5, 0.25, 0.25]])),)


def outputs() -> Outputs:
    generator = np.random.default_rng(0)
    logits, boxes = generator.normal(size=(2, 1, 3, 3)), generator.uniform(0.2, 0.8, (2, 1, 3, 4))
    return Outputs(logits[1], boxes[1], auxiliary=(Outputs(logits[0], boxes[0]),))


def answered(criterion: Any, weights: dict[str, float]) -> Any:
    subject = torch_implementation(name="subject", profile="detr", criterion=lambda _: criterion)
    return subject.component("gradients")(CONFIGURATION)(outputs(), TARGETS, weights).value


def test_every_criterion_gives_gradients() -> None:
    assert all("gradients" in reference.components for reference in IMPLEMENTATIONS)
    assert "gradients" not in torch_implementation(name="boxes", profile="detr", boxes={}).components


def test_the_total_is_over_keys_that_both_have() -> None:
    answer = answered(
        lambda given, _: {"loss_ce": given["pred_logits"].sum(), "class_error": given["pred_boxes"].sum()},
        {"loss_ce": 2.0, "loss_bbox": 5.0},
    )
    assert answer.total == pytest.approx(2 * outputs().logits.sum())
    auxiliary, last = answer.layers
    assert (last.logits == 2.0).all()
    assert last.boxes is None
    assert auxiliary.logits is None
    assert auxiliary.boxes is None


def test_a_total_without_a_graph_connects_nothing() -> None:
    answer = answered(lambda given, _: {"loss_ce": given["pred_logits"].detach().sum()}, {"loss_ce": 1.0})
    assert all(part is None for layer in answer.layers for part in (layer.logits, layer.boxes))


def test_no_common_key_connects_nothing() -> None:
    answer = answered(lambda given, _: {"loss_ce": given["pred_logits"].sum()}, {"loss_bbox": 1.0})
    assert answer.total == 0.0
    assert answer.layers[-1].logits is None


def test_losses_are_those_of_the_criterion_component() -> None:
    implementation = torch_implementation(name="reference", profile="detr", criterion=detr_criterion)
    losses = implementation.component("criterion")(CONFIGURATION)(outputs(), TARGETS).value
    answer = implementation.component("gradients")(CONFIGURATION)(outputs(), TARGETS, CONFIGURATION.weight_dict).value
    assert answer.losses.values == losses.values
    assert answer.losses.weights == CONFIGURATION.weight_dict
    assert [len(layer) for layer in answer.losses.matchings] == [1, 1]
    expected = sum(weight * losses.values[key] for key, weight in CONFIGURATION.weight_dict.items())
    assert answer.total == pytest.approx(expected)


def test_layers_come_first_to_last() -> None:
    def criterion(given: Any, _: Any) -> dict[str, Tensor]:
        return {"loss_ce": 3 * given["aux_outputs"][0]["pred_boxes"].sum() + given["pred_boxes"].sum()}

    first, last = answered(criterion, {"loss_ce": 1.0}).layers
    assert (first.boxes == 3.0).all()
    assert (last.boxes == 1.0).all()


def test_what_backward_raises_is_the_implementations() -> None:
    def criterion(given: Any, _: Any) -> dict[str, Tensor]:
        moved = given["pred_logits"] * 1
        loss = moved.exp().sqrt()
        with torch.no_grad():
            loss.zero_()
        return {"loss_ce": loss.sum()}

    with pytest.raises(Raised, match="modified by an inplace operation"):
        answered(criterion, {"loss_ce": 1.0})


def test_a_framework_without_gradients_says_so() -> None:
    (invariant,) = find_invariants("gradients.box-l1")
    judgement = judge(invariant, numpy_implementation(name="plain", boxes={}))
    assert judgement.verdict is Verdict.NOT_PROVIDED
    assert "provides no gradients" in judgement.message
