"""The invariants of what moves the criterion's losses: right criteria are never accused, defects by their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from judging import Failing, share_fired_where_it_applies
from subjects import (
    BackToFront,
    Factory,
    FlatMatcher,
    LargeScale,
    LastClassIsNoObject,
    Losses,
    OfFlatPairs,
    OffsetMatcher,
    OfOffsetPairs,
    focal,
    hidden,
    matched_boxes,
    matching_by,
    softmax,
    subject,
)
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_reference import FocalSetCriterion, SetCriterion
from detr_reference.batch import matched_targets
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR

INVARIANTS = tuple(
    item
    for item in all_invariants()
    if item.component == "criterion" and item.check.__module__ == "detr_spec.invariants.criterion_symmetry"
)
EXAMPLES = 40
FEWER = 20


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
def test_it_holds_on_the_reference_and_is_no_empty_word(invariant: Invariant, reference: Implementation) -> None:
    share = share_fired_where_it_applies(invariant.id, reference, EXAMPLES)
    assert share is None or share > 0.2


NOT_ACCUSED: dict[str, tuple[Profile, Factory]] = {
    "other ties": (DETR, softmax(SetCriterion, matching_by(BackToFront))),
    "hidden": (DETR, hidden(softmax(SetCriterion))),
    "hidden focal": (DEFORMABLE, hidden(focal(FocalSetCriterion))),
    "another scale": (DETR, softmax(LargeScale)),
    "flat pairs": (DETR, softmax(OfFlatPairs, matching_by(FlatMatcher))),
    "pairs counted on": (DETR, softmax(OfOffsetPairs, matching_by(OffsetMatcher))),
}


@pytest.mark.parametrize("name", NOT_ACCUSED)
def test_a_criterion_with_these_symmetries_is_not_accused(name: str, failing: Failing) -> None:
    profile, factory = NOT_ACCUSED[name]
    assert failing(subject(factory, profile), [item.id for item in INVARIANTS], FEWER) == set()


class MatchedQueriesOnly(SetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        matched = query_classes != self.num_classes
        return super().classification_loss(logits[matched][None], query_classes[matched][None], num_boxes)


class MatchedSigmoidsOnly(FocalSetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        matched = query_classes != self.num_classes
        return super().classification_loss(logits[matched][None], query_classes[matched][None], num_boxes)


class ClassZeroIsNoObject(FocalSetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        query_classes = torch.where(query_classes == self.num_classes, 0, query_classes)
        return super().classification_loss(logits, query_classes, num_boxes)


class Sigmoids(SetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        target = one_hot(query_classes, self.num_logits).to(logits)
        return binary_cross_entropy_with_logits(logits, target)


class SoftmaxOverQueries(SetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        return -logits.log_softmax(1).gather(2, query_classes[..., None]).mean()


class OtherPairs(SetCriterion):
    """Matches rightly, then takes the losses of other pairs."""

    def _match(self, outputs: Any, targets: Any) -> Any:
        return [self.taken(queries, indices) for queries, indices in super()._match(outputs, targets)]

    def taken(self, queries: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        return queries, indices


class TargetsInTheirOrder(OtherPairs):
    def taken(self, queries: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        return queries, indices.sort().values


class QueryIForTargetI(OtherPairs):
    def taken(self, queries: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        return torch.arange(len(queries)), torch.arange(len(indices))


class FirstImageDoubled(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        first = {name: outputs[name][:1] for name in ("pred_logits", "pred_boxes")}
        return losses | {"loss_bbox": losses["loss_bbox"] + super().forward(first, targets[:1])["loss_bbox"]}


class AllBoxes(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | {"loss_giou": losses["loss_giou"] + outputs["pred_boxes"].mean() / 64}


class BoxesNotGathered(SetCriterion):
    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        boxes = torch.cat([outputs["pred_boxes"][image, : len(pair[0])] for image, pair in enumerate(pairs)])
        truth = matched_targets([target["boxes"] for target in targets], pairs)
        return losses | {"loss_bbox": (boxes - truth).abs().sum() / num_boxes}


class ClassAwareBoxes(SetCriterion):
    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        boxes, truth = matched_boxes(outputs, targets, pairs)
        share = 1 + matched_targets([target["labels"] for target in targets], pairs)
        return losses | {"loss_bbox": ((boxes - truth).abs().sum(1) / share).sum() / num_boxes}


DEFECTS: dict[str, tuple[Profile, Factory, set[str]]] = {
    "matched queries only": (
        DETR,
        softmax(MatchedQueriesOnly),
        {"criterion.unmatched-query-no-object"},
    ),
    "no object at K − 1": (DETR, softmax(LastClassIsNoObject), {"criterion.unmatched-query-no-object"}),
    "matched sigmoids only": (
        DEFORMABLE,
        focal(MatchedSigmoidsOnly),
        {"criterion.unmatched-query-any-class"},
    ),
    "class 0 for no object": (
        DEFORMABLE,
        focal(ClassZeroIsNoObject),
        {"criterion.unmatched-query-any-class"},
    ),
    "sigmoids in a softmax dialect": (DETR, softmax(Sigmoids), {"criterion.logit-shift"}),
    "softmax over queries": (DETR, softmax(SoftmaxOverQueries), {"criterion.logit-shift"}),
    "targets in their order": (
        DETR,
        softmax(TargetsInTheirOrder),
        {"criterion.target-order", "criterion.matched-label", "criterion.matched-box"},
    ),
    "query i for target i": (
        DETR,
        softmax(QueryIForTargetI),
        {"criterion.query-order", "criterion.target-order", "criterion.matched-box"},
    ),
    "the first image twice": (DETR, softmax(FirstImageDoubled), {"criterion.image-order"}),
    "all boxes": (DETR, softmax(AllBoxes), {"criterion.unmatched-boxes"}),
    "boxes not gathered": (
        DETR,
        softmax(BoxesNotGathered),
        {"criterion.unmatched-boxes", "criterion.query-order", "criterion.matched-box"},
    ),
    "boxes that know classes": (DETR, softmax(ClassAwareBoxes), {"criterion.matched-label"}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    profile, factory, expected = DEFECTS[name]
    assert failing(subject(factory, profile), expected, EXAMPLES) == expected


@pytest.mark.parametrize("name", ["targets in their order", "matched sigmoids only", "softmax over queries"])
def test_a_defect_is_seen_without_the_matching(name: str, failing: Failing) -> None:
    profile, factory, expected = DEFECTS[name]
    assert failing(subject(hidden(factory), profile), expected, EXAMPLES) == expected


def test_boxes_that_know_classes_break_no_order(failing: Failing) -> None:
    orders = {"criterion.query-order", "criterion.target-order", "criterion.image-order"}
    assert failing(subject(softmax(ClassAwareBoxes)), orders, FEWER) == set()


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, _, expected in DEFECTS.values())) == {item.id for item in INVARIANTS}
