"""The focal loss of a softmax: by hand, as PyTorch computes it, and defects of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from judging import failure
from torch import Tensor

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.reference import LIMITS
from detr_spec.configuration import Configuration
from detr_spec.losses import set_losses
from detr_spec.profile import replace
from detr_spec.profiles import DETR
from detr_spec.terms import SoftmaxFocal
from detr_spec.values import Matching, Outputs, Target

FOCAL = replace(DETR, name="softmax-focal", class_loss=SoftmaxFocal())
VALUE, SLOPE, SHIFT = "criterion.classification-value", "gradients.classification", "criterion.logit-shift"


def test_the_loss_by_hand() -> None:
    """A query at p = 1/2 of its class, one at 1/4 of no object, whose weight is 1/10; one of two is left."""
    logits = np.log([[[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]]])
    configuration = Configuration(profile=FOCAL, num_classes=2, dtype="float64")
    target = Target([0, 1], [[0.5, 0.5, 0.5, 0.5]] * 2)
    given = (target,), [Matching(np.array([0]), np.array([0]))]
    found = set_losses(configuration, Outputs(logits, np.full((1, 2, 4), 0.5)), *given)["classification"]
    assert float(found.value) == pytest.approx((0.25 * np.log(2) + 0.1 * 0.5625 * np.log(4)) / 2)


def planted(change: Callable[[Tensor, Tensor, float, float, float], Tensor]) -> Callable[[Configuration], Any]:
    """A criterion with another loss; change: from log p and which are of no object, the two numbers and num_boxes."""

    def build(configuration: Configuration) -> Any:
        built = DeclaredCriterion(configuration)

        def loss(logits: Tensor, classes: Tensor, num_boxes: float) -> Tensor:
            log_p = logits.log_softmax(-1).gather(-1, classes[..., None])[..., 0]
            numbers = configuration.class_loss.numbers
            return change(log_p, classes == configuration.num_classes, numbers["eos_coef"], numbers["gamma"], num_boxes)

        built.criterion.classification_loss = loss  # type: ignore[method-assign]
        return built

    return build


def right(log_p: Tensor, nothing: Tensor, eos: float, gamma: float, num_boxes: float) -> Tensor:
    return (torch.where(nothing, eos, 1.0) * (1 - log_p.exp()) ** gamma * -log_p).sum() / num_boxes


def with_a_factor_of_p(log_p: Tensor, nothing: Tensor, eos: float, gamma: float, num_boxes: float) -> Tensor:
    return (torch.where(nothing, eos, 1.0) * log_p.exp() ** gamma * -log_p).sum() / num_boxes


DEFECTS: dict[str, tuple[str, Callable[..., Tensor]]] = {
    "no factor": (VALUE, lambda log_p, nothing, eos, _, n: (torch.where(nothing, eos, 1.0) * -log_p).sum() / n),
    "a factor of p": (VALUE, with_a_factor_of_p),
    "a fixed power": (VALUE, lambda log_p, nothing, eos, _, n: right(log_p, nothing, eos, 2.0, n)),
    "no weight of no object": (VALUE, lambda log_p, nothing, _, gamma, n: right(log_p, nothing, 1.0, gamma, n)),
    "a weighted mean": (
        VALUE,
        lambda log_p, nothing, eos, gamma, _: right(
            log_p, nothing, eos, gamma, float(torch.where(nothing, eos, 1.0).sum())
        ),
    ),
    "a factor without a gradient": (
        SLOPE,
        lambda log_p, nothing, eos, gamma, n: (
            (torch.where(nothing, eos, 1.0) * (1 - log_p.exp().detach()) ** gamma * -log_p).sum() / n
        ),
    ),
}


def subject(build: Callable[[Configuration], Any]) -> Any:
    return torch_implementation(name="focal", profile=FOCAL, limits=LIMITS, criterion=build)


@pytest.mark.parametrize("invariant", [VALUE, SLOPE, SHIFT, "criterion.no-object-weight"])
def test_right_losses_are_not_accused(invariant: str) -> None:
    for build in (DeclaredCriterion, planted(right)):
        assert failure(invariant, subject(build), 30) is None


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found(defect: str) -> None:
    invariant, change = DEFECTS[defect]
    assert failure(invariant, subject(planted(change)), 100) is not None
