"""The invariants of gradients: right criteria are never accused, defects by their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from judging import Failing, judged, own_invariants, share_fired, share_fired_where_it_applies
from subjects import Losses, focal, hidden, matched_boxes, softmax, subject
from torch import Tensor
from torch.nn import functional

from detr_conformance import torch_implementation
from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_reference import (
    FocalSetCriterion,
    SetCriterion,
    box_cxcywh_to_xyxy,
    generalized_box_iou,
)
from detr_reference.batch import matched_queries, matched_targets
from detr_reference.boxes import upcast_half
from detr_reference.masks import pad_masks
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Invariant
from detr_spec.invariants import find_invariants
from detr_spec.profiles import DEFORMABLE, DETR, PROFILES
from detr_spec.terms import BoxL1, CrossEntropy

INVARIANTS = tuple(item for item in own_invariants("gradients") if any(map(item.applies, PROFILES.values())))
LEARNABILITY = "gradients.learnability"
QUICK = [item.id for item in INVARIANTS if item.id != LEARNABILITY]
EXAMPLES = 30
FEWER = 15


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
def test_it_holds_on_the_reference_and_is_no_empty_word(invariant: Invariant, reference: Implementation) -> None:
    share = share_fired_where_it_applies(invariant.id, reference, EXAMPLES)
    assert share is None or share >= 0.5


def replaced(criterion: type[SetCriterion], **terms: Callable[[Losses], Tensor]) -> type[SetCriterion]:
    """A criterion whose named losses, in every layer, are made from what they were."""

    class Replaced(criterion):  # type: ignore[misc, valid-type]
        def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
            losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
            return losses | {name: make(losses) for name, make in terms.items()}

    return Replaced


class Straight(torch.autograd.Function):
    """The value of its first argument, with the gradient of the second."""

    @staticmethod
    def forward(context: Any, value: Tensor, slope: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def with_slope_of(value: Tensor, slope: Tensor) -> Tensor:
    """`value`, differentiated as if it were `slope`."""
    return Straight.apply(value.detach(), slope)


class Diagonal(SetCriterion):
    """The usual way: all pairs' GIoU, then the diagonal; cross-entropy in one call."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        boxes, truth = matched_boxes(outputs, targets, pairs)
        giou = torch.diag(generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(truth)))
        weights = outputs["pred_logits"].new_ones(self.num_logits)
        weights[-1] = self.eos_coef
        classes = self._query_classes(outputs["pred_logits"], targets, pairs)
        return losses | {
            "loss_giou": (1 - giou).sum() / num_boxes,
            "loss_bbox": functional.l1_loss(boxes, truth, reduction="none").sum() / num_boxes,
            "loss_ce": functional.cross_entropy(outputs["pred_logits"].transpose(1, 2), classes, weights),
        }


