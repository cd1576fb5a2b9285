"""Losses of the distributions that a box's edges are read from. Peng et al. 2024, "D-FINE", section 4.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detr_spec.activations import log_softmax, softmax
from detr_spec.boxes import cxcywh_to_xyxy
from detr_spec.terms.term import EdgeTerm, Layer
from detr_spec.tolerance import (
    Numbers,
    concatenate,
    hull,
    is_interval,
    lift_like,
    rounded_like,
    stop_gradient,
    surely_at_most,
    where,
    with_slope,
    within,
)

SMALLEST_UNIT = 1e-16
"""What is added to the unit in which an edge's distance is measured."""


@dataclass(frozen=True, kw_only=True)
class FineGrainedLocalization(EdgeTerm):
    """Σ over pairs and edges of IoU · Σ_n t_n · −log softmax(l)_n / the number of pairs.

    l are the logits of an edge at the R + 1 distances W(0) … W(R), and t shares its target's distance among the two of
    them that it lies between; beyond the ends it is all at the end. Distances are from the reference box, in units of
    its side over `scale`, and the first is `scale` / 2. Neither IoU nor t has a gradient.
    """

    up: float = 0.5
    scale: float = 4.0

    name = "fine-grained-localization"

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        pairs = layer.images, layer.queries
        logits, references = (part[pairs] for part in layer.distributions)
        distances = edge_distances(stop_gradient(references), layer.truth, self.scale)
        shares = rounded_like(shares_of(distances, self.positions(layer.truth)), logits)
        losses = surprise_of(logits.reshape(len(logits), 4, logits.shape[-1] // 4), shares).sum(axis=-1)
        return (stop_gradient(layer.iou) * losses).sum() / layer.normaliser

    def positions(self, like: Numbers) -> Numbers:
        """The distances W(0) … W(R), which lie closer to each other near 0; [R + 1], numbers of the kind of `like`."""
        reach: Numbers = lift_like(np.ones(1), like) * self.up * self.scale
        step = (reach + 1.0) ** (2.0 / (self.reg_max - 2.0))
        inner = [step**power - 1.0 for power in range(1, int(self.reg_max) // 2)]
        beyond: Numbers = concatenate([*inner, reach * 2.0])
        return concatenate([-beyond[::-1], beyond[:1] * 0.0, beyond])


def edge_distances(references: Numbers, boxes: Numbers, scale: float) -> Numbers:
    """How far outside of reference boxes the left, top, right and lower edges of boxes are; [m, 4] twice → [m, 4].

    Boxes are cxcywh. Each distance is in units of the reference's side over `scale`.
    """
    corners, centres = cxcywh_to_xyxy(boxes), references[:, :2]
    units = references[:, 2:] / scale + SMALLEST_UNIT
    first, second = (centres - corners[:, :2]) / units, (corners[:, 2:] - centres) / units
    distances: Numbers = concatenate([first, second], axis=1)
    return distances - scale / 2.0


def surprise_of(logits: Numbers, shares: Numbers) -> Numbers:
    """Σ t · −log softmax(l), over the last axis, of shares t whose sum is 1; [m, 4, R + 1] twice → [m, 4].

    Its derivative is softmax(l) − t. Ranges of shares are not known to add up to 1; what is computed is, but for
    rounding.
    """
    z = stop_gradient(logits)
    value = (-log_softmax(z) * shares).sum(axis=-1)[..., None]
    one = z * 0.0 + 1.0
    return with_slope(logits, value, lambda: softmax(z) * (one * one) - shares)[..., 0]


def shares_of(distances: Numbers, positions: Numbers) -> Numbers:
    """How each distance is shared among positions, the nearer having the more; [m, 4] and [R + 1] → [m, 4, R + 1].

    Positions ascend. An interval holds two ways to divide the distance between two positions, and is 0 or 1 where it
    lies surely elsewhere.
    """
    lower, upper, given = positions[:-1], positions[1:], distances[..., None]
    left, right = within(given - lower, least=0.0), within(upper - given, least=0.0)
    passed = left / (upper - lower)
    passed = within(hull(passed, left / (left + right)) if is_interval(passed) else passed, 0.0, 1.0)
    passed = where(~surely_at_most(upper, given), where(~surely_at_most(given, lower), passed, 0.0), 1.0)
    one = passed[..., :1] * 0.0 + 1.0
    return within(concatenate([one, passed], axis=-1) - concatenate([passed, one * 0.0], axis=-1), 0.0, 1.0)
