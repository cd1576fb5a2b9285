"""The losses of masks: focal (Lin et al. 2017), dice (Milletari et al. 2016). Carion et al. 2020, section 4.4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detr_spec.activations import sigmoid
from detr_spec.terms.focal import focal_terms
from detr_spec.terms.term import Layer, MaskTerm
from detr_spec.tolerance import Numbers
from detr_spec.values import Booleans


@dataclass(frozen=True, kw_only=True)
class MaskFocal(MaskTerm):
    """Σ over instances of the mean over pixels of the focal terms / num_boxes."""

    alpha: float = 0.25
    gamma: float = 2.0

    name = "mask-focal"

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        return mask_focal(*layer.instances, layer.normaliser, self.alpha, self.gamma)


@dataclass(frozen=True, kw_only=True)
class MaskDice(MaskTerm):
    """Σ over instances of 1 − (2 Σ p t + 1) / (Σ p + Σ t + 1) / num_boxes."""

    name = "mask-dice"

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        return mask_dice(*layer.instances, layer.normaliser)


def mask_focal(
    logits: Numbers, truth: Booleans, normaliser: Numbers, alpha: float = 0.25, gamma: float = 2.0
) -> Numbers:
    """Σ over instances of the mean over pixels of the focal terms / num_boxes; [m, H, W] and bool [m, H, W] → []."""
    terms = focal_terms(logits, truth, alpha, gamma)
    return terms.reshape(-1).sum() / float(truth.shape[1] * truth.shape[2]) / normaliser


def mask_dice(logits: Numbers, truth: Booleans, normaliser: Numbers) -> Numbers:
    """Σ over instances of 1 − (2 Σ p t + 1) / (Σ p + Σ t + 1) / num_boxes, sums over pixels; as `mask_focal`."""
    instances, pixels = len(truth), truth.shape[1] * truth.shape[2]
    probability, inside = sigmoid(logits).reshape(instances, pixels), truth.reshape(instances, pixels)
    overlap = (probability * inside.astype(np.float64)).sum(axis=1)
    both: Numbers = probability.sum(axis=1) + inside.sum(axis=1).astype(np.float64)
    return (1.0 - (2.0 * overlap + 1.0) / (both + 1.0)).sum() / normaliser
