"""Classification losses whose targets are overlaps, as plain formulas of logits [B, Q, K] (norm §11)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid


def varifocal_loss(logits: Tensor, positive: Tensor, quality: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the varifocal loss of each logit as RT-DETR has it; its weights have no gradient (Zhang et al. 2021).

    It is q BCE(z, q) where positive, alpha p^gamma BCE(z, 0) elsewhere, p the sigmoid of the logit.
    positive: bool, which logit is that of its query's target. quality: the overlap there, 0 elsewhere.
    """
    weight = torch.where(positive, quality, alpha * logits.detach().sigmoid() ** gamma)
    return weight * binary_cross_entropy_with_logits(logits, quality, reduction="none")


def varifocal_loss_through_weights(
    logits: Tensor, positive: Tensor, quality: Tensor, alpha: float, gamma: float
) -> Tensor:
    """Return the varifocal loss of each logit as Ultralytics has it: its weights have a gradient; see above."""
    weight = torch.where(positive, quality, alpha * logits.sigmoid() ** gamma)
    return weight * binary_cross_entropy_with_logits(logits, quality, reduction="none")


def matchability_loss(logits: Tensor, positive: Tensor, quality: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the matchability-aware loss of each logit (Huang et al. 2025, "DEIM").

    It is BCE(z, q^gamma) where positive, alpha p^gamma BCE(z, 0) elsewhere, in which the weight has no gradient.
    positive and quality: as for `varifocal_loss`.
    """
    weight = torch.where(positive, 1.0, alpha * logits.detach().sigmoid() ** gamma)
    return weight * binary_cross_entropy_with_logits(logits, quality**gamma, reduction="none")


def iou_aware_loss(
    logits: Tensor, positive: Tensor, quality: Tensor, alpha: float, gamma: float, floor: float
) -> Tensor:
    """Return the IoU-aware binary cross-entropy of each logit (Chen et al. 2024, "LW-DETR").

    It is BCE(z, t) where positive, t = max(p^alpha q^(1 - alpha), floor) without a gradient; elsewhere
    p^gamma BCE(z, 0), whose weight has one. positive and quality: as for `varifocal_loss`.
    """
    target = (logits.detach().sigmoid() ** alpha * quality ** (1 - alpha)).clamp(min=floor)
    to_yes, to_no = -logsigmoid(logits), -logsigmoid(-logits)
    return torch.where(positive, target * to_yes + (1 - target) * to_no, logits.sigmoid() ** gamma * to_no)


def quality_focal_loss(logits: Tensor, quality: Tensor, beta: float) -> Tensor:
    """Return the quality focal loss of each logit, |q - p|^beta BCE(z, q) (Li et al. 2020).

    quality: as for `varifocal_loss`.
    """
    weight = (quality - logits.sigmoid()).abs() ** beta
    return weight * binary_cross_entropy_with_logits(logits, quality, reduction="none")
