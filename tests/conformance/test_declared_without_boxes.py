"""The reference is built to profiles whose outputs and targets have no boxes, and violates nothing there."""

from __future__ import annotations

import pytest

from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.running.run import check
from detr_spec.declarable import drawn_profile
from detr_spec.profile import Profile, TargetRules, replace
from detr_spec.profiles import MASK2FORMER

SEEDS = range(3)
REDRAWN = ("no_object", "mask_weights", "denominator", "rank_reduction", "ascending_queries")
"""Fields that say nothing of boxes, nor of what a dialect without them has not."""


def drawn_without_boxes(seed: int) -> Profile:
    """The profile mask2former, with fields of a drawn one."""
    drawn = drawn_profile(seed)
    labels = TargetRules(first_label=drawn.targets.first_label, label_dtype=drawn.targets.label_dtype)
    redrawn = {name: getattr(drawn, name) for name in REDRAWN}
    return replace(
        MASK2FORMER, name="declared", targets=labels, masks=replace(drawn.masks, compared="points"), **redrawn
    )


@pytest.mark.parametrize(
    "profile", [MASK2FORMER, *map(drawn_without_boxes, SEEDS)], ids=["mask2former", *map(str, SEEDS)]
)
def test_nothing_is_violated_without_boxes(profile: Profile) -> None:
    subject = declared_implementation(profile)
    report = check(subject, components=["matcher", "criterion", "masks"], examples=3, seed=1)
    assert not [(judgement.id, judgement.message) for _, judgement in report.failing]
