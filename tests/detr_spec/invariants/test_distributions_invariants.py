"""Invariants of losses of distributions of edges, each shown a defect."""

from __future__ import annotations

from typing import Any

import pytest
from judging import failure, share_fired

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.reference import LIMITS
from detr_spec.profile import FurtherLoss, replace
from detr_spec.profiles import DEFORMABLE
from detr_spec.terms import FineGrainedLocalization

EDGES = FurtherLoss(key="loss_edges", term=FineGrainedLocalization(reg_max=4.0), weight=0.25)
PROFILE = replace(DEFORMABLE, name="edges", further_losses=(EDGES,))
INVARIANTS = ("criterion.distribution-values", "gradients.distributions")


class Halved(DeclaredCriterion):
    def forward(self, outputs: Any, targets: Any) -> dict[str, Any]:
        losses = super().forward(outputs, targets)
        return losses | {key: loss / 2 for key, loss in losses.items() if EDGES.key in key}


class Detached(DeclaredCriterion):
    def forward(self, outputs: Any, targets: Any) -> dict[str, Any]:
        losses = super().forward(outputs, targets)
        return losses | {key: loss.detach() + 0.0 * loss for key, loss in losses.items() if EDGES.key in key}


def implementation(kind: type[DeclaredCriterion]) -> Any:
    return torch_implementation(name="edges", profile=PROFILE, limits=LIMITS, criterion=kind)


@pytest.mark.parametrize("invariant", INVARIANTS)
def test_it_holds_on_a_right_criterion_and_is_no_empty_word(invariant: str) -> None:
    assert failure(invariant, implementation(DeclaredCriterion), 20) is None
    assert share_fired(invariant, implementation(DeclaredCriterion), 20) > 0.3


@pytest.mark.parametrize(("invariant", "kind"), [(INVARIANTS[0], Halved), (INVARIANTS[1], Detached)])
def test_a_defect_is_found(invariant: str, kind: type[DeclaredCriterion]) -> None:
    assert failure(invariant, implementation(kind), 40) is not None
