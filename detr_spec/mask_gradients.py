"""The gradient of each mask loss under a given matching, in closed form, with the range of a right evaluation.

As in `detr_spec.gradients`, every path from the loss to a prediction is a term of its own. norm §4; Lin et al. 2017,
equation 5; Milletari et al. 2016.
"""

from __future__ import annotations

import numpy as np

from detr_spec.costs import sigmoid
from detr_spec.gradients import focal_gradient
from detr_spec.masks import FOCAL_ALPHA, FOCAL_GAMMA, bilinear, interpolation_matrix
from detr_spec.tolerance import Interval, hull, lift
from detr_spec.values import Booleans, Floats


def mask_gradients(masks: Floats, truth: Booleans, normaliser: float, dtype: str) -> dict[str, Interval]:
    """The gradient of both mask losses with respect to masks [m, h, w], by the neutral names of the losses.

    truth: the targets' masks, padded to the common size; bool [m, H, W].
    """
    given = lift(masks, dtype)
    resized = bilinear(given, truth.shape[1], truth.shape[2])
    slopes = {"mask": _focal_slope(resized, truth), "dice": _dice_slope(resized, truth)}
    return {name: _pulled_back(slope / normaliser, masks.shape) for name, slope in slopes.items()}


def _focal_slope(resized: Interval, truth: Booleans) -> Interval:
    """The slope of the mean over pixels of the focal terms, in each resized pixel; [m, H, W]."""
    slope: Interval = focal_gradient(resized, truth, FOCAL_ALPHA, FOCAL_GAMMA) / float(truth.shape[1] * truth.shape[2])
    return slope


def _dice_slope(resized: Interval, truth: Booleans) -> Interval:
    """The slope of 1 − N/D, N = 2 Σ p t + 1 and D = Σ p + Σ t + 1, in each resized pixel; [m, H, W].

    It is (N/D² − 2t/D) p (1 − p).
    """
    shape, inside = truth.shape, truth.astype(np.float64)
    probability = sigmoid(resized)
    complement = hull(np.maximum(1.0 - probability, 0.0), sigmoid(-resized))
    flat, flat_inside = probability.reshape(len(truth), -1), inside.reshape(len(truth), -1)
    numerator = 2.0 * (flat * flat_inside).sum(axis=1) + 1.0
    denominator = flat.sum(axis=1) + flat_inside.sum(axis=1) + 1.0
    share = (numerator / denominator / denominator)[:, None, None] - (2.0 / denominator)[:, None, None] * inside
    slope: Interval = share * (probability * complement)
    assert slope.shape == shape
    return slope


def _pulled_back(slope: Interval, shape: tuple[int, ...]) -> Interval:
    """The gradient with respect to masks [m, h, w] from that with respect to the resized ones, Aᵀ G B."""

    def matrix(new: int, old: int) -> Interval:
        weights: Interval = interpolation_matrix(lift(np.arange(new) + 0.5, slope.dtype), old)
        return weights

    of_rows, of_columns = matrix(slope.shape[1], shape[1]), matrix(slope.shape[2], shape[2])
    rows = (slope[:, :, None, :] * of_rows[None, :, :, None]).sum(axis=1)
    gradient: Interval = (rows[:, :, :, None] * of_columns[None, None, :, :]).sum(axis=2)
    return gradient
