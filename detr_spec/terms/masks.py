"""The losses of masks: focal (Lin et al. 2017), cross-entropy, dice (Milletari et al. 2016).

Carion et al. 2020, section 4.4; Cheng et al. 2021, "MaskFormer"; Cheng et al. 2022, "Mask2Former".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detr_spec.activations import binary_cross_entropy, sigmoid
from detr_spec.masks import ComparedMasks
from detr_spec.terms.focal import focal_terms
from detr_spec.terms.term import Layer, MaskTerm
from detr_spec.tolerance import Numbers


@dataclass(frozen=True, kw_only=True)
class MaskFocal(MaskTerm):
    """Σ over instances of the mean over places of the focal terms / num_boxes."""

    alpha: float = 0.25
    gamma: float = 2.0

    name = "mask-focal"
    needs_pixels = True

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        return mask_focal(layer.instances, layer.normaliser, self.alpha, self.gamma)


@dataclass(frozen=True, kw_only=True)
class MaskCrossEntropy(MaskTerm):
    """Σ over instances of the mean over places of BCE(z, t) / num_boxes."""

    name = "mask-cross-entropy"

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        masks = layer.instances
        return masks.mean(binary_cross_entropy(masks.logits, masks.inside())).sum() / layer.normaliser


@dataclass(frozen=True, kw_only=True)
class MaskDice(MaskTerm):
    """Σ over instances of 1 − (2 Σ p t + 1) / (Σ p + Σ t + 1) / num_boxes."""

    name = "mask-dice"

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        return mask_dice(layer.instances, layer.normaliser)


def mask_focal(masks: ComparedMasks, normaliser: Numbers, alpha: float = 0.25, gamma: float = 2.0) -> Numbers:
    """Σ over instances of the mean over places of the focal terms / num_boxes; []. The truth is bool."""
    terms = focal_terms(masks.logits, np.asarray(masks.truth), alpha, gamma)
    return masks.mean(terms).sum() / normaliser


def mask_dice(masks: ComparedMasks, normaliser: Numbers) -> Numbers:
    """Σ over instances of 1 − (2 Σ p t + 1) / (Σ p + Σ t + 1) / num_boxes, sums over places; []."""
    probability, inside = sigmoid(masks.logits), masks.inside()
    overlap = masks.counted(probability * inside)
    both = masks.counted(probability) + masks.covered()
    return (1.0 - (2.0 * overlap + 1.0) / (both + 1.0)).sum() / normaliser
