"""The quality focal loss. Li et al. 2020, "Generalized Focal Loss", equation 4."""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.activations import binary_cross_entropy, sigmoid
from detr_spec.terms.term import ClassTerm, Layer
from detr_spec.tolerance import Numbers, absolute, stop_gradient


@dataclass(frozen=True, kw_only=True)
class QualityFocal(ClassTerm):
    """Σ |t − p|^β · BCE(z, t) / num_boxes; t is the IoU of a matched pair at its class, else 0, and has no gradient."""

    beta: float = 2.0

    name = "quality-focal"
    activation = "sigmoid"
    laws = frozenset({"divided by boxes"})
    drawn = {"beta": (2.0, 1.0, 1.5)}  # noqa: RUF012

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        quality = layer.at_labels(stop_gradient(layer.iou))
        weight = absolute(quality - sigmoid(layer.logits)) ** self.beta
        return layer.total(weight * binary_cross_entropy(layer.logits, quality)) / layer.normaliser
