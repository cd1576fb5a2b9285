"""The classification losses of all decoder layers, each with a backward pass of its own.

Autograd would keep several tensors of the size of the logits. Here forward keeps the logits as they are, and besides
them, of that size, only what backward turns into their gradient where it lies, and makes anew should there be a second
backward pass. L layers, P = L·B problems as in `predictions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from detr_reference.boxes import upcast_half

from ..batch.predictions import Predictions
from ..batch.softmax import softmax, surprise
from ..like_logits import LikeLogits, copy_of
from ..slices import SliceGradients

SOFTPLUS_THRESHOLD = 40.0
"""From here on log(1 + exp(z)) is z to the last bit of a float64; torch's own threshold of 20 is meant for float32."""


class Positive(NamedTuple):
    """Where a logit is to say yes: that of a matched query for the label of its target.

    queries and labels: int64 [P, T]. real: bool [P, T], false where there is no match, and the rest means nothing.
    """

    queries: Tensor
    labels: Tensor
    real: Tensor


def weighted_cross_entropy(
    layers: Sequence[Tensor], predictions: Predictions, classes: Tensor, weights: Tensor
) -> Tensor:
    """Return the weighted mean cross-entropy [L] of each layer, with a gradient for the logits of the layers.

    It is sum(w (-log softmax(z)[t])) / sum(w) over the queries of a layer; NaN (0 / 0) if every weight is zero.
    layers: logits [B, Q, C] of each. predictions: the same, packed. classes: int64 [P, Q], t. weights: [P, Q], w.
    """
    loss: Tensor = _WeightedCrossEntropy.apply(predictions, classes, weights, *layers)
    return loss


def sigmoid_focal_loss(
    layers: Sequence[Tensor], predictions: Predictions, positive: Positive, alpha: float, gamma: float
) -> Tensor:
    """Return the sum [L] of the focal losses of all logits of each layer, with a gradient for these logits.

    It is -alpha_t (1 - p_t)^gamma log(p_t), as in `detr_reference.losses.sigmoid_focal_loss`. layers: logits [B, Q, C]
    of each. predictions: the same, packed.
    """
    loss: Tensor = _SigmoidFocalLoss.apply(predictions, positive, alpha, gamma, *layers)
    return loss


def refuse_second_derivatives() -> None:
    """Raise RuntimeError in a backward pass whose own gradients are asked for."""
    # Gradients are recorded in a backward pass only where it was asked for with create_graph=True.
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the accelerated criterion has no gradients of gradients (create_graph=True); use detr_reference's"
        )


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, predictions: Predictions, classes: Tensor, weights: Tensor, *layers: Tensor) -> Tensor:
        ctx.probabilities = predictions.take_probabilities()
        losses = weights * surprise(predictions.layers, ctx.probabilities, classes)
        weight_sums = weights.view(len(layers), -1).sum(dim=1)
        ctx.save_for_backward(classes, weights, weight_sums, *layers)
        ctx.slices = SliceGradients(layers)
        return losses.view(len(layers), -1).sum(dim=1) / weight_sums

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor) -> Any:
        refuse_second_derivatives()
        classes, weights, weight_sums, *layers = ctx.saved_tensors
        gradient = softmax(_upcast(layers)) if ctx.probabilities is None else ctx.probabilities
        ctx.probabilities = None
        share = weights * _by_problem(loss_gradient / weight_sums, len(weights))[:, None]
        # It is (softmax(z) - one_hot(t)) times the query's share in the weighted mean.
        for slopes, own_classes, own in gradient.blocks(classes, share[..., None]):
            slopes.mul_(own)
            slopes.scatter_add_(2, own_classes[..., None], -own)
        return None, None, None, *ctx.slices.shared(_as_given(gradient, layers))


class _SigmoidFocalLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, predictions: Predictions, positive: Positive, alpha: float, gamma: float, *layers: Tensor
    ) -> Tensor:
        ctx.alpha, ctx.gamma, ctx.slopes = alpha, gamma, predictions.take_logits()
        ctx.save_for_backward(*positive, *layers)
        ctx.slices = SliceGradients(layers)
        return _focal_sums(ctx.slopes, positive, alpha, gamma).view(len(layers), -1).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, loss_gradient: Tensor) -> Any:
        refuse_second_derivatives()
        queries, labels, real, *layers = ctx.saved_tensors
        slopes = ctx.slopes
        if slopes is None:
            slopes = copy_of(_upcast(layers))
            _focal_sums(slopes, Positive(queries, labels, real), ctx.alpha, ctx.gamma)
        ctx.slopes = None
        for own, share in zip(slopes.layers, loss_gradient, strict=True):
            own.mul_(share)
        return None, None, None, None, *ctx.slices.shared(_as_given(slopes, layers))


def _focal_sums(logits: LikeLogits, positive: Positive, alpha: float, gamma: float) -> Tensor:
    """Return the sums of focal losses [P] of each problem, and write the derivative of each loss over its logit."""
    return torch.cat([_focal_sums_of(block, Positive(*own), alpha, gamma) for block, *own in logits.blocks(*positive)])


def _focal_sums_of(logits: Tensor, positive: Positive, alpha: float, gamma: float) -> Tensor:
    """Return what `_focal_sums` does of a few problems, [b], and write over their logits [b, Q, C]."""
    queries, labels, real = positive
    places = _places(logits, queries, labels)
    yes, slopes_of_yes = _saying_no(-logits.flatten(1).gather(1, places), gamma)
    no, slopes_of_no = (of_all.flatten(1) for of_all in _saying_no(logits, gamma))
    # What a positive logit pays for not saying no is taken away exactly, for it may dwarf all the rest.
    no.scatter_add_(1, places, torch.where(real, -no.gather(1, places), 0))
    slopes = torch.mul(slopes_of_no, 1 - alpha, out=logits.view_as(no))
    slopes.scatter_add_(1, places, torch.where(real, -slopes.gather(1, places), 0))
    slopes.scatter_add_(1, places, torch.where(real, -alpha * slopes_of_yes, 0))
    return (1 - alpha) * no.sum(dim=1) + alpha * torch.where(real, yes, 0).sum(dim=1)


def _saying_no(logits: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Return p^gamma (-log(1 - p)), p = sigmoid(z): the focal loss of logits that should say no, but for its alpha.

    And its derivative, p^gamma (gamma (1 - p) (-log(1 - p)) + p).
    """
    p = logits.sigmoid()
    surprise = softplus(logits, threshold=SOFTPLUS_THRESHOLD)
    power = p.pow(gamma)
    slope = torch.addcmul(p, 1 - p, surprise, value=gamma).mul_(power)
    return power.mul_(surprise), slope


def _places(logits: Tensor, queries: Tensor, labels: Tensor) -> Tensor:
    """Return the places [b, T], among the Q·C logits of each problem, of queries and labels; 0 of query -1."""
    return torch.where(queries >= 0, queries * logits.shape[2] + labels, 0)


def _by_problem(of_layers: Tensor, problems: int) -> Tensor:
    """Return the value [P] of each problem's layer."""
    return of_layers.repeat_interleave(problems // len(of_layers))


def _upcast(layers: Sequence[Tensor]) -> list[Tensor]:
    return [upcast_half(logits) for logits in layers]


def _as_given(gradient: LikeLogits, layers: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient by layer, each of the dtype of its logits."""
    return [own.to(logits.dtype) for own, logits in zip(gradient.layers, layers, strict=True)]
