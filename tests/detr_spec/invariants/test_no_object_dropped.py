"""Where it is declared, a query whose best class is no object gives no detection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judging import failure, own_invariants, share_fired

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.declared.postprocess import DeclaredPostProcess
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import detections
from detr_spec.implementation import Implementation
from detr_spec.profile import DetectionRules, replace
from detr_spec.profiles import DEFORMABLE, DETR

ID = "postprocess.no-object-dropped"
PROFILE = replace(DETR, name="segments", detection=DetectionRules(drops_no_object=True))
SHOWN = replace(DETR, name="shown", detection=DetectionRules(drops_no_object=True, threshold=True))


class FirstDropped(DeclaredPostProcess):
    """Drops a query that says its class with less than 1/2."""

    def _detections(self, *given: Any) -> Any:
        found = super()._detections(*given)
        return {name: part[found["scores"] >= 0.5] for name, part in found.items()}


@pytest.mark.parametrize("profile", [PROFILE, SHOWN], ids=lambda profile: profile.name)
def test_a_right_implementation_holds(profile: Any) -> None:
    subject = declared_implementation(profile)
    asked = [item for item in own_invariants("postprocess") if item.applies(profile)]
    assert ID in {item.id for item in asked}
    for item in asked:
        assert failure(item.id, subject, 20) is None, item.id
    assert share_fired(ID, subject, 20) == 1.0


def defects() -> dict[str, Implementation]:
    return {
        "all queries": declared_implementation(PROFILE, built_to=DETR),
        "a threshold of 1/2": torch_implementation(name="wrong", profile=PROFILE, postprocess=FirstDropped),
    }


@pytest.mark.parametrize("name", defects())
def test_a_defect_is_found(name: str) -> None:
    assert failure(ID, defects()[name], 40) is not None


def test_it_is_not_asked_elsewhere() -> None:
    (invariant,) = [item for item in own_invariants("postprocess") if item.id == ID]
    assert not invariant.applies(DETR)
    with pytest.raises(ValueError, match="drops_no_object is True, and activation is 'sigmoid'"):
        replace(DEFORMABLE, detection=DetectionRules(drops_no_object=True))
    with pytest.raises(ValueError, match="drops_no_object is True, and the rule is 'top-k'"):
        DetectionRules(drops_no_object=True, rule="top-k")


def test_what_an_evaluator_is_given() -> None:
    logits, boxes = [[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5, 0.25, 0.25]] * 2

    found = detections(np.array(logits), np.array(boxes), np.array([4, 4]), Configuration(profile=PROFILE))
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-1))])
