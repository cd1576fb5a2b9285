"""Dialects whose matching cost has more terms than those of classes, boxes and overlaps."""

from __future__ import annotations

import pytest
from judging import failure, share_fired

from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_spec.costs import FocalCost, ScoreTimesOverlap
from detr_spec.invariants import all_invariants
from detr_spec.profile import FurtherCost, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR

QUALITY = (FurtherCost(cost=ScoreTimesOverlap(), weight=3.0),)


def dialect(base: Profile) -> Profile:
    return replace(base, name="further", further_costs=QUALITY)


@pytest.mark.parametrize("base", [DETR, DEFORMABLE], ids=lambda base: base.name)
def test_a_right_matcher_holds(base: Profile) -> None:
    right = declared_implementation(dialect(base))
    asked = [item for item in all_invariants() if item.component == "matcher" and item.applies(right.profile)]
    assert [item.id for item in asked if failure(item.id, right, 20) is not None] == []


def test_a_cost_may_stand_alone() -> None:
    alone = replace(dialect(DETR), cost_weights=(0.0, 0.0, 0.0))
    assert share_fired("matcher.optimal-cost", declared_implementation(alone), 20) > 0.3


@pytest.mark.parametrize(
    "cost", [ScoreTimesOverlap(exponent=2.0), ScoreTimesOverlap(exponent=4.0)], ids=["another exponent", "no weight"]
)
def test_another_cost_is_found(cost: ScoreTimesOverlap) -> None:
    weight = 3.0 if cost.exponent != ScoreTimesOverlap().exponent else 0.0
    built = replace(DETR, further_costs=(FurtherCost(cost=cost, weight=weight),))
    assert failure("matcher.close-call", declared_implementation(dialect(DETR), built), 100) is not None


def test_what_speaks_of_three_costs_is_not_asked() -> None:
    asked = {item.id for item in all_invariants() if item.applies(dialect(DETR))}
    assert asked.isdisjoint({"matcher.zero-class-weight", "matcher.weight-scale", "matcher.no-weight-refused"})
    assert "matcher.zero-l1-weight" in asked


def test_a_cost_must_fit_the_logits() -> None:
    with pytest.raises(ValueError, match="further_costs is 'focal', which needs the activation 'sigmoid'"):
        replace(DETR, further_costs=(FurtherCost(cost=FocalCost()),))
    with pytest.raises(ValueError, match="cost_weights are all 0"):
        replace(DETR, cost_weights=(0.0, 0.0, 0.0), further_costs=(FurtherCost(cost=ScoreTimesOverlap(), weight=0.0),))