class Torchvision(FocalSetCriterion):
    """The focal loss from the cross-entropy with logits and p_t."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        hit = (query_classes[..., None] == torch.arange(self.num_classes)).to(logits.dtype)
        p = logits.sigmoid()
        loss = functional.binary_cross_entropy_with_logits(logits, hit, reduction="none")
        loss = loss * (1 - (p * hit + (1 - p) * (1 - hit))) ** self.focal_gamma
        return (loss * (self.focal_alpha * hit + (1 - self.focal_alpha) * (1 - hit))).sum() / num_boxes


class OtherWays(SetCriterion):
    """Corners from the near one and the side, GIoU = I/U + U/E − 1, log Σ exp, each pair divided before the sum."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        boxes, truth = matched_boxes(outputs, targets, pairs)
        (low, high), (other_low, other_high) = (
            (near, near + part[:, 2:]) for part in (boxes, truth) for near in [part[:, :2] - 0.5 * part[:, 2:]]
        )
        sides = upcast_half(torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp(min=0)
        outer = upcast_half(torch.maximum(high, other_high) - torch.minimum(low, other_low))
        inner, enclosing, own, other = (
            part.prod(dim=1) for part in (sides, outer, *map(upcast_half, (boxes[:, 2:], truth[:, 2:])))
        )
        union = own + other - inner
        logits = outputs["pred_logits"]
        classes = self._query_classes(logits, targets, pairs)
        weights = torch.where(classes == self.num_classes, self.eos_coef, 1.0).to(logits.dtype)
        surprise = logits.logsumexp(dim=-1) - logits.gather(-1, classes[..., None])[..., 0]
        return losses | {
            "loss_giou": ((2 - inner / union - union / enclosing) / num_boxes).sum(),
            "loss_bbox": ((boxes - truth).abs() / num_boxes).sum(),
            "loss_ce": (surprise * (weights / weights.sum())).sum(),
        }


class MatchedInSingle(OtherWays):
    """Matches in float32, and computes the losses in the dtype that it is given."""

    def _match(self, outputs: Any, targets: Any) -> Any:
        def single(values: Any) -> Any:
            return {name: value.float() if value.is_floating_point() else value for name, value in values.items()}

        return super()._match(
            single({name: outputs[name] for name in ("pred_logits", "pred_boxes")}), [*map(single, targets)]
        )


NOT_ACCUSED: dict[str, Implementation] = {
    "the usual calls": subject(softmax(Diagonal)),
    "other ways": subject(softmax(OtherWays)),
    "the usual focal loss": subject(focal(Torchvision), DEFORMABLE),
    "in half precision": replace(
        subject(softmax(MatchedInSingle)), limits=Limits(dtypes=("bfloat16", "float16", "autocast"))
    ),
    "hidden": subject(hidden(softmax(SetCriterion))),
    "hidden focal": subject(hidden(focal(FocalSetCriterion)), DEFORMABLE),
}


@pytest.mark.parametrize("name", NOT_ACCUSED)
def test_a_right_criterion_is_not_accused(name: str, failing: Failing) -> None:
    assert failing(NOT_ACCUSED[name], QUICK, FEWER) == set()


class DetachedFactor(FocalSetCriterion):
    """(1 − p)^γ as a constant weight."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        value = super().classification_loss(logits, query_classes, num_boxes)
        hit = (query_classes[..., None] == torch.arange(self.num_classes)).to(logits.dtype)
        factor = (hit - logits.sigmoid()).abs().detach() ** self.focal_gamma
        loss = functional.binary_cross_entropy_with_logits(logits, hit, reduction="none") * factor
        return with_slope_of(
            value, (loss * (self.focal_alpha * hit + (1 - self.focal_alpha) * (1 - hit))).sum() / num_boxes
        )


class DetachedEnclosing(SetCriterion):
    """The enclosing box as a constant."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        boxes, truth = map(box_cxcywh_to_xyxy, matched_boxes(outputs, targets, pairs))
        low, high = torch.minimum(boxes[:, :2], truth[:, :2]), torch.maximum(boxes[:, 2:], truth[:, 2:])
        enclosing = (high - low).prod(dim=1).detach()
        inner = (torch.minimum(boxes[:, 2:], truth[:, 2:]) - torch.maximum(boxes[:, :2], truth[:, :2])).clamp(min=0)
        areas = [(corners[:, 2:] - corners[:, :2]).prod(dim=1) for corners in (boxes, truth)]
        union = areas[0] + areas[1] - inner.prod(dim=1)
        slope = (1 - inner.prod(dim=1) / union + (enclosing - union) / enclosing).sum() / num_boxes
        return losses | {"loss_giou": with_slope_of(losses["loss_giou"], slope)}


class NoObjectWeightForgotten(SetCriterion):
    """The no-object weight is in the value alone."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        value = super().classification_loss(logits, query_classes, num_boxes)
        return with_slope_of(value, functional.cross_entropy(logits.transpose(1, 2), query_classes))


class SoftMatching(SetCriterion):
    """The boxes pull at the classification loss, which they weigh by how well they match; its value is right."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        fit = (-losses["loss_bbox"]).exp()
        return losses | {"loss_ce": losses["loss_ce"] * (fit / fit.detach())}


class AllQueries(SetCriterion):
    """Every box is drawn towards the image's centre, by a gradient that no loss has."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        boxes = outputs["pred_boxes"]
        drawn = (boxes - 0.5).abs().sum()
        return losses | {"loss_bbox": losses["loss_bbox"] + (drawn - drawn.detach()) * 1e-3}


class ConstantsWithoutObjects(SetCriterion):
    """Without objects, the box losses are numbers outside the graph."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        if any(len(queries) for queries, _ in pairs):
            return losses
        zero = outputs["pred_logits"].new_zeros(())
        return losses | {"loss_bbox": zero, "loss_giou": zero}


class LogOfSoftmax(SetCriterion):
    """log(softmax(z)), which is −∞ where the probability underflows."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        value = super().classification_loss(logits, query_classes, num_boxes)
        weights = logits.new_ones(self.num_logits)
        weights[self.num_classes] = self.eos_coef
        chosen = logits.softmax(dim=-1).log().gather(-1, query_classes[..., None])[..., 0]
        slope = -(chosen * weights[query_classes]).sum() / weights[query_classes].sum()
        return with_slope_of(value, slope)


def hooked(change: Callable[[Tensor], Tensor], of: str) -> type[SetCriterion]:
    """A criterion that changes the gradient of the last layer's logits or boxes on its way out."""

    class Hooked(SetCriterion):
        def forward(self, outputs: Any, targets: Any) -> Losses:
            passed = outputs[of] * 1.0
            if passed.requires_grad:
                passed.register_hook(change)
            return super().forward({**outputs, of: passed}, targets)

    return Hooked


class UnmatchedLogitsDetached(SetCriterion):
    """Queries without a target enter the value of loss_ce, and not its graph."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        logits = outputs["pred_logits"]
        matched = torch.zeros(logits.shape[:2], dtype=torch.bool)
        matched[matched_queries(pairs)] = True
        kept = torch.where(matched[..., None], logits, logits.detach())
        return super()._layer_losses({**outputs, "pred_logits": kept}, targets, pairs, num_boxes)


class DetachedAuxiliary(SetCriterion):
    """The auxiliary losses are computed from copies."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        auxiliary = [
            {name: value.detach() for name, value in layer.items()} for layer in outputs.get("aux_outputs", [])
        ]
        return super().forward({**outputs, "aux_outputs": auxiliary}, targets)


