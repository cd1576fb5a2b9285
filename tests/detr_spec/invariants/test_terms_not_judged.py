"""A term that a profile does not define is not asked about, and every other one is."""

from __future__ import annotations

from typing import Any

import pytest
from judging import failure, judged, own_invariants

import detr_reference as reference
from detr_conformance import torch_implementation
from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import LIMITS, deformable_criterion
from detr_spec.implementation import Implementation
from detr_spec.invariants import find_invariants
from detr_spec.profile import replace
from detr_spec.profiles import DEFORMABLE
from detr_spec.terms import ClassesNotJudged, Focal, MaskDice

NOT_CLASSES = replace(DEFORMABLE, name="boxes alone", class_loss=None)  # type: ignore[arg-type]
NOT_BOXES = replace(DEFORMABLE, name="classes alone", box_loss=None, overlap_loss=None)  # type: ignore[arg-type]


class Squares(reference.FocalSetCriterion):
    """Trains classes by a loss of its own, and the L1 loss is a thousandth too large where it is told so."""

    excess = 0.0

    def _classification(self, outputs: Any, *_: Any) -> Any:
        return outputs["pred_logits"].square().mean()

    def _layer_losses(self, *given: Any) -> dict[str, Any]:
        losses = super()._layer_losses(*given)
        return losses | {"loss_bbox": losses["loss_bbox"] * (1 + self.excess)}


class LargerBoxes(Squares):
    excess = 1e-3


def criterion(kind: type[reference.FocalSetCriterion]) -> Any:
    def built(configuration: Any) -> Any:
        own = configuration.class_loss
        return deformable_criterion(replace(configuration, class_loss=own if own.is_judged else Focal()), kind)

    return built


def subject(kind: type[reference.FocalSetCriterion], profile: Any = NOT_CLASSES) -> Implementation:
    return torch_implementation(name="subject", profile=profile, limits=LIMITS, criterion=criterion(kind))


def test_none_stands_for_a_term_that_is_not_judged() -> None:
    assert NOT_CLASSES.class_loss == ClassesNotJudged()
    assert not NOT_CLASSES.judges("classification")
    assert NOT_CLASSES.judges("box_l1")


@pytest.mark.parametrize("component", ["criterion", "gradients"])
def test_what_speaks_of_other_terms_holds(component: str) -> None:
    """Whatever the classification loss is."""
    found = {item.id: judged(item.id, subject(Squares), 3).verdict for item in own_invariants(component)}
    assert not [name for name, verdict in found.items() if verdict.fails]
    assert found.get("criterion.classification-value", Verdict.NOT_APPLICABLE) is Verdict.NOT_APPLICABLE
    assert found.get("gradients.classification", Verdict.NOT_APPLICABLE) is Verdict.NOT_APPLICABLE


def test_a_defect_of_another_term_is_found() -> None:
    assert failure("criterion.l1-value", subject(Squares), 30) is None
    assert failure("criterion.l1-value", subject(LargerBoxes), 30) is not None
    assert failure("criterion.classification-value", subject(Squares, DEFORMABLE), 30) is not None


def test_losses_of_boxes_need_not_be_known() -> None:
    assert failure("criterion.classification-value", subject(reference.FocalSetCriterion, NOT_BOXES), 30) is None
    assert failure("gradients.every-prediction-connected", subject(reference.FocalSetCriterion, NOT_BOXES), 30) is None
    assert failure("criterion.keys", subject(LargerBoxes, NOT_BOXES), 30) is None


def test_weights_of_masks_are_asked_about_where_a_loss_of_masks_is_judged() -> None:
    (weights,) = find_invariants("masks.weights")
    neither = replace(DEFORMABLE, mask_loss=None, dice_loss=None)  # type: ignore[arg-type]
    assert [weights.applies(profile) for profile in (DEFORMABLE, replace(neither, dice_loss=MaskDice()), neither)] == [
        True,
        True,
        False,
    ]
