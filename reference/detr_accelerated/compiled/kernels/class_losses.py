"""The class losses of one decoder layer, and their gradients, compiled by numba.

`class_losses.py` is the same in torch, and the place to read first; `criterion.cu` is the same on CUDA. Here a loop
goes over the queries and takes each matched pair on its way. Sums of many terms, and what is computed of a pair, are in
float64.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from .functions import total
from .sigmoid import write_powers, write_sigmoids

Array: TypeAlias = np.ndarray[Any, Any]

CLASS_LOSS, CLASS_WEIGHT = range(2)

ROWS = 8
"""Queries at a time, whose numbers stay in the first cache."""

NONE = -1


@njit(nogil=True, cache=True, error_model="numpy")
def write_cross_entropy(
    logits: Array,
    labels: Array,
    sizes: Array,
    query_of: Array,
    exponential_sum: Array,
    highest_but_last: Array,
    last_logit: Array,
    eos_coef: float,
    sums: Array,
) -> None:
    """Write the weighted sum of a layer's surprises, and the sum of the weights, float64 [2].

    logits: [B, Q, C]. labels: int64 [B, T]. sizes: int64 [B], n of each image. query_of: int64 [B, T], the query of
    each target, or -1. The next three: [B, Q], as in `Softmax`.
    """
    num_queries = logits.shape[1]
    loss = weights = 0.0
    for image in range(len(logits)):
        target_of = _target_of(query_of[image], sizes[image], num_queries)
        for query in range(num_queries):
            target, last = target_of[query], last_logit[image, query]
            weight = eos_coef if target == NONE else 1.0
            # Most queries are without a target, and need not be read again for the one logit that is known.
            logit = last if target == NONE else logits[image, query, column_of_label(labels[image, target], logits)]
            surprise = np.log(exponential_sum[image, query]) - (logit - max(highest_but_last[image, query], last))
            loss += weight * surprise
            weights += weight
    sums[CLASS_LOSS], sums[CLASS_WEIGHT] = loss, weights


@njit(nogil=True, cache=True, error_model="numpy")
def write_cross_entropy_slopes(
    exponentials: Array,
    exponential_sum: Array,
    labels: Array,
    sizes: Array,
    query_of: Array,
    eos_coef: float,
    class_share: float,
) -> None:
    """Write class_share times the gradient of a layer's weighted sum of surprises over its exponentials [B, Q, C].

    That of a query is (softmax(z) - one_hot(class)) times its weight. The other arrays are as in `write_cross_entropy`.
    """
    real = exponentials.dtype.type
    images, num_queries, num_columns = exponentials.shape
    for image in range(images):
        target_of = _target_of(query_of[image], sizes[image], num_queries)
        for query in range(num_queries):
            row = exponentials[image, query]
            target = target_of[query]
            share = class_share * (eos_coef if target == NONE else 1.0)
            scale = real(share / exponential_sum[image, query])
            for column in range(num_columns):
                row[column] *= scale
            yes = num_columns - 1 if target == NONE else column_of_label(labels[image, target], exponentials)
            row[yes] -= real(share)


@njit(nogil=True, cache=True, error_model="numpy")
def write_focal_losses(
    logits: Array,
    labels: Array,
    sizes: Array,
    query_of: Array,
    alpha: float,
    gamma: float,
    slopes: Array,
    sums: Array,
) -> None:
    """Write the sum of a layer's focal losses, float64 [1], and the derivative of each by its logit, [B, Q, C].

    gamma ≥ 0. The other arguments are as in `write_cross_entropy`.
    """
    real = logits.dtype.type
    images, num_queries, num_columns = logits.shape
    # Of rows of one array the compiler would not know that they lie apart. The last queries do not fill them.
    yes, no = np.zeros(ROWS * num_columns, logits.dtype), np.zeros(ROWS * num_columns, logits.dtype)
    surprise_of_yes, surprise_of_no = np.zeros_like(yes), np.zeros_like(yes)
    memory, power, losses = np.zeros_like(yes), np.zeros_like(yes), np.zeros_like(yes)
    loss = 0.0
    for image in range(images):
        target_of = _target_of(query_of[image], sizes[image], num_queries)
        for start in range(0, num_queries, ROWS):
            end = min(start + ROWS, num_queries)
            own_logits = logits[image, start:end].reshape((end - start) * num_columns)
            own_slopes = slopes[image, start:end].reshape((end - start) * num_columns)
            write_sigmoids(own_logits, yes, no, surprise_of_yes, surprise_of_no, memory)
            write_powers(yes, surprise_of_yes, real(gamma), memory, power, losses)
            _write_saying_no(yes, no, surprise_of_no, real(1 - alpha), real(gamma), losses, own_slopes)
            for query in range(start, end):
                first, target = (query - start) * num_columns, target_of[query]
                if target != NONE:
                    place = first + column_of_label(labels[image, target], logits)
                    of_yes, slope = _saying_no(-np.float64(own_logits[place]), gamma)
                    loss += alpha * of_yes
                    # What the logit would pay for not saying no may dwarf all the rest, so it is not taken from a sum.
                    losses[place], own_slopes[place] = 0, -alpha * slope
                loss += total(losses[first : first + num_columns])
    sums[CLASS_LOSS] = loss


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_saying_no(
    yes: Array, no: Array, surprise: Array, weight: Any, gamma: Any, losses: Array, slopes: Array
) -> None:
    """Write weight · p^gamma (-log(1 - p)) over the powers of p that lie in losses, and its derivative."""
    for i in range(len(slopes)):
        power = weight * losses[i]
        losses[i] = power * surprise[i]
        slopes[i] = power * (gamma * no[i] * surprise[i] + yes[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _saying_no(logit: float, gamma: float) -> Any:
    """Return p^gamma (-log(1 - p)), p = sigmoid(z), and its derivative."""
    decay = np.exp(-abs(logit))
    surprise = max(logit, 0.0) + np.log1p(decay)
    p, not_p = (1 / (1 + decay), decay / (1 + decay)) if logit > 0 else (decay / (1 + decay), 1 / (1 + decay))
    power = p**gamma
    return power * surprise, power * (gamma * not_p * surprise + p)


@njit(nogil=True, cache=True)
def column_of_label(label: int, logits: Array) -> Any:
    """Return the column of a label; one beyond all columns is read, if nobody refused it, as the nearest."""
    return max(0, min(label, logits.shape[2] - 1))


@njit(nogil=True, cache=True)
def _target_of(query_of: Array, size: int, num_queries: int) -> Array:
    """Return the target of each query, or -1."""
    target_of = np.full(num_queries, NONE)
    for target in range(size):
        if query_of[target] >= 0:
            target_of[query_of[target]] = target
    return target_of
