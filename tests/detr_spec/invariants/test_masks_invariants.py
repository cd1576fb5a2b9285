"""The invariants of mask losses: right criteria are never accused, defects by their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from judging import Failing, own_invariants, share_fired
from subjects import BackToFront, Factory, Losses, focal, hidden, matching_by, softmax
from torch import Tensor
from torch.nn import functional as F

from detr_conformance import torch_implementation
from detr_conformance.implementations.reference import IMPLEMENTATIONS, detr_matcher
from detr_reference import FocalSetCriterion, HungarianMatcher, SetCriterion
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants
from detr_spec.profile import Keys, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR

INVARIANTS = own_invariants("masks")
OTHERS = {item.id for item in all_invariants() if item.component == "masks"} - {"masks.large-sizes"}
"""But for what asks whether the definitions hold for large masks, too."""
EXAMPLES = 30
FEWER = 10


def subject(masks: Factory, profile: Profile = DETR) -> Implementation:
    return torch_implementation(name="subject", profile=profile, masks=masks)


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
def test_it_holds_on_the_reference_and_is_no_empty_word(invariant: Invariant, reference: Implementation) -> None:
    assert share_fired(invariant.id, reference, EXAMPLES * invariant.cost) > 0.4


class Rewritten(SetCriterion):
    """Mask losses written once more; each step is one that a defect can replace."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | self.of_masks(outputs, targets)

    def of_masks(self, outputs: Any, targets: Any) -> Losses:
        pairs = self.pairs(outputs, targets)
        masks = [target["masks"][indices] for target, (_, indices) in zip(targets, pairs, strict=True)]
        height, width = self.size(masks)
        truth = torch.cat([self.padded(mask, height, width) for mask in masks])
        self.inside = torch.cat([self.padded(mask | True, height, width) for mask in masks]).flatten(1)
        predicted = [outputs["pred_masks"][image, queries] for image, (queries, _) in enumerate(pairs)]
        logits = self.resized(torch.cat(predicted), height, width).flatten(1)
        truth, count = truth.flatten(1).to(logits), self.count(outputs, targets)
        return {
            "loss_mask": self.focal(logits, truth).sum() / count,
            "loss_dice": self.dice(logits.sigmoid(), truth).sum() / count,
        }

    def size(self, masks: Sequence[Tensor]) -> tuple[int, int]:
        return max(mask.shape[1] for mask in masks), max(mask.shape[2] for mask in masks)

    def pairs(self, outputs: Any, targets: Any) -> Any:
        return self._match(outputs, targets)

    def padded(self, masks: Tensor, height: int, width: int) -> Tensor:
        return F.pad(masks, (0, width - masks.shape[2], 0, height - masks.shape[1]))

    def resized(self, masks: Tensor, height: int, width: int) -> Tensor:
        return F.interpolate(masks[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]

    def terms(self, logits: Tensor, truth: Tensor) -> Tensor:
        p = logits.sigmoid()
        right = p * truth + (1 - p) * (1 - truth)
        surprise = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return (0.25 * truth + 0.75 * (1 - truth)) * (1 - right) ** 2 * surprise

    def focal(self, logits: Tensor, truth: Tensor) -> Tensor:
        return self.terms(logits, truth).mean(1)

    def dice(self, p: Tensor, truth: Tensor) -> Tensor:
        return 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)

    def count(self, outputs: Any, targets: Any) -> float:
        return max(sum(len(target["labels"]) for target in targets), 1)


