"""Classification losses whose targets are overlaps: right ones hold, and what departs from them is found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from judging import failure, share_fired
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from detr_conformance.implementations.declared import criterion
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_reference.quality import iou_aware_loss, matchability_loss, quality_focal_loss
from detr_spec.configuration import Configuration
from detr_spec.gradients import LayerObjective
from detr_spec.profile import Profile, replace
from detr_spec.profiles import DEFORMABLE
from detr_spec.terms import (
    ClassTerm,
    IouAware,
    Matchability,
    QualityFocal,
    Varifocal,
    VarifocalByOverlap,
    VarifocalOrFocal,
    VarifocalThroughWeights,
)
from detr_spec.values import Matching, Outputs, Target

TERMS = (
    Varifocal,
    VarifocalByOverlap,
    VarifocalThroughWeights,
    VarifocalOrFocal,
    Matchability,
    IouAware,
    QualityFocal,
)
VALUE, SLOPE = "criterion.classification-value", "gradients.classification"
Loss = Callable[..., Tensor]


def dialect(term: type[ClassTerm]) -> Profile:
    return replace(DEFORMABLE, name="quality", class_loss=term())


@pytest.mark.parametrize("id", [VALUE, SLOPE])
@pytest.mark.parametrize("term", TERMS)
def test_a_right_loss_holds(term: type[ClassTerm], id: str) -> None:
    assert share_fired(id, declared_implementation(dialect(term)), 60) > 0.4


def detached(loss: Loss) -> Loss:
    """The loss, of which the parts that are not a binary cross-entropy have no gradient."""

    def value(logits: Tensor, positive: Tensor, quality: Tensor, **numbers: float) -> Tensor:
        fixed = loss(logits.detach(), positive, quality, **numbers)
        entropy = binary_cross_entropy_with_logits(logits, quality, reduction="none")
        return fixed / entropy.detach() * entropy

    return value


def through_weights(logits: Tensor, positive: Tensor, quality: Tensor, alpha: float, gamma: float) -> Tensor:
    weight = torch.where(positive, 1.0, alpha * logits.sigmoid() ** gamma)
    return weight * binary_cross_entropy_with_logits(logits, quality**gamma, reduction="none")


def target_with_gradient(
    logits: Tensor, positive: Tensor, quality: Tensor, alpha: float, gamma: float, floor: float
) -> Tensor:
    target = (logits.sigmoid() ** alpha * quality ** (1 - alpha)).clamp(min=floor)
    yes = target * -logits.sigmoid().log() - (1 - target) * (-logits).sigmoid().log()
    return torch.where(positive, yes, iou_aware_loss(logits, positive, quality, alpha, gamma, floor))


DEFECTS: dict[str, tuple[type[ClassTerm], Loss]] = {
    "matchability as varifocal": (Matchability, criterion.QUALITY_LOSSES[Varifocal]),
    "weights of matchability have a gradient": (Matchability, through_weights),
    "overlaps of matchability without their power": (
        Matchability,
        lambda logits, positive, quality, alpha, gamma: matchability_loss(
            logits, positive, quality ** (1 / gamma), alpha, gamma
        ),
    ),
    "a pair without overlap is no pair": (
        Matchability,
        lambda logits, positive, quality, **numbers: matchability_loss(
            logits, positive & (quality > 0), quality, **numbers
        ),
    ),
    "weights of negatives have no gradient": (IouAware, detached(iou_aware_loss)),
    "the target has a gradient": (IouAware, target_with_gradient),
    "the exponents exchanged": (
        IouAware,
        lambda logits, positive, quality, alpha, **numbers: iou_aware_loss(
            logits, positive, quality, 1 - alpha, **numbers
        ),
    ),
    "no least target": (
        IouAware,
        lambda logits, positive, quality, floor, **numbers: iou_aware_loss(
            logits, positive, quality, floor=0 * floor, **numbers
        ),
    ),
    "the weight of the quality focal loss has no gradient": (
        QualityFocal,
        lambda logits, positive, quality, beta: (
            (quality - logits.detach().sigmoid()).abs() ** beta
            * binary_cross_entropy_with_logits(logits, quality, reduction="none")
        ),
    ),
    "the quality focal loss of classes": (
        QualityFocal,
        lambda logits, positive, quality, beta: quality_focal_loss(logits, positive.to(logits.dtype), beta),
    ),
    "weights without a gradient": (VarifocalThroughWeights, criterion.QUALITY_LOSSES[Varifocal]),
    "a batch without targets as any other": (VarifocalOrFocal, criterion.QUALITY_LOSSES[VarifocalThroughWeights]),
    "pairs without overlap kept": (VarifocalByOverlap, criterion.QUALITY_LOSSES[VarifocalThroughWeights]),
    "pairs without overlap as negatives": (VarifocalThroughWeights, criterion.QUALITY_LOSSES[VarifocalByOverlap]),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found(monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    term, loss = DEFECTS[defect]
    monkeypatch.setitem(criterion.QUALITY_LOSSES, term, loss)
    wrong = declared_implementation(dialect(term))
    assert any(failure(name, wrong, 100) is not None for name in (VALUE, SLOPE))


def test_a_loss_that_asks_for_nothing_of_negatives_teaches_no_absence() -> None:
    assert [term().teaches() for term in TERMS] == [True] * len(TERMS)
    assert not any(term(alpha=0.0).teaches() for term in (Varifocal, VarifocalByOverlap, Matchability))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("term", TERMS)
def test_what_is_computed_from_an_overlap_may_be_rounded_to_the_dtype_of_the_logits(
    term: type[ClassTerm], dtype: str
) -> None:
    configuration = Configuration(profile=dialect(term), dtype=dtype, num_classes=1)
    logits = np.linspace(-60.0, 60.0, 49)[:, None, None]
    boxes = np.tile([0.5, 0.5, 0.25, 0.25], (49, 1, 1))
    targets = tuple(Target(np.array([0]), np.array([[0.5, 0.5, 0.25, 0.125 * (1 + place % 2)]])) for place in range(49))
    matchings = (Matching(np.array([0]), np.array([0])),) * 49
    objective = LayerObjective(configuration, Outputs(logits, boxes), targets, matchings, {"classification": 1.0})
    right, wide = objective.range.logits, torch.tensor(logits, dtype=getattr(torch, dtype), requires_grad=True)
    quality = torch.tensor([0.5, 1.0], dtype=wide.dtype).repeat(25)[:49, None, None]
    numbers = configuration.class_loss.numbers
    loss = criterion.QUALITY_LOSSES[term](wide, torch.ones_like(wide, dtype=torch.bool), quality, **numbers).sum() / 49
    loss.backward()
    assert wide.grad is not None
    found = wide.grad.double().numpy()
    assert ((right.lower <= found) & (found <= right.upper)).all()


def test_the_least_target_may_be_rounded_before_it_is_taken_from_1() -> None:
    configuration = Configuration(profile=dialect(IouAware), dtype="bfloat16", num_classes=1)
    targets = (Target(np.array([0]), np.array([[0.5, 0.5, 0.25, 0.25]])),)
    outputs = Outputs(np.full((1, 1, 1), -60.0), np.array([[[0.5, 0.5, 0.25, 0.25]]]))
    matchings = (Matching(np.array([0]), np.array([0])),)
    right = LayerObjective(configuration, outputs, targets, matchings, {"classification": 1.0}).range.logits
    least = torch.tensor(0.01, dtype=torch.bfloat16)
    rounded = float((1 - least) - ((1 - least) + least))
    assert rounded == -0.01171875
    assert right.lower.item() <= rounded <= right.upper.item()


@pytest.mark.parametrize("term", TERMS)
def test_a_step_against_the_gradient_raises_those_losses_alone_whose_targets_follow(term: type[ClassTerm]) -> None:
    configuration = Configuration(profile=dialect(term), dtype="float64", num_classes=1)
    target, pairs = Target([0], [[0.5, 0.5, 0.5, 0.25]]), [Matching(np.array([0]), np.array([0]))]
    rises = False
    for logit in np.linspace(-4.0, 4.0, 65):
        outputs = Outputs(np.full((1, 1, 1), logit), np.array([[[0.5, 0.5, 0.5, 0.5]]]))
        objective = LayerObjective(configuration, outputs, (target,), pairs, {"classification": 1.0})
        after = objective.of_logits(outputs.logits - 2.0**-12 * objective.range.logits.value)
        rises |= bool(after > objective.of_logits(outputs.logits))
    assert rises == ("target from logits" in term.laws)
