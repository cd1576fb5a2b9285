"""The invariants of the criterion's numbers: right criteria are never accused, defects by their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from judging import Failing, judged, share_fired_where_it_applies
from subjects import (
    BackToFront,
    Factory,
    LastClassIsNoObject,
    Losses,
    focal,
    hidden,
    matched_boxes,
    matching_by,
    softmax,
    subject,
)
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, softplus

from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_reference import (
    FocalSetCriterion,
    HungarianMatcher,
    SetCriterion,
    box_cxcywh_to_xyxy,
    box_iou,
    generalized_box_iou,
)
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants
from detr_spec.profile import BoxRules, Keys, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR

MODULES = ("detr_spec.invariants.criterion_values", "detr_spec.invariants.criterion_counts")
INVARIANTS = tuple(
    item for item in all_invariants() if item.component == "criterion" and item.check.__module__ in MODULES
)
EXAMPLES = 40
FEWER = 20


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
def test_it_holds_on_the_reference_and_is_no_empty_word(invariant: Invariant, reference: Implementation) -> None:
    share = share_fired_where_it_applies(invariant.id, reference, EXAMPLES)
    assert share is None or share > 0.2


class UsualCrossEntropy(SetCriterion):
    """The loss as the framework has it, with a weight vector made in its default dtype."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        weight = torch.ones(self.num_logits)
        weight[-1] = self.eos_coef
        return cross_entropy(logits.transpose(1, 2), query_classes, weight.to(logits))


class LateSubtraction(SetCriterion):
    """log Σ exp z − z, whose last digits cancel where a query is sure."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        surprise = logits.logsumexp(-1) - logits.gather(-1, query_classes[..., None])[..., 0]
        weights = torch.where(query_classes == self.num_classes, self.eos_coef, 1.0).to(logits)
        return (surprise * weights).mean() / weights.mean()


class UsualFocal(FocalSetCriterion):
    """Binary cross-entropy, and 1 − p_t from the rounded p_t, both of which cancel where a query is sure."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        t = torch.zeros(*logits.shape[:2], self.num_classes + 1).to(logits)
        t = t.scatter_(2, query_classes[..., None], 1)[..., :-1]
        p = logits.sigmoid()
        p_t = p * t + (1 - p) * (1 - t)
        surprise = binary_cross_entropy_with_logits(logits, t, reduction="none")
        loss = (self.focal_alpha * t + (1 - self.focal_alpha) * (1 - t)) * (1 - p_t) ** self.focal_gamma * surprise
        return loss.mean(1).sum() / num_boxes * logits.shape[1]


class SoftplusFocal(FocalSetCriterion):
    """Positives and negatives apart, every factor as accurate as it can be."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        yes = self.focal_alpha * (-logits).sigmoid() ** self.focal_gamma * softplus(-logits)
        no = (1 - self.focal_alpha) * logits.sigmoid() ** self.focal_gamma * softplus(logits)
        positive = query_classes[..., None] == torch.arange(self.num_classes)
        return (yes[positive].sum() + no[~positive].sum()) / num_boxes


class WholePictures(SetCriterion):
    """Losses summed in float64 from matrices of all pairs, metrics counted in float32."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        boxes, truth = matched_boxes(outputs, targets, pairs)
        apart = torch.cdist(boxes, truth, p=1).diag().double().sum() / num_boxes
        overlap = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(truth)).diag()
        losses["loss_bbox"] = apart.to(boxes)
        losses["loss_giou"] = ((1 - overlap).double().sum() / num_boxes).to(boxes)
        return losses | {"cardinality_error": losses["cardinality_error"].float()}


RIGHT: dict[str, tuple[Profile, Factory]] = {
    "usual cross-entropy": (DETR, softmax(UsualCrossEntropy)),
    "late subtraction": (DETR, softmax(LateSubtraction)),
    "whole pictures": (DETR, softmax(WholePictures)),
    "other ties": (DETR, softmax(SetCriterion, matching_by(BackToFront))),
    "hidden": (DETR, hidden(softmax(UsualCrossEntropy))),
    "usual focal": (DEFORMABLE, focal(UsualFocal)),
    "softplus focal": (DEFORMABLE, focal(SoftplusFocal)),
    "hidden focal": (DEFORMABLE, hidden(focal(UsualFocal))),
}


@pytest.mark.parametrize("name", RIGHT)
def test_another_right_criterion_is_not_accused(name: str, failing: Failing) -> None:
    profile, factory = RIGHT[name]
    assert failing(subject(factory, profile), [item.id for item in INVARIANTS], FEWER) == set()