class RewrittenMasks(SetCriterion):
    """Mask losses from the logarithms of sigmoids, on detached probabilities where that is said."""

    factor_detached = denominator_detached = False

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        if "masks" not in self.losses:
            return losses
        pairs = self._match(outputs, targets)
        truth = matched_targets(pad_masks([target["masks"] for target in targets]), pairs)
        predicted = outputs["pred_masks"][matched_queries(pairs)][:, None]
        logits = functional.interpolate(predicted, truth.shape[-2:], mode="bilinear").flatten(1)
        truth, p = truth.flatten(1).to(logits.dtype), logits.sigmoid()
        factors = [functional.logsigmoid(-logits).exp(), functional.logsigmoid(logits).exp()]
        if self.factor_detached:
            factors = [factor.detach() for factor in factors]
        focal = -0.25 * truth * factors[0] ** 2 * functional.logsigmoid(logits)
        focal = focal - 0.75 * (1 - truth) * factors[1] ** 2 * functional.logsigmoid(-logits)
        sides = p.sum(1) + truth.sum(1) + 1
        dice = 1 - (2 * (p * truth).sum(1) + 1) / (sides.detach() if self.denominator_detached else sides)
        count = max(sum(len(target["labels"]) for target in targets), 1)
        return losses | {"loss_mask": focal.mean(1).sum() / count, "loss_dice": dice.sum() / count}


class MaskFactorDetached(RewrittenMasks):
    factor_detached = True


class DiceDenominatorDetached(RewrittenMasks):
    denominator_detached = True


def masked(kind: type[SetCriterion]) -> Implementation:
    """A subject with mask losses."""
    return replace(
        torch_implementation(name="masked", profile=DETR, criterion=softmax(kind), masks=softmax(kind)), criterion=None
    )


