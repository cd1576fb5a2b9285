"""The terms of the set loss as plain formulas, for predictions already paired with targets (norm §4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .boxes import box_cxcywh_to_xyxy, elementwise_generalized_box_iou


def weighted_cross_entropy(logits: Tensor, classes: Tensor, class_weights: Tensor) -> Tensor:
    """Return the weighted mean [] over queries of minus the log-probability of each query's class.

    It is sum(w[t] (-log softmax(z)[t])) / sum(w[t]); NaN (0 / 0) if every weight that occurs is zero.
    logits: [B, Q, C]. classes: int64 [B, Q]. class_weights: [C].
    """
    log_probabilities = logits.log_softmax(dim=-1)
    surprise = -log_probabilities.gather(-1, classes[..., None]).squeeze(-1)
    weights = class_weights[classes]
    return (weights * surprise).sum() / weights.sum()


def sigmoid_focal_loss(logits: Tensor, positive: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the focal loss of each logit, in the shape of the logits (Lin et al. 2017).

    It is -alpha_t (1 - p_t)^gamma log(p_t): where positive, p_t = sigmoid(z) and alpha_t = alpha; elsewhere
    p_t = 1 - sigmoid(z) = sigmoid(-z) and alpha_t = 1 - alpha. Taken from logits, it is finite for every
    finite logit, and so is its gradient.
    positive: bool, in the shape of the logits.
    """
    signed = torch.where(positive, logits, -logits)
    t = positive.to(logits.dtype)
    alpha_t = alpha * t + (1 - alpha) * (1 - t)
    # A power of a probability that is 0 has no finite slope where gamma is below 1; its exponential form has one.
    modulating_factor = (gamma * logsigmoid(-signed)).exp()
    return -alpha_t * modulating_factor * logsigmoid(signed)


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return for each instance [N] one minus the smoothed Dice overlap of its predicted mask with its target.

    It is 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1), the sums over pixels, p the sigmoid of the logits
    (Milletari et al. 2016, with the first power in the denominator).
    logits: [N, pixels]. masks: bool [N, pixels].
    """
    p, t = logits.sigmoid(), masks.to(logits.dtype)
    return 1 - (2 * (p * t).sum(dim=1) + 1) / (p.sum(dim=1) + t.sum(dim=1) + 1)


def box_l1_loss(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Return the L1 distance [N] of each cxcywh box [N, 4] from its target [N, 4]."""
    return (boxes - target_boxes).abs().sum(dim=1)


def box_giou_loss(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Return 1 - GIoU, [N], of each cxcywh box [N, 4] with its target [N, 4].

    Raises ValueError if a box has a negative size or a NaN.
    """
    return 1 - elementwise_generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))


def class_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the percentage [] of matched queries whose highest logit is not at their label.

    logits: [M, C] of the matched queries, with the no-object column if there is one. labels: int64 [M]. With
    nothing matched the error is 100.
    """
    correct = (logits.argmax(dim=-1) == labels).to(logits.dtype)
    return 100 - 100 * correct.sum() / max(len(labels), 1)


def cardinality_error(detected: Tensor, target_counts: Tensor) -> Tensor:
    """Return the mean [] over images of how far the number of detections is from the number of targets.

    detected: bool [B, Q], the queries that claim an object. target_counts: [B], floating point.
    """
    return (detected.sum(dim=1) - target_counts).abs().mean()
