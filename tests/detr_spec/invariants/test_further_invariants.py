"""Invariants of losses that a dialect has beside the usual ones, each shown a defect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from judging import failure, share_fired

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.reference import LIMITS
from detr_spec.implementation import Implementation
from detr_spec.profile import FurtherLoss, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.terms import BoxGiou, Focal

BOXES = FurtherLoss(key="loss_overlap", term=BoxGiou(), weight=0.5)
INVARIANTS = ("criterion.further-values", "gradients.further-losses")


def dialect(base: Profile) -> Profile:
    return replace(base, name="further", further_losses=(BOXES,))


def criterion(change: Callable[[Any, Any], Any]) -> Callable[..., DeclaredCriterion]:
    class Changed(DeclaredCriterion):
        def forward(self, outputs: Any, targets: Any) -> Any:
            losses = super().forward(outputs, targets)
            return {key: change(key, loss) if "overlap" in key else loss for key, loss in losses.items()}

    return Changed


def implementation(base: Profile, kind: Any = DeclaredCriterion) -> Implementation:
    return torch_implementation(name="further", profile=dialect(base), limits=LIMITS, criterion=kind)


@pytest.mark.parametrize("base", [DETR, DEFORMABLE], ids=lambda base: base.name)
@pytest.mark.parametrize("id", [*INVARIANTS, "criterion.keys", "auxiliary.layer-alone", "criterion.doubled-weight"])
def test_a_right_criterion_holds(id: str, base: Profile) -> None:
    assert failure(id, implementation(base), 20) is None
    assert share_fired(id, implementation(base), 20) > 0.3


DEFECTS = {
    "a detached loss": (INVARIANTS[1], lambda key, loss: loss.detach() + 0.0 * loss),
    "twice its value": (INVARIANTS[0], lambda key, loss: 2 * loss),
    "a wrong auxiliary loss": (INVARIANTS[0], lambda key, loss: loss if key == BOXES.key else loss / 2),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found(name: str) -> None:
    by, change = DEFECTS[name]
    assert failure(by, implementation(DETR, criterion(change)), 60) is not None


def test_a_further_loss_needs_a_name_of_its_own_and_logits_that_its_term_takes() -> None:
    with pytest.raises(ValueError, match="two losses are called 'loss_giou'"):
        replace(DETR, further_losses=(replace(BOXES, key="loss_giou"),))
    with pytest.raises(ValueError, match="loss_second is 'focal', which needs the activation 'sigmoid'"):
        replace(DETR, further_losses=(FurtherLoss(key="loss_second", term=Focal()),))