class PullOnAllMasks(SetCriterion):
    """Masks of queries without a target move, without a change of the loss."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        if "masks" in self.losses:
            total = outputs["pred_masks"].sum()
            losses["loss_dice"] = losses["loss_dice"] + total - total.detach()
        return losses


@pytest.mark.parametrize("kind", [RewrittenMasks, SetCriterion])
def test_right_mask_gradients_are_not_accused(kind: type[SetCriterion], failing: Failing) -> None:
    assert failing(masked(kind), [MASKS], 2 * EXAMPLES) == set()


def test_without_mask_losses_their_gradients_are_not_provided() -> None:
    assert judged(MASKS, subject(softmax(SetCriterion)), 2).verdict is Verdict.NOT_PROVIDED


class GraphKept(SetCriterion):
    """A running loss hangs on the graphs of all calls before, at no cost."""

    running: Tensor | float = 0.0

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        kept, self.running = self.running, self.running + losses["loss_bbox"]
        return losses | {"loss_bbox": losses["loss_bbox"] + 0 * kept}


class ScaleKept(SetCriterion):
    """A factor of the gradient that grows with every call."""

    calls = 0

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        self.calls += 1
        return losses | {"loss_ce": with_slope_of(losses["loss_ce"], self.calls * losses["loss_ce"])}


class OtherInEvaluation(SetCriterion):
    """A factor of the gradient in evaluation mode."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        factor = 1 if self.training else 2
        return losses | {"loss_ce": with_slope_of(losses["loss_ce"], factor * losses["loss_ce"])}


def doubled(losses: Losses) -> Tensor:
    return with_slope_of(losses["loss_bbox"], 2 * losses["loss_bbox"])


CE, L1, GIOU, TOTAL = (f"gradients.{name}" for name in ("classification", "box-l1", "box-giou", "weighted-total"))
APART, CONNECTED = "gradients.none-through-matching", "gradients.every-prediction-connected"
BOXES_ZERO, LOGITS_NOT_ZERO = "gradients.unmatched-boxes-zero", "gradients.unmatched-logits-not-zero"
SUM, FINITE, DESCENT = "gradients.logits-sum-to-zero", "gradients.finite-when-saturated", "gradients.descent"
AGAIN, WAYS = "gradients.repeatable", "gradients.ways-of-calling"

MASKS = "gradients.masks"

