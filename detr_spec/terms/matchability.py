"""The matchability-aware loss. Huang et al. 2025, "DEIM", section 3."""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.activations import binary_cross_entropy, sigmoid
from detr_spec.terms.term import ClassTerm, Layer
from detr_spec.tolerance import Numbers, stop_gradient, where


@dataclass(frozen=True, kw_only=True)
class Matchability(ClassTerm):
    """Σ w · BCE(z, t) / num_boxes; t is IoU^γ of a matched pair at its class, else 0; w is 1 there, else α p^γ.

    Neither overlap nor weight has a gradient; a pair without overlap is trained towards 0 with its whole weight.
    """

    alpha: float = 1.0
    gamma: float = 1.5

    name = "matchability"
    activation = "sigmoid"
    laws = frozenset({"divided by boxes"})
    drawn = {"alpha": (1.0, 0.5, 0.75), "gamma": (1.5, 2.0, 1.0)}  # noqa: RUF012

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        quality = layer.powers_at_labels(stop_gradient(layer.iou), self.gamma)
        score = sigmoid(stop_gradient(layer.logits))
        weight = where(~layer.positive, score**self.gamma * self.alpha, 1.0)
        return layer.total(weight * binary_cross_entropy(layer.logits, quality)) / layer.normaliser

    def teaches(self) -> bool:
        """Whether what is no object has a part in it."""
        return self.alpha > 0
