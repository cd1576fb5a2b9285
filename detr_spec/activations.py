"""Probabilities of logits and their logarithms, with ranges that hold the cancellation in usual implementations."""

from __future__ import annotations

import numpy as np

from detr_spec.tolerance import (
    SameNumbers,
    absolute,
    exp,
    hull,
    is_interval,
    log,
    log1p,
    maximum,
    stop_gradient,
    with_slope,
    within,
)


def log_softmax(logits: SameNumbers) -> SameNumbers:
    """Z − (max z + log Σ exp(z − max z)) over the last axis; [..., C] → [..., C].

    In this order the range also holds the cancellation of forming log Σ exp z before subtracting it from z.
    """
    return logits - log_sum_exp(logits)


def log_sum_exp(logits: SameNumbers) -> SameNumbers:
    """Max z + log Σ exp(z − max z) over the last axis, whose derivative is the softmax; [..., C] → [..., 1]."""
    z = stop_gradient(logits)
    highest = z.max(axis=-1, keepdims=True)
    total = highest + log(exp(z - highest).sum(axis=-1)[..., None])
    return with_slope(logits, total, lambda: softmax(z))


def softmax(logits: SameNumbers) -> SameNumbers:
    """exp(z) / Σ exp(z) over the last axis; [..., C] → [..., C], each in [0, 1].

    An interval also holds the exponential of the log-softmax.
    """
    powers = exp(logits - stop_gradient(logits).max(axis=-1, keepdims=True))
    direct = within(powers / powers.sum(axis=-1)[..., None], most=1.0)
    return hull(direct, exp(log_softmax(logits))) if is_interval(direct) else direct


def sigmoid(logits: SameNumbers) -> SameNumbers:
    """1 / (1 + exp(−z)), each in [0, 1]. Its derivative is p (1 − p), where 1 − p may be a difference or not."""
    z = stop_gradient(logits)
    with np.errstate(over="ignore"):
        probability = within(1.0 / (1.0 + exp(-z)), most=1.0)
    return with_slope(
        logits,
        probability,
        lambda: probability * hull(within(1.0 - probability, least=0.0), sigmoid(-z)),
    )


def surprisal(logits: SameNumbers) -> SameNumbers:
    """−log sigmoid(z), finite for every finite logit; [...] → [...].

    Usual implementations write it, and its derivative, as differences in which all but a few digits cancel: log(1 + exp
    z) − z, and sigmoid(z) − 1. An interval also holds the results of these forms.
    """
    z = stop_gradient(logits)
    rest = log1p(exp(-absolute(z)))
    value = maximum(-z, 0.0) + rest
    if not is_interval(logits):
        return value
    cancelled = within(maximum(z, 0.0) + rest - z, least=0.0)
    return with_slope(logits, hull(value, cancelled), lambda: hull(-sigmoid(-z), within(sigmoid(z) - 1.0, most=0.0)))


def binary_cross_entropy(logits: SameNumbers, targets: SameNumbers) -> SameNumbers:
    """−t log p − (1 − t) log(1 − p) of each logit and target in [0, 1], p = sigmoid(z); [...] and [...] → [...].

    Usual implementations write it as max(z, 0) − t z + log(1 + exp(−|z|)) or as (1 − t) z − log p, and its derivative
    as p − t or a similar form; an interval also holds the results of these. Raises `TypeError` if a gradient by the
    targets is asked for.
    """
    z, t = stop_gradient(logits), stop_gradient(targets)
    if t is not targets:
        raise TypeError("the target of a binary cross-entropy has no gradient; stop it")
    value = t * surprisal(z) + (1.0 - t) * surprisal(-z)
    if not is_interval(logits):
        return value
    from_zero = maximum(z, 0.0) - t * z + log1p(exp(-absolute(z)))
    from_yes = (1.0 - t) * z + surprisal(z)
    p = sigmoid(z)
    return with_slope(
        logits,
        hull(value, from_zero, from_yes),
        lambda: hull(p - t, (1.0 - t) * p - t * sigmoid(-z), (1.0 - t) - sigmoid(-z)),
    )
