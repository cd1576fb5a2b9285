"""Invariants of padding behind texts, each shown a defect."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from judging import failure, share_fired
from torch import Tensor

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.reference import LIMITS
from detr_spec.profiles import GROUNDING_DINO


class Unmasked(DeclaredCriterion):
    """Counts padding, which −∞ leaves without a part in the loss, and other logits do not."""

    def forward(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        return super().forward(_all_tokens(outputs), targets)


class MaskedInValue(DeclaredCriterion):
    """Leaves padding out of the value of the loss, and not out of its gradient."""

    def forward(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        losses, others = super().forward(outputs, targets), super().forward(_all_tokens(outputs), targets)
        return {key: loss.detach() + (others[key] - others[key].detach()) for key, loss in losses.items()}


def _all_tokens(outputs: Any) -> Any:
    layers = [_all_tokens(layer) for layer in outputs.get("aux_outputs", [])]
    logits = outputs["pred_logits"].nan_to_num(neginf=-1e4)
    mask = torch.ones_like(outputs["text_mask"])
    return {**outputs, "pred_logits": logits, "text_mask": mask, **({"aux_outputs": layers} if layers else {})}


def implementation(kind: type[DeclaredCriterion]) -> Any:
    return torch_implementation(name="phrases", profile=GROUNDING_DINO, limits=LIMITS, criterion=kind)


@pytest.mark.parametrize("invariant", ["criterion.padding", "gradients.padding"])
def test_it_holds_on_a_right_criterion_and_is_no_empty_word(invariant: str) -> None:
    assert share_fired(invariant, implementation(DeclaredCriterion), 40) > 0.3


@pytest.mark.parametrize(
    ("invariant", "kind"),
    [("criterion.padding", Unmasked), ("gradients.padding", Unmasked), ("gradients.padding", MaskedInValue)],
)
def test_a_defect_is_found(invariant: str, kind: type[DeclaredCriterion]) -> None:
    assert failure(invariant, implementation(kind), 60) is not None


def test_infinite_padding_shows_no_missing_mask() -> None:
    """Where padding is −∞, the loss is the same without the mask."""
    assert failure("criterion.classification-value", implementation(Unmasked), 30) is None
