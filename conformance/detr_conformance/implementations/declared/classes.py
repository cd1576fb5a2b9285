"""The losses of classes that a profile declares, over the logits of classes or of tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import detr_reference as reference
from detr_conformance.implementations.declared.names import OWN
from detr_reference.batch import Outputs, Pairs, Targets
from detr_reference.quality import (
    iou_aware_loss,
    matchability_loss,
    quality_focal_loss,
    varifocal_loss,
    varifocal_loss_through_weights,
)
from detr_spec.terms import (
    ClassTerm,
    IouAware,
    Matchability,
    QualityFocal,
    Varifocal,
    VarifocalByOverlap,
    VarifocalOrFocal,
    VarifocalThroughWeights,
)


def positive_logits(outputs: Outputs, targets: Targets, pairs: Pairs) -> Tensor:
    """Which logits are those of their query's target, bool [B, Q, C]: of its class, or of its phrase's tokens."""
    positive = torch.zeros_like(outputs["pred_logits"], dtype=torch.bool)
    for image, (queries, objects) in enumerate(pairs):
        labels = targets[image]["labels"][objects]
        if OWN.phrases in outputs:
            positive[image, queries] = outputs[OWN.phrases][image][labels] > 0
        else:
            positive[image, queries, labels] = True
    return positive


def counted_logits(outputs: Outputs) -> Tensor:
    """Which logits are not of padding, bool [B, Q, C]."""
    logits: Tensor = outputs["pred_logits"]
    if OWN.phrases not in outputs:
        return torch.ones_like(logits, dtype=torch.bool)
    counted: Tensor = outputs[OWN.tokens][:, None].expand_as(logits)
    return counted


def _by_overlap(logits: Tensor, _: Tensor, quality: Tensor, alpha: float, gamma: float) -> Tensor:
    return varifocal_loss_through_weights(logits, quality > 0, quality, alpha, gamma)


def _or_focal(logits: Tensor, positive: Tensor, quality: Tensor, alpha: float, gamma: float) -> Tensor:
    if not positive.any():
        return reference.sigmoid_focal_loss(logits, positive, alpha, gamma)
    return varifocal_loss_through_weights(logits, positive, quality, alpha, gamma)


def _quality_focal(logits: Tensor, _: Tensor, quality: Tensor, beta: float) -> Tensor:
    return quality_focal_loss(logits, quality, beta)


QUALITY_LOSSES: dict[type[ClassTerm], Callable[..., Tensor]] = {
    Varifocal: varifocal_loss,
    VarifocalByOverlap: _by_overlap,
    VarifocalThroughWeights: varifocal_loss_through_weights,
    VarifocalOrFocal: _or_focal,
    Matchability: matchability_loss,
    IouAware: iou_aware_loss,
    QualityFocal: _quality_focal,
}
"""What answers for each loss whose targets are overlaps."""
