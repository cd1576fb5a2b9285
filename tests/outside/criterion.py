"""A criterion of the varifocal dialect in PyTorch, with six defects that projects have had or may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from varifocal import VARIFOCAL

import detr_reference as reference
from detr_conformance import torch_implementation
from detr_conformance.implementations.reference import LIMITS, deformable_matcher
from detr_reference.batch import matched_queries, matched_targets
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation


class VarifocalCriterion(reference.FocalSetCriterion):
    """The losses of the dialect, under its names."""

    def forward(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        """The losses and metrics, []."""
        names = {"loss_ce": "loss_vfl"}
        losses = super().forward(outputs, targets)
        found = {}
        for key, value in losses.items():
            name, _, layer = key.rpartition("_") if key.rpartition("_")[2].isdigit() else (key, "", "")
            found[names.get(name, name) + (f"_aux_{layer}" if layer else "")] = value
        return found

    def _layer_losses(self, outputs: Any, targets: Any, pairs: Any, num_boxes: float) -> dict[str, Tensor]:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        where = matched_queries(pairs)
        boxes = [
            reference.box_cxcywh_to_xyxy(part)
            for part in (
                outputs["pred_boxes"][where],
                matched_targets([target["boxes"] for target in targets], pairs),
            )
        ]
        logits = outputs["pred_logits"]
        labels = self._query_classes(logits, targets, pairs)
        positive = torch.nn.functional.one_hot(labels, self.num_classes + 1)[..., :-1].to(logits.dtype)
        quality = torch.zeros_like(logits[..., 0])
        quality[where] = self.overlap(*boxes).to(logits.dtype)
        losses["loss_ce"] = self.varifocal(logits, positive, quality[..., None] * positive).sum() / self.divisor(
            num_boxes, pairs
        )
        return losses

    def overlap(self, first: Tensor, second: Tensor) -> Tensor:
        """The quality of each pair; [m]."""
        return reference.box_iou(first, second)[0].diagonal().detach()

    def varifocal(self, logits: Tensor, positive: Tensor, target: Tensor) -> Tensor:
        """The loss of each logit; [B, Q, K]."""
        score = logits.sigmoid().detach()
        weight = self.focal_alpha * score**self.focal_gamma * (1 - positive) + target
        return weight * binary_cross_entropy_with_logits(logits, target, reduction="none")

    def divisor(self, num_boxes: float, pairs: Any) -> float:
        """What the sum is divided by."""
        return num_boxes


class QualityWithGradient(VarifocalCriterion):
    """The overlap is not detached."""

    def overlap(self, first: Tensor, second: Tensor) -> Tensor:
        """The quality of each pair; [m]."""
        return reference.box_iou(first, second)[0].diagonal()


class WeightWithGradient(VarifocalCriterion):
    """The score in the weight is not detached."""

    def varifocal(self, logits: Tensor, positive: Tensor, target: Tensor) -> Tensor:
        """The loss of each logit; [B, Q, K]."""
        weight = self.focal_alpha * logits.sigmoid() ** self.focal_gamma * (1 - positive) + target
        return weight * binary_cross_entropy_with_logits(logits, target, reduction="none")


class NegativeWithoutOverlap(VarifocalCriterion):
    """A matched pair without overlap counts as a negative."""

    def varifocal(self, logits: Tensor, positive: Tensor, target: Tensor) -> Tensor:
        """The loss of each logit; [B, Q, K]."""
        return super().varifocal(logits, (target > 0).to(logits.dtype), target)


class WeightOnPositives(VarifocalCriterion):
    """α weighs the positives."""

    def varifocal(self, logits: Tensor, positive: Tensor, target: Tensor) -> Tensor:
        """The loss of each logit; [B, Q, K]."""
        score = logits.sigmoid().detach()
        weight = score**self.focal_gamma * (1 - positive) + self.focal_alpha * target
        return weight * binary_cross_entropy_with_logits(logits, target, reduction="none")


class GiouForIou(VarifocalCriterion):
    """The quality is the GIoU."""

    def overlap(self, first: Tensor, second: Tensor) -> Tensor:
        """The quality of each pair; [m]."""
        return reference.elementwise_generalized_box_iou(first, second).detach()


class DividedByMatches(VarifocalCriterion):
    """The sum is divided by the number of matches."""

    def divisor(self, num_boxes: float, pairs: Any) -> float:
        """What the sum is divided by."""
        return max(sum(len(queries) for queries, _ in pairs), 1)


DEFECTS = (
    QualityWithGradient,
    WeightWithGradient,
    NegativeWithoutOverlap,
    WeightOnPositives,
    GiouForIou,
    DividedByMatches,
)


def implementation(kind: Callable[..., VarifocalCriterion] = VarifocalCriterion) -> Implementation:
    """The implementation of the dialect by a criterion."""

    def criterion(configuration: Configuration) -> VarifocalCriterion:
        matcher = deformable_matcher(configuration)
        weights = configuration.weight_dict
        numbers = configuration.class_loss.numbers.values()
        return kind(configuration.num_classes, matcher, weights, configuration.losses, *numbers)

    return torch_implementation(
        name="varifocal",
        profile=VARIFOCAL,
        limits=LIMITS,
        matcher=deformable_matcher,
        criterion=criterion,
        masks=criterion,
        postprocess=lambda configuration: reference.TopKPostProcess(configuration.top_k),
    )


RIGHT = implementation()

WRONG = implementation(GiouForIou)
