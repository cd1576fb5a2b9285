"""A right implementation that writes targets and logits in a form of its own is not accused."""

from __future__ import annotations

import pytest
from judging import Failing

from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_spec.invariants import all_invariants
from detr_spec.profile import MatcherRules, TargetRules, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.terms import ClassWeightedCrossEntropy

COMPONENTS = ("matcher", "criterion", "gradients", "postprocess", "heads")
JUDGED = [item.id for item in all_invariants() if item.component in COMPONENTS and item.cost == 1]

PROFILES = {
    "labels from 1, no object first": replace(DETR, no_object="first", targets=TargetRules(first_label=1)),
    "corners in pixels, all images in a row": replace(
        DEFORMABLE,
        targets=TargetRules(box_format="xyxy", units="pixels", layout="concatenated"),
        matcher=MatcherRules(target_indices="batch", answer="rows"),
        surplus_columns="negatives",
    ),
    "corner and sides, padded": replace(
        DETR,
        class_loss=ClassWeightedCrossEntropy(),
        targets=TargetRules(box_format="xywh", layout="padded", label_dtype="int32"),
        matcher=MatcherRules(answer="assignment", first_target=1, padding="matched", entry="indices"),
        surplus_columns="ignored",
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", PROFILES)
def test_a_right_implementation_in_its_own_form_is_not_accused(name: str, failing: Failing) -> None:
    assert failing(declared_implementation(PROFILES[name]), JUDGED, 5) == set()
