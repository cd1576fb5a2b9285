"""The class losses of all decoder layers on the CPU, in the functions of `compiled.kernels.class_losses`.

Each is made for one batch in forward, and asked in backward for the gradients, which it writes over what it has kept of
the size of the logits; should there be a second backward pass, that is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
from torch import Tensor

from ..batch.batch import Batch
from ..compiled.calling import imported, in_threads, threads_worth
from ..compiled.softmax import softmax
from ..dialects import Dialect, LossFormula
from ..like_logits import LikeLogits, memory_like

Array: TypeAlias = np.ndarray[Any, Any]

QUERIES_WORTH_A_THREAD = 2**13
FOCAL_LOSSES_WORTH_A_THREAD = 2**18
PRODUCTS_WORTH_A_THREAD = 2**21


class MatchedTargets:
    """The targets of a batch and the queries matched to them, as arrays.

    labels: int64 [B, T]. boxes: [B, T, 4]. sizes: int64 [B]. queries: int64 [L, B, T], or -1.
    """

    def __init__(self, batch: Batch) -> None:
        self.labels, self.boxes = batch.targets.labels.numpy(), batch.targets.boxes.numpy()
        self.sizes = np.array(batch.targets.sizes)
        self.queries = by_layer(len(batch.layers), batch.columns)


class ClassLosses(Protocol):
    """The class losses of one batch.

    sums: float64 [L], of each layer. divisors: float64 [L], what they are divided by. detected: [L, B], how many
    queries of each image claim an object.
    """

    sums: Array
    divisors: Array
    detected: Array

    def gradients(self, logits: Sequence[Tensor], shares: Array) -> list[Tensor]:
        """Return shares [L] times the gradients of the sums by the logits [B, Q, C] of each layer."""


def class_losses(
    dialect: Dialect, batch: Batch, targets: MatchedTargets, formula: LossFormula, logits: Sequence[Tensor]
) -> ClassLosses:
    """Return the class losses of the dialect; logits: [B, Q, C] of each layer, without gradient."""
    if dialect is Dialect.SOFTMAX:
        return _CrossEntropy(batch, targets, formula, logits)
    return _FocalLosses(batch, targets, formula, logits)


class _CrossEntropy:
    def __init__(self, batch: Batch, targets: MatchedTargets, formula: LossFormula, logits: Sequence[Tensor]) -> None:
        self._targets, self._eos_coef = targets, formula.eos_coef
        self._exponentials: LikeLogits | None
        self._exponentials, *statistics = batch.predictions.softmax
        layers = len(logits)
        self._exponential_sum, highest_but_last, last_logit = (by_layer(layers, values) for values in statistics)
        self.detected = (highest_but_last >= last_logit).sum(axis=2)
        found = np.empty((layers, 2))
        write = imported("class_losses", "write_cross_entropy")
        of_layers = zip(logits, targets.queries, self._exponential_sum, highest_but_last, last_logit, strict=True)
        tasks = [
            partial(write, array(own), targets.labels, targets.sizes, *of_layer, formula.eos_coef, sums)
            for (own, *of_layer), sums in zip(of_layers, found, strict=True)
        ]
        in_threads(threads_worth(highest_but_last.size, QUERIES_WORTH_A_THREAD), tasks)
        self.sums, self.divisors = found.T

    def gradients(self, logits: Sequence[Tensor], shares: Array) -> list[Tensor]:
        exponentials = softmax(logits).exponentials if self._exponentials is None else self._exponentials
        self._exponentials = None
        targets = self._targets
        write = imported("class_losses", "write_cross_entropy_slopes")
        of_layers = zip(exponentials.layers, self._exponential_sum, targets.queries, shares, strict=True)
        tasks = [
            partial(write, own.numpy(), sums, targets.labels, targets.sizes, queries, self._eos_coef, share)
            for own, sums, queries, share in of_layers
        ]
        in_threads(threads_worth(len(logits) * logits[0].numel(), PRODUCTS_WORTH_A_THREAD), tasks)
        return exponentials.layers


class _FocalLosses:
    def __init__(self, batch: Batch, targets: MatchedTargets, formula: LossFormula, logits: Sequence[Tensor]) -> None:
        self._targets, self._formula = targets, formula
        self.detected = (by_layer(len(logits), batch.predictions.highest) > 0).sum(axis=2)
        self.divisors = np.full(len(logits), formula.num_boxes)
        self._slopes: LikeLogits | None
        self._slopes, self.sums = self._found(logits)

    def gradients(self, logits: Sequence[Tensor], shares: Array) -> list[Tensor]:
        slopes = self._found(logits)[0] if self._slopes is None else self._slopes
        self._slopes = None
        tasks = [
            partial(np.multiply, own.numpy(), own.numpy().dtype.type(share), out=own.numpy())
            for own, share in zip(slopes.layers, shares, strict=True)
        ]
        in_threads(threads_worth(len(logits) * logits[0].numel(), PRODUCTS_WORTH_A_THREAD), tasks)
        return slopes.layers

    def _found(self, logits: Sequence[Tensor]) -> tuple[LikeLogits, Array]:
        """Return the derivative of each logit's loss, and the sums [L] of all losses."""
        labels, sizes = self._targets.labels, self._targets.sizes
        alpha, gamma = self._formula.alpha, self._formula.gamma
        slopes, sums = memory_like(logits), np.empty((len(logits), 1))
        write = imported("class_losses", "write_focal_losses")
        of_layers = zip(logits, self._targets.queries, slopes.layers, sums, strict=True)
        tasks = [
            partial(write, array(own), labels, sizes, queries, alpha, gamma, own_slopes.numpy(), own_sum)
            for own, queries, own_slopes, own_sum in of_layers
        ]
        in_threads(threads_worth(len(logits) * logits[0].numel(), FOCAL_LOSSES_WORTH_A_THREAD), tasks)
        return slopes, sums[:, 0]


def by_layer(layers: int, values: Tensor) -> Array:
    """Return values [P, ...] as an array [L, B, ...]."""
    found: Array = values.numpy()
    return found.reshape(layers, len(found) // layers, *found.shape[1:])


def array(tensor: Tensor) -> Array:
    """Return the numbers of a tensor, side by side."""
    found: Array = tensor.detach().contiguous().numpy()
    return found
