"""The invariant of masks in every layer is shown a defect, where masks are compared at pixels and at points."""

from __future__ import annotations

from dataclasses import replace as with_limits
from itertools import product
from typing import Any

import pytest
from judging import share_fired

from detr_conformance import torch_implementation
from detr_conformance.campaign.hunt import hunt
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.reference import LIMITS
from detr_spec.invariants import find_invariants
from detr_spec.profile import MaskRules, Profile, replace
from detr_spec.profiles import DETR
from detr_spec.terms import MaskCrossEntropy

AT_PIXELS = replace(DETR, name="pixels", masks=MaskRules(layers="every"))
AT_POINTS = replace(
    DETR, name="points", mask_loss=MaskCrossEntropy(), masks=MaskRules(layers="every", compared="points")
)
ID = "masks.layers"


class OfTheLast(DeclaredCriterion):
    """The masks of the last layer in every one."""

    def forward(self, outputs: Any, targets: Any) -> dict[str, Any]:
        layers = [{**layer, "pred_masks": outputs["pred_masks"]} for layer in outputs.get("aux_outputs", ())]
        return super().forward({**outputs, "aux_outputs": layers} if layers else outputs, targets)


class WithoutLayers(DeclaredCriterion):
    def forward(self, outputs: Any, targets: Any) -> dict[str, Any]:
        losses = super().forward(outputs, targets)
        return {key: loss for key, loss in losses.items() if not key.startswith("loss_dice_")}


def implementation(kind: type[DeclaredCriterion], profile: Profile, given: bool = True) -> Any:
    limits = with_limits(LIMITS, mask_points=given)
    return torch_implementation(name="masks", profile=profile, limits=limits, masks=kind)


@pytest.mark.parametrize("id", [ID])
def test_it_holds_on_a_right_criterion_and_is_no_empty_word(id: str) -> None:
    for profile, given in product((AT_PIXELS, AT_POINTS), (True, False)):
        assert share_fired(id, implementation(DeclaredCriterion, profile, given), 40) > 0.3


@pytest.mark.parametrize("kind", [OfTheLast, WithoutLayers])
@pytest.mark.parametrize("profile", [AT_PIXELS, AT_POINTS], ids=lambda item: item.name)
def test_a_defect_is_found(profile: Profile, kind: type[DeclaredCriterion]) -> None:
    (invariant,) = find_invariants(ID)
    assert hunt(invariant, implementation(kind, profile), examples=40, seed=0).killed
