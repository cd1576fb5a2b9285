"""What logits say: probabilities, and their logarithms, in ways whose ranges hold what usual implementations cancel."""

from __future__ import annotations

import numpy as np

from detr_spec.tolerance import Interval, Numbers, hull, stop_gradient, within


def log_softmax(logits: Numbers) -> Numbers:
    """Z − (max z + log Σ exp(z − max z)) over the last axis; [..., C] → [..., C].

    In this order the range also holds what cancels where log Σ exp z is formed before z is subtracted from it.
    """
    return logits - log_sum_exp(logits)[..., None]


def log_sum_exp(logits: Numbers) -> Numbers:
    """Max z + log Σ exp(z − max z) over the last axis, whose slope is the softmax; [..., C] → [...]."""
    z = stop_gradient(logits)
    highest = z.max(axis=-1)
    total = highest + np.log(np.exp(z - highest[..., None]).sum(axis=-1))
    if not isinstance(logits, Interval):
        return total
    return logits.with_slope(total, lambda slope: slope[..., None] * softmax(z))


def softmax(logits: Numbers) -> Numbers:
    """exp(z) / Σ exp(z) over the last axis; [..., C] → [..., C], each in [0, 1].

    An interval also holds the exponential of the log-softmax.
    """
    powers = np.exp(logits - stop_gradient(logits).max(axis=-1, keepdims=True))
    direct = within(powers / powers.sum(axis=-1)[..., None], most=1.0)
    return hull(direct, np.exp(log_softmax(logits))) if isinstance(direct, Interval) else direct


def sigmoid(logits: Numbers) -> Numbers:
    """1 / (1 + exp(−z)), each in [0, 1]. Its slope is p (1 − p), in which 1 − p may be a difference or not."""
    z = stop_gradient(logits)
    with np.errstate(over="ignore"):
        probability = within(1.0 / (1.0 + np.exp(-z)), most=1.0)
    if not isinstance(logits, Interval):
        return probability
    return logits.with_slope(
        probability,
        lambda slope: slope * (probability * hull(within(1.0 - probability, least=0.0), sigmoid(-z))),
    )


def surprisal(logits: Numbers) -> Numbers:
    """−log sigmoid(z), finite for every finite logit; [...] → [...].

    Usual implementations write it, and its derivative, as differences in which all but a few digits cancel:
    log(1 + exp z) − z, and sigmoid(z) − 1. An interval holds what these give, too.
    """
    z = stop_gradient(logits)
    rest = np.log1p(np.exp(-np.abs(z)))
    value = np.maximum(-z, 0.0) + rest
    if not isinstance(logits, Interval):
        return value
    cancelled = within(np.maximum(z, 0.0) + rest - z, least=0.0)
    return logits.with_slope(
        hull(value, cancelled), lambda slope: slope * hull(-sigmoid(-z), within(sigmoid(z) - 1.0, most=0.0))
    )


def binary_cross_entropy(logits: Numbers, targets: Numbers) -> Numbers:
    """−t log p − (1 − t) log(1 − p) of each logit and target in [0, 1], p = sigmoid(z); [...] and [...] → [...].

    Usual implementations write it as max(z, 0) − t z + log(1 + exp(−|z|)), and its slope as p − t or so: an interval
    holds these, too. Raises `TypeError` for targets of which a gradient is asked.
    """
    z, t = stop_gradient(logits), stop_gradient(targets)
    if t is not targets:
        raise TypeError("the target of a binary cross-entropy has no gradient; stop it")
    value = t * surprisal(z) + (1.0 - t) * surprisal(-z)
    if not isinstance(logits, Interval):
        return value
    usual = np.maximum(z, 0.0) - t * z + np.log1p(np.exp(-np.abs(z)))
    p = sigmoid(z)
    return logits.with_slope(
        hull(value, usual), lambda slope: slope * hull(p - t, (1.0 - t) * p - t * sigmoid(-z), (1.0 - t) - sigmoid(-z))
    )