class PlainMean(SetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        return cross_entropy(logits.transpose(1, 2), query_classes)


class MeanOverQueries(SetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        weights = torch.where(query_classes == self.num_classes, self.eos_coef, 1.0).to(logits)
        return super().classification_loss(logits, query_classes, num_boxes) * weights.mean()


class FirstClassWeighted(SetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        weight = torch.ones(self.num_logits).to(logits)
        weight[0] = self.eos_coef
        return cross_entropy(logits.transpose(1, 2), query_classes, weight)


class FixedWeight(SetCriterion):
    def __init__(self, num_classes: int, matcher: Any, weights: Any, eos_coef: float, losses: Any) -> None:
        super().__init__(num_classes, matcher, weights, 0.125, losses)


class SwappedAlpha(FocalSetCriterion):
    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        self.focal_alpha, alpha = 1 - self.focal_alpha, self.focal_alpha
        loss = super().classification_loss(logits, query_classes, num_boxes)
        self.focal_alpha = alpha
        return loss


class SoftmaxLoss(FocalSetCriterion):
    """The loss that transformers PR 19644 took away from Deformable DETR, as far as its columns go."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        return cross_entropy(logits.transpose(1, 2), query_classes.clamp(max=self.num_classes - 1))


class Rewritten(SetCriterion):
    """A criterion whose losses of a layer are written over, given the matched boxes and their targets."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        boxes, truth = matched_boxes(outputs, targets, pairs)
        return losses | self.rewrite(losses, boxes, truth, num_boxes)

    def rewrite(self, losses: Losses, boxes: Tensor, truth: Tensor, num_boxes: float) -> Losses:
        return losses


class MeanOverCoordinates(Rewritten):
    def rewrite(self, losses: Losses, boxes: Tensor, truth: Tensor, num_boxes: float) -> Losses:
        return {"loss_bbox": losses["loss_bbox"] / 4}


class CornerDistance(Rewritten):
    def rewrite(self, losses: Losses, boxes: Tensor, truth: Tensor, num_boxes: float) -> Losses:
        apart = (box_cxcywh_to_xyxy(boxes) - box_cxcywh_to_xyxy(truth)).abs()
        return {"loss_bbox": apart.sum() / num_boxes}


class MixedFormats(Rewritten):
    def rewrite(self, losses: Losses, boxes: Tensor, truth: Tensor, num_boxes: float) -> Losses:
        return {"loss_bbox": (boxes - box_cxcywh_to_xyxy(truth)).abs().sum() / num_boxes}


class PlainIoU(Rewritten):
    def rewrite(self, losses: Losses, boxes: Tensor, truth: Tensor, num_boxes: float) -> Losses:
        overlap = box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(truth))[0].diag()
        return {"loss_giou": (1 - overlap).sum() / num_boxes}


def epsilon(amount: float) -> type[Rewritten]:
    class WithEpsilon(Rewritten):
        def rewrite(self, losses: Losses, boxes: Tensor, truth: Tensor, num_boxes: float) -> Losses:
            first, second = box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(truth)
            low, high = torch.minimum(first, second)[:, :2], torch.maximum(first, second)[:, 2:]
            inner = torch.minimum(first, second)[:, 2:] - torch.maximum(first, second)[:, :2]
            area, other = boxes[:, 2] * boxes[:, 3], truth[:, 2] * truth[:, 3]
            intersection, enclosing = inner.clamp(min=0).prod(1), (high - low).prod(1)
            union = area + other - intersection
            overlap = intersection / (union + amount) - (enclosing - union) / (enclosing + amount)
            return {"loss_giou": (1 - overlap).sum() / num_boxes}

    return WithEpsilon


class CountsMatches(Rewritten):
    def rewrite(self, losses: Losses, boxes: Tensor, truth: Tensor, num_boxes: float) -> Losses:
        factor = num_boxes / max(len(boxes), 1)
        return {name: losses[name] * factor for name in ("loss_bbox", "loss_giou")}


class MeanOverNothing(Rewritten):
    def rewrite(self, losses: Losses, boxes: Tensor, truth: Tensor, num_boxes: float) -> Losses:
        return {"loss_bbox": (boxes - truth).abs().sum(1).mean()} if len(boxes) == 0 else {}


class PerImageMean(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        single = [
            super(PerImageMean, self).forward(
                {name: outputs[name][image : image + 1] for name in ("pred_logits", "pred_boxes")}, [target]
            )
            for image, target in enumerate(targets)
        ]
        boxes = {n: torch.stack([part[n] for part in single]).mean() for n in ("loss_bbox", "loss_giou")}
        return super().forward(outputs, targets) | boxes


class CountOfFirstImage(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        factor = max(sum(len(target["labels"]) for target in targets), 1) / max(len(targets[0]["labels"]), 1)
        return losses | {name: losses[name] * factor for name in ("loss_bbox", "loss_giou")}


class SkipsEmptyImages(SetCriterion):
    """Empty images are left out of the list of pairs, so later images are taken for earlier ones."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        empty = [pair for pair in pairs if len(pair[0]) == 0]
        filled = [pair for pair in pairs if len(pair[0])]
        targets = sorted(targets, key=lambda target: len(target["labels"]) == 0)
        return super()._layer_losses(outputs, targets, filled + empty, num_boxes)


class FailsOnEmptyImages(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        for target in targets:
            target["labels"].max()
        return super().forward(outputs, targets)


class CountsNoObject(SetCriterion):
    def detected(self, logits: Tensor) -> Tensor:
        return ~super().detected(logits)


class LastClassIsNothing(FocalSetCriterion):
    """Deformable-DETR issue 24: argmax ≠ last, though the last column is a class."""

    def detected(self, logits: Tensor) -> Tensor:
        return logits.argmax(-1) != logits.shape[-1] - 1


class SidesForCentres(SetCriterion):
    """The two parts of the distance have each other's names."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        boxes, truth = matched_boxes(outputs, targets, pairs)
        distances = (boxes - truth).detach().abs()
        parts = {"loss_xy": distances[:, 2:].sum() / num_boxes, "loss_hw": distances[:, :2].sum() / num_boxes}
        return super()._layer_losses(outputs, targets, pairs, num_boxes) | parts


class ForegroundAccuracy(SetCriterion):
    def _class_error(self, outputs: Any, targets: Any, pairs: Any) -> Tensor:
        foreground = {"pred_logits": outputs["pred_logits"][..., :-1]}
        return super()._class_error(foreground, targets, pairs)


class Fraction(SetCriterion):
    def _class_error(self, outputs: Any, targets: Any, pairs: Any) -> Tensor:
        return super()._class_error(outputs, targets, pairs) / 100


class NothingOverNothing(SetCriterion):
    def _class_error(self, outputs: Any, targets: Any, pairs: Any) -> Tensor:
        error = super()._class_error(outputs, targets, pairs)
        return error if sum(len(queries) for queries, _ in pairs) else error * torch.nan


class OtherName(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        losses["loss_class"] = losses.pop("loss_ce")
        return losses


class WithTotal(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | {"loss": self.total(losses)}


class FirstImageForAll(HungarianMatcher):
    """detr issue 330: image 0's predictions in every cost block."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        first = {name: outputs[name][:1].expand_as(outputs[name]) for name in ("pred_logits", "pred_boxes")}
        return super().forward(first, targets)


def default_weights(configuration: Configuration) -> HungarianMatcher:
    return HungarianMatcher(1, 1, 1)


PARTS_OF_BOXES = replace(DETR, keys=Keys(box_centre="loss_xy", box_size="loss_hw"))

DEFECTS: dict[str, tuple[Profile, Factory, set[str]]] = {
    "no object at K − 1": (DETR, softmax(LastClassIsNoObject), {"criterion.classification-value"}),
    "unweighted cross-entropy": (
        DETR,
        softmax(PlainMean),
        {"criterion.classification-value", "criterion.no-object-weight"},
    ),
    "divided by the number of queries": (
        DETR,
        softmax(MeanOverQueries),
        {"criterion.classification-value", "criterion.no-object-weight"},
    ),
    "eos_coef on class 0": (
        DETR,
        softmax(FirstClassWeighted),
        {"criterion.classification-value", "criterion.no-object-weight"},
    ),
    "eos_coef fixed": (
        DETR,
        softmax(FixedWeight),
        {"criterion.classification-value", "criterion.no-object-weight"},
    ),
    "α and 1 − α swapped": (DEFORMABLE, focal(SwappedAlpha), {"criterion.classification-value"}),
    "softmax loss of sigmoids": (DEFORMABLE, focal(SoftmaxLoss), {"criterion.classification-value"}),
    "mean over coordinates": (DETR, softmax(MeanOverCoordinates), {"criterion.l1-value"}),
    "distance of corners": (DETR, softmax(CornerDistance), {"criterion.l1-value"}),
    "mixed formats": (DETR, softmax(MixedFormats), {"criterion.l1-value", "criterion.perfect-boxes"}),
    "IoU for GIoU": (DETR, softmax(PlainIoU), {"criterion.giou-value"}),
    "undeclared epsilon": (DETR, softmax(epsilon(1e-6)), {"criterion.giou-value", "criterion.perfect-boxes"}),
    "matches counted": (DETR, softmax(CountsMatches), {"criterion.denominator"}),
    "mean over nothing": (DETR, softmax(MeanOverNothing), {"criterion.empty-batch"}),
    "mean over images": (DETR, softmax(PerImageMean), {"criterion.additive-over-images"}),
    "count of the first image": (
        DETR,
        softmax(CountOfFirstImage),
        {"criterion.additive-over-images", "criterion.batch-twice", "criterion.l1-value"},
    ),
    "empty images skipped": (DETR, softmax(SkipsEmptyImages), {"criterion.empty-images"}),
    "an exception for empty images": (
        DETR,
        softmax(FailsOnEmptyImages),
        {"criterion.empty-images", "criterion.empty-batch", "criterion.class-error-nothing-matched"},
    ),
    "no object counted": (DETR, softmax(CountsNoObject), {"criterion.cardinality-value"}),
    "last class not counted": (DEFORMABLE, focal(LastClassIsNothing), {"criterion.cardinality-value"}),
    "sides for centres": (PARTS_OF_BOXES, softmax(SidesForCentres), {"criterion.box-metrics"}),
    "accuracy of the foreground": (DETR, softmax(ForegroundAccuracy), {"criterion.class-error-value"}),
    "a fraction for a percentage": (
        DETR,
        softmax(Fraction),
        {"criterion.class-error-value", "criterion.class-error-nothing-matched"},
    ),
    "0/0 for the class error": (DETR, softmax(NothingOverNothing), {"criterion.class-error-nothing-matched"}),
    "another name": (DETR, softmax(OtherName), {"criterion.keys", "criterion.classification-value"}),
    "another total": (DETR, softmax(WithTotal), {"criterion.keys"}),
    "image 0 for all": (DETR, softmax(SetCriterion, matching_by(FirstImageForAll)), {"criterion.optimal-matching"}),
    "other cost weights": (DETR, softmax(SetCriterion, default_weights), {"criterion.optimal-matching"}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    profile, factory, expected = DEFECTS[name]
    assert failing(subject(factory, profile), expected, EXAMPLES) == expected


@pytest.mark.parametrize("name", ["no object at K − 1", "unweighted cross-entropy", "mean over coordinates"])
def test_a_defect_is_seen_without_the_matching(name: str, failing: Failing) -> None:
    profile, factory, expected = DEFECTS[name]
    assert failing(subject(hidden(factory), profile), expected, EXAMPLES) == expected


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["mean over coordinates", "matches counted", "no object counted", "another total"])
def test_a_defect_is_accused_by_nothing_else_about_values(name: str, failing: Failing) -> None:
    """Its gradients, its values over ranks and in large batches are wrong, too, and are accused elsewhere."""
    profile, factory, expected = DEFECTS[name]
    asked = {item.id for item in all_invariants() if item.component in ("matcher", "criterion", "auxiliary")}
    others = asked - {"criterion.large-sizes", "auxiliary.many-layers"}
    assert failing(subject(factory, profile), others, examples=10) == expected


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, _, expected in DEFECTS.values())) == {item.id for item in INVARIANTS}


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("undeclared epsilon", replace(DETR, boxes=BoxRules(iou_epsilon=1e-6, giou_epsilon=1e-6))),
        ("matches counted", replace(DETR, denominator="matches")),
        ("sides for centres", replace(DETR, keys=Keys(box_centre="loss_hw", box_size="loss_xy"))),
        ("another name", replace(DETR, keys=Keys(classification="loss_class"))),
        ("last class not counted", replace(DEFORMABLE, cardinality="argmax-is-not-last")),
    ],
)
def test_what_the_profile_declares_is_no_defect(name: str, profile: Profile, failing: Failing) -> None:
    _, factory, accusing = DEFECTS[name]
    assert failing(subject(factory, profile), accusing, EXAMPLES) == set()


def test_a_fixed_weight_is_not_asked_to_vary() -> None:
    fixed = subject(softmax(FixedWeight), limits=Limits(fixed={"class_loss.eos_coef": 0.125}))
    assert judged("criterion.no-object-weight", fixed, 20).verdict is Verdict.NOT_PROVIDED


def test_optimality_is_not_asked_of_a_hidden_matching() -> None:
    unseen = subject(hidden(softmax(SetCriterion)))
    assert judged("criterion.optimal-matching", unseen, 5).verdict is Verdict.NOT_PROVIDED


def test_metrics_that_a_dialect_does_not_report_are_not_asked_for() -> None:
    profile = replace(DETR, keys=Keys(class_error=None, cardinality=None))
    silent = {item.id for item in INVARIANTS if not item.applies(profile)}
    assert silent == {
        "criterion.box-metrics",
        "criterion.cardinality-value",
        "criterion.class-error-value",
        "criterion.class-error-nothing-matched",
    }