class OtherNames(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        outputs = {"pred_masks": outputs["segments"], **outputs}
        targets = [{"masks": target["segments"], **target} for target in targets]
        losses = super().forward(outputs, targets)
        return {name.replace("loss_mask", "focal").replace("loss_dice", "overlap"): x for name, x in losses.items()}


NAMES = Keys(masks="segments", target_masks="segments", mask="focal", dice="overlap")

NOT_ACCUSED: dict[str, Implementation] = {
    "written once more": subject(softmax(Rewritten)),
    "written once more, hidden": subject(hidden(softmax(Rewritten))),
    "other ties": subject(softmax(SetCriterion, matching_by(BackToFront))),
    "hidden focal": subject(hidden(focal(FocalSetCriterion)), DEFORMABLE),
    "other names": subject(softmax(OtherNames), replace(DETR, keys=NAMES)),
}


@pytest.mark.parametrize("name", NOT_ACCUSED)
def test_a_criterion_with_right_mask_losses_is_not_accused(name: str, failing: Failing) -> None:
    assert failing(NOT_ACCUSED[name], examples=FEWER) == set()


class Corners(Rewritten):
    def resized(self, masks: Tensor, height: int, width: int) -> Tensor:
        return F.interpolate(masks[:, None], size=(height, width), mode="bilinear", align_corners=True)[:, 0]


class Nearest(Rewritten):
    def resized(self, masks: Tensor, height: int, width: int) -> Tensor:
        return F.interpolate(masks[:, None], size=(height, width), mode="nearest")[:, 0]


class ResizedProbabilities(Rewritten):
    """Probabilities in place of logits are upsampled."""

    def resized(self, masks: Tensor, height: int, width: int) -> Tensor:
        return torch.logit(super().resized(masks.sigmoid(), height, width), eps=1e-6)


class Transposed(Rewritten):
    def resized(self, masks: Tensor, height: int, width: int) -> Tensor:
        return super().resized(masks.transpose(1, 2), height, width)


class ResizedTargets(Rewritten):
    """Targets are made as small as predictions."""

    def of_masks(self, outputs: Any, targets: Any) -> Losses:
        self.small = outputs["pred_masks"].shape[2:]
        return super().of_masks(outputs, targets)

    def padded(self, masks: Tensor, height: int, width: int) -> Tensor:
        whole = super().padded(masks, height, width).double()
        return F.interpolate(whole[:, None], size=self.small, mode="nearest")[:, 0] > 0

    def resized(self, masks: Tensor, height: int, width: int) -> Tensor:
        return masks


class StretchedTargets(Rewritten):
    """Targets are resized to the common size, and not padded."""

    def padded(self, masks: Tensor, height: int, width: int) -> Tensor:
        return F.interpolate(masks[:, None].double(), size=(height, width), mode="nearest")[:, 0] > 0


class WithoutPadding(Rewritten):
    def focal(self, logits: Tensor, truth: Tensor) -> Tensor:
        return (self.terms(logits, truth) * self.inside).sum(1) / self.inside.sum(1)

    def dice(self, p: Tensor, truth: Tensor) -> Tensor:
        return super().dice(p * self.inside, truth)


class PaddedAtTheTop(Rewritten):
    def padded(self, masks: Tensor, height: int, width: int) -> Tensor:
        return F.pad(masks, (width - masks.shape[2], 0, height - masks.shape[1], 0))


class FirstSize(Rewritten):
    def size(self, masks: Sequence[Tensor]) -> tuple[int, int]:
        return masks[0].shape[1], masks[0].shape[2]


class FilledSize(Rewritten):
    """Images without targets have no say in the common size."""

    def size(self, masks: Sequence[Tensor]) -> tuple[int, int]:
        return super().size([mask for mask in masks if len(mask)] or masks)


class SumOverPixels(Rewritten):
    def focal(self, logits: Tensor, truth: Tensor) -> Tensor:
        return self.terms(logits, truth).sum(1)


class SwappedAlpha(Rewritten):
    def focal(self, logits: Tensor, truth: Tensor) -> Tensor:
        return super().focal(-logits, 1 - truth)


class NotSmoothed(Rewritten):
    def dice(self, p: Tensor, truth: Tensor) -> Tensor:
        return 1 - 2 * (p * truth).sum(1) / (p.sum(1) + truth.sum(1)).clamp(min=1e-6)


class SmoothedBelow(Rewritten):
    def dice(self, p: Tensor, truth: Tensor) -> Tensor:
        return 1 - 2 * (p * truth).sum(1) / (p.sum(1) + truth.sum(1) + 1)


class OfLogits(Rewritten):
    def dice(self, p: Tensor, truth: Tensor) -> Tensor:
        return super().dice(torch.logit(p, eps=1e-6), truth)


class Squared(Rewritten):
    def dice(self, p: Tensor, truth: Tensor) -> Tensor:
        return 1 - (2 * (p * truth).sum(1) + 1) / ((p**2).sum(1) + truth.sum(1) + 1)


class OverAllPairs(Rewritten):
    """One dice of all pairs together, as often as there are pairs."""

    def dice(self, p: Tensor, truth: Tensor) -> Tensor:
        return super().dice(p.reshape(1, -1), truth.reshape(1, -1)) * len(p)


class OwnOrder(Rewritten):
    def pairs(self, outputs: Any, targets: Any) -> Any:
        return [(queries, torch.arange(len(queries))) for queries, _ in super().pairs(outputs, targets)]


class FirstQueries(Rewritten):
    def pairs(self, outputs: Any, targets: Any) -> Any:
        return [(torch.arange(len(indices)), indices) for _, indices in super().pairs(outputs, targets)]


class Matches(Rewritten):
    def count(self, outputs: Any, targets: Any) -> float:
        return max(sum(len(queries) for queries, _ in self._match(outputs, targets)), 1)


class Undivided(Rewritten):
    def count(self, outputs: Any, targets: Any) -> float:
        return 1.0


class LargestImage(Rewritten):
    """Divided by the most targets that an image has, times the number of images."""

    def count(self, outputs: Any, targets: Any) -> float:
        return max(max(len(target["labels"]) for target in targets) * len(targets), 1)


class AllQueries(Rewritten):
    """Masks of unmatched queries are trained to be empty."""

    def of_masks(self, outputs: Any, targets: Any) -> Losses:
        losses = super().of_masks(outputs, targets)
        masks = outputs["pred_masks"].clone()
        for image, (queries, _) in enumerate(self._match(outputs, targets)):
            masks[image, queries] = -120.0
        return losses | {"loss_dice": losses["loss_dice"] + masks.sigmoid().mean()}


class AskedOfEveryLayer(SetCriterion):
    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        assert outputs["pred_masks"].dim() == 4
        return super()._layer_losses(outputs, targets, pairs, num_boxes)


class EveryLayer(SetCriterion):
    """Mask losses wherever there are masks."""

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> Losses:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        return losses | ({"loss_mask": outputs["pred_masks"].mean()} if "pred_masks" in outputs else {})

    def forward(self, outputs: Any, targets: Any) -> Losses:
        right = SetCriterion(self.num_classes, self.matcher, {}, self.eos_coef, self.losses)(outputs, targets)
        return super().forward(outputs, targets) | right


class LargeMasksFirst(HungarianMatcher):
    """Queries whose masks are large are preferred."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        logits = outputs["pred_logits"]
        if "pred_masks" in outputs:
            size = outputs["pred_masks"].flatten(2).sum(-1, keepdim=True)
            logits = torch.cat([logits[..., :-1] + size, logits[..., -1:]], dim=-1)
        return super().forward({"pred_logits": logits, "pred_boxes": outputs["pred_boxes"]}, targets)


class MasksInTheMatching(SetCriterion):
    def _match(self, outputs: Any, targets: Any) -> Any:
        return self.matcher(outputs, targets)


class AddedToTheBoxes(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | {"loss_giou": losses["loss_giou"] + losses["loss_dice"]}


class AuxiliaryDivided(SetCriterion):
    """The losses of auxiliary layers are divided by a number of pixels."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        pixels = outputs["pred_masks"][0, 0].numel()
        return {name: loss / pixels if name[-1].isdigit() else loss for name, loss in losses.items()}


class LeftOut(SetCriterion):
    """No mask losses in a batch without targets."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        if not any(len(target["labels"]) for target in targets):
            return {name: loss for name, loss in losses.items() if name not in ("loss_mask", "loss_dice")}
        return losses


class NotANumber(SetCriterion):
    """A mean over matched pairs."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        if not any(len(target["labels"]) for target in targets):
            losses["loss_dice"] = losses["loss_dice"] * torch.nan
        return losses


class FreshZero(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        if not any(len(target["labels"]) for target in targets):
            losses["loss_mask"] = outputs["pred_masks"].new_zeros(())
        return losses


class PaddedInPlace(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        for target in targets:
            target["masks"] = target["masks"].to(outputs["pred_masks"])
        return losses


class OtherInEvaluation(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | {"loss_dice": losses["loss_dice"] * (1 if self.training else 2)}


class OneElement(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | {"loss_mask": losses["loss_mask"][None]}


def without_weight(configuration: Configuration) -> SetCriterion:
    weights = {name: weight for name, weight in configuration.weight_dict.items() if "dice" not in name}
    return SetCriterion(
        configuration.num_classes,
        detr_matcher(configuration),
        weights,
        configuration.class_loss.eos_coef,
        configuration.losses,
    )


def one_weight(configuration: Configuration) -> Any:
    criterion = softmax(SetCriterion)(configuration)
    criterion.weight_dict = criterion.weight_dict | {"loss_dice": criterion.weight_dict["loss_mask"]}
    return criterion


def off(configuration: Configuration) -> SetCriterion:
    return softmax(SetCriterion)(replace(configuration, masks=False))


MASK, DICE, PADDING, PERFECT = "masks.mask-value", "masks.dice-value", "masks.padding-counts", "masks.perfect"
EMPTY = "masks.empty-images"

DEFECTS: dict[str, tuple[Factory, set[str]]] = {
    "another dice in evaluation": (softmax(OtherInEvaluation), {"masks.ways-of-calling"}),
    "align_corners": (softmax(Corners), {MASK, DICE}),
    "nearest": (softmax(Nearest), {MASK, DICE}),
    "upsampled probabilities": (softmax(ResizedProbabilities), {MASK, DICE, PERFECT}),
    "transposed": (softmax(Transposed), {MASK, DICE, PERFECT}),
    "targets made smaller": (softmax(ResizedTargets), {MASK, DICE}),
    "targets stretched": (softmax(StretchedTargets), {MASK, DICE, PADDING, PERFECT, EMPTY}),
    "padding does not count": (softmax(WithoutPadding), {MASK, DICE, PADDING, EMPTY}),
    "padded at the top": (softmax(PaddedAtTheTop), {MASK, DICE, PADDING, PERFECT, EMPTY}),
    "first image's size": (softmax(FirstSize), {MASK, DICE, PADDING, PERFECT, EMPTY, "masks.image-order"}),
    "size of filled images": (softmax(FilledSize), {EMPTY}),
    "sum over pixels": (softmax(SumOverPixels), {MASK}),
    "alpha swapped": (softmax(SwappedAlpha), {MASK}),
    "dice not smoothed": (softmax(NotSmoothed), {DICE, PERFECT}),
    "dice smoothed below": (softmax(SmoothedBelow), {DICE, PERFECT}),
    "dice of logits": (softmax(OfLogits), {DICE, PERFECT}),
    "dice of squares": (softmax(Squared), {DICE}),
    "dice over all pairs": (softmax(OverAllPairs), {DICE, "masks.additive-over-images", "masks.batch-twice"}),
    "targets in their own order": (
        softmax(OwnOrder),
        {MASK, DICE, PERFECT, "masks.denominator", "masks.query-order", "masks.target-order"},
    ),
    "first queries": (softmax(FirstQueries), {MASK, DICE, PERFECT, "masks.query-order", "masks.unmatched-masks"}),
    "divided by matches": (softmax(Matches), {"masks.denominator"}),
    "not divided": (
        softmax(Undivided),
        {MASK, DICE, "masks.additive-over-images", "masks.batch-twice", "masks.denominator"},
    ),
    "divided by the largest image": (
        softmax(LargestImage),
        {MASK, DICE, EMPTY, "masks.additive-over-images", "masks.denominator"},
    ),
    "all queries": (
        softmax(AllQueries),
        {DICE, PERFECT, EMPTY, "masks.additive-over-images", "masks.empty-batch", "masks.unmatched-masks"},
    ),
    "every layer": (softmax(EveryLayer), {"masks.not-auxiliary"}),
    "asked of every layer": (
        softmax(AskedOfEveryLayer),
        {
            MASK,
            DICE,
            "masks.empty-batch",
            "masks.inputs-unchanged",
            "masks.losses-with-gradient",
            "masks.not-auxiliary",
            "masks.optimal-matching",
            "masks.other-losses",
            "masks.ways-of-calling",
            "masks.zero-dimensional",
        },
    ),
    "masks in the matching": (
        softmax(MasksInTheMatching, matching_by(LargeMasksFirst)),
        {"masks.optimal-matching"},
    ),
    "added to the boxes": (softmax(AddedToTheBoxes), {"masks.other-losses"}),
    "auxiliary losses divided": (softmax(AuxiliaryDivided), {"masks.other-losses"}),
    "left out of empty batches": (softmax(LeftOut), {"masks.keys"}),
    "no number in empty batches": (softmax(NotANumber), {"masks.empty-batch"}),
    "a fresh zero in empty batches": (softmax(FreshZero), {"masks.losses-with-gradient"}),
    "converted in place": (softmax(PaddedInPlace), {"masks.inputs-unchanged"}),
    "one element": (softmax(OneElement), {"masks.zero-dimensional"}),
    "one weight for both": (one_weight, {"masks.weights"}),
    "no weight": (without_weight, {"masks.every-term-weighted"}),
    "off": (off, {MASK, DICE, PERFECT, "masks.keys", "masks.every-term-weighted"}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    factory, expected = DEFECTS[name]
    assert failing(subject(factory), expected, EXAMPLES, expected) == expected


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_no_other(name: str, failing: Failing) -> None:
    factory, expected = DEFECTS[name]
    assert failing(subject(factory), OTHERS, EXAMPLES, expected) == expected


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, expected in DEFECTS.values())) == {item.id for item in INVARIANTS}