DEFECTS: dict[str, tuple[Implementation, set[str]]] = {
    "mask focal factor detached": (masked(MaskFactorDetached), {MASKS}),
    "dice denominator detached": (masked(DiceDenominatorDetached), {MASKS}),
    "a pull on all masks": (masked(PullOnAllMasks), {MASKS}),
    "L1 detached": (
        subject(softmax(replaced(SetCriterion, loss_bbox=lambda losses: losses["loss_bbox"].detach()))),
        {L1, TOTAL},
    ),
    "GIoU detached": (
        subject(softmax(replaced(SetCriterion, loss_giou=lambda losses: losses["loss_giou"].detach()))),
        {GIOU, TOTAL},
    ),
    "enclosing box detached": (subject(softmax(DetachedEnclosing)), {GIOU, TOTAL}),
    "focal factor detached": (subject(focal(DetachedFactor), DEFORMABLE), {CE, TOTAL}),
    "L1 doubled": (subject(softmax(replaced(SetCriterion, loss_bbox=doubled))), {L1, TOTAL}),
    "no-object weight forgotten": (subject(softmax(NoObjectWeightForgotten)), {CE, TOTAL}),
    "a soft matching": (subject(softmax(SoftMatching)), {APART, TOTAL, DESCENT}),
    "a pull on all boxes": (subject(softmax(AllQueries)), {L1, TOTAL, BOXES_ZERO}),
    "constants without objects": (subject(softmax(ConstantsWithoutObjects)), {CONNECTED}),
    "log of softmax": (subject(softmax(LogOfSoftmax)), {CE, TOTAL, SUM, FINITE}),
    "boxes' sign flipped": (
        subject(softmax(hooked(torch.neg, "pred_boxes"))),
        {L1, GIOU, TOTAL, DESCENT},
    ),
    "logits of unmatched queries detached": (subject(softmax(UnmatchedLogitsDetached)), {CE, TOTAL, LOGITS_NOT_ZERO}),
    "auxiliary outputs detached": (
        subject(softmax(DetachedAuxiliary)),
        {CE, L1, GIOU, TOTAL, CONNECTED, LOGITS_NOT_ZERO},
    ),
    "logits clipped": (
        subject(softmax(hooked(lambda gradient: gradient.clamp(-0.1, 0.1), "pred_logits"))),
        {CE, TOTAL, SUM},
    ),
    "boxes clipped": (subject(softmax(hooked(lambda gradient: gradient.clamp(-4, 4), "pred_boxes"))), {GIOU, TOTAL}),
    "a graph that is kept": (subject(softmax(GraphKept)), {AGAIN}),
    "a scale that is kept": (subject(softmax(ScaleKept)), {AGAIN, WAYS}),
    "another scale in evaluation": (subject(softmax(OtherInEvaluation)), {WAYS}),
    "a drift of logits": (subject(softmax(hooked(lambda gradient: gradient + 1e-4, "pred_logits"))), {CE, TOTAL, SUM}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    defective, expected = DEFECTS[name]
    assert failing(defective, expected, EXAMPLES, expected) == expected


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_no_other(name: str, failing: Failing) -> None:
    defective, expected = DEFECTS[name]
    assert failing(defective, QUICK, EXAMPLES, expected) == expected


@pytest.mark.parametrize("name", ["boxes' sign flipped", "the next query's boxes"])
def test_what_points_elsewhere_does_not_learn(name: str, failing: Failing) -> None:
    unlearnable = {
        "boxes' sign flipped": hooked(torch.neg, "pred_boxes"),
        "the next query's boxes": hooked(lambda gradient: gradient.roll(1, dims=1), "pred_boxes"),
    }
    assert failing(subject(softmax(unlearnable[name])), [LEARNABILITY], 1) == {LEARNABILITY}


def test_learning_is_not_asked_of_losses_under_which_small_boxes_settle_late() -> None:
    (learnability,) = find_invariants(LEARNABILITY)
    assert learnability.applies(DETR)
    assert not learnability.applies(replace(DETR, overlap_loss=BoxL1()))


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_learning_is_judged_in_a_dtype_that_is_fine_enough_if_there_is_one(dtypes: tuple[str, ...]) -> None:
    assert share_fired(LEARNABILITY, subject(softmax(SetCriterion), limits=Limits(dtypes=dtypes)), 1) == 1
    narrow = subject(softmax(SetCriterion), limits=Limits(dtypes=("bfloat16",)))
    assert judged(LEARNABILITY, narrow, 1).verdict is Verdict.VACUOUS


@pytest.mark.parametrize(
    "open_weights",
    [
        {"cost_weights": (1.0, 0.0, 0.0)},
        {"cost_weights": (8.0, 0.25, 0.5)},
        {"loss_weights": (1.0, 0.0, 2.0)},
        {"loss_weights": (1.0, 0.5, 8.0)},
        {"class_loss": CrossEntropy(eos_coef=0.0)},
    ],
    ids=str,
)
def test_learning_is_not_asked_where_the_weights_leave_the_optimum_open(open_weights: Any) -> None:
    assert judged(LEARNABILITY, subject(softmax(), replace(DETR, **open_weights)), 1).verdict is Verdict.VACUOUS


def test_gradients_of_a_mean_without_weights_are_not_asked_for(failing: Failing) -> None:
    unweighted = subject(softmax(), replace(DETR, class_loss=CrossEntropy(eos_coef=0.0)))
    among = ["gradients.logits-sum-to-zero", "gradients.finite-when-saturated"]
    assert failing(unweighted, among, EXAMPLES) == set()


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, expected in DEFECTS.values())) == set(QUICK)
