"""The loss by which earlier layers learn the last one's distributions of edges. Peng et al. 2024, "D-FINE"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detr_spec.activations import log_softmax, sigmoid, softmax
from detr_spec.terms.term import EdgeTerm, Layer
from detr_spec.tolerance import Numbers, hull, is_interval, log, placed, rounded_like, stop_gradient, where, with_slope
from detr_spec.values import Booleans


@dataclass(frozen=True, kw_only=True)
class DistributionDistillation(EdgeTerm):
    """(√m · mean over queries with a target + √n · mean over the others) / (√m + √n), of u · T² · KL of every edge.

    m queries have a target and n have none. KL is the divergence of the softmax of an edge's logits over T from the
    last layer's. u is the IoU of a query that has a target, and the last layer's highest score of one that has none;
    only the layer's own edges have a gradient. The mean over no queries is 0. Denoising queries have means of their
    own, and m and n of the decoder's queries: the published criterion keeps these from its last layer.
    """

    temperature: float = 5.0

    name = "distribution-distillation"
    activation = "sigmoid"
    layers = "earlier"
    laws = frozenset()
    drawn = {"temperature": (5.0, 1.0, 2.0)}  # noqa: RUF012

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        edges, _ = layer.distributions
        shape = (*layer.classes.shape, 4, edges.shape[-1] // 4)
        own, taught = (part.reshape(*shape) / self.temperature for part in (edges, stop_gradient(layer.taught.edges)))
        per_query = divergence(taught, own).sum(axis=-1) * self.temperature**2 * stop_gradient(_weights(layer))
        matched, (few, others) = layer.matched, layer.decoder_queries or _counted(layer.matched)
        of_matched, of_others = (_mean(per_query, part) for part in (matched, ~matched))
        first, second = np.sqrt(few), np.sqrt(others)
        loss: Numbers = (of_matched * first + of_others * second) / (first + second)
        return loss


def divergence(taught: Numbers, own: Numbers) -> Numbers:
    """Σ p (log p − log q) over the last axis, p and q the softmax of taught and own logits; [..., N] twice → [...].

    Its derivative by own logits is q − p. An interval also holds the logarithm of p, and Σ p log p less Σ p log q.
    """
    z, p, log_q = stop_gradient(own), softmax(taught), log_softmax(stop_gradient(own))
    value = (p * (log_softmax(taught) - log_q)).sum(axis=-1)
    if is_interval(value):
        value = hull(value, (p * log(p) - p * log_q).sum(axis=-1), (p * log(p)).sum(axis=-1) - (p * log_q).sum(axis=-1))
    one = z * 0.0 + 1.0
    return with_slope(own, value[..., None], lambda: softmax(z) * (one * one) - p)[..., 0]


def _weights(layer: Layer) -> Numbers:
    """The IoU of each query that has a target, and the teacher's highest score of one that has none; [B, Q]."""
    scores = sigmoid(layer.taught.logits).max(axis=-1)
    overlaps = rounded_like(placed(layer.iou, layer.classes.shape, (layer.images, layer.queries)), scores)
    return where(layer.matched, overlaps, scores)


def _counted(matched: Booleans) -> tuple[int, int]:
    return int(matched.sum()), int((~matched).sum())


def _mean(per_query: Numbers, chosen: Booleans) -> Numbers:
    """The mean over the four edges of some queries, 0 of none; [B, Q] twice → []."""
    total = per_query[chosen].sum() if chosen.any() else per_query.reshape(-1).sum() * 0.0
    return total / (4.0 * max(int(chosen.sum()), 1))
