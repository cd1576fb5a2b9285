"""The IoU-aware classification loss. Chen et al. 2024, "LW-DETR", section 3; after Cai et al. 2023, "Align-DETR"."""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.activations import binary_cross_entropy, sigmoid
from detr_spec.terms.term import ClassTerm, Layer
from detr_spec.tolerance import Numbers, maximum, stop_gradient, where


@dataclass(frozen=True, kw_only=True)
class IouAware(ClassTerm):
    """Σ w · BCE(z, t) / num_boxes; t is max(p^α IoU^(1−α), floor) of a matched pair at its class, else 0.

    w is 1 at the class of a matched pair, else p^γ, which has a gradient, as the target has not.
    """

    alpha: float = 0.25
    gamma: float = 2.0
    floor: float = 0.01

    name = "iou-aware"
    activation = "sigmoid"
    laws = frozenset({"divided by boxes", "target from logits"})
    drawn = {"alpha": (0.25, 0.5, 0.75), "gamma": (2.0, 1.0, 1.5)}  # noqa: RUF012

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        score = sigmoid(layer.logits)
        overlaps = layer.powers_at_labels(stop_gradient(layer.iou), 1.0 - self.alpha)
        quality = maximum(stop_gradient(score) ** self.alpha * overlaps, self.floor)
        target = where(layer.positive, quality, 0.0)
        weight = where(~layer.positive, score**self.gamma, 1.0)
        return layer.total(weight * binary_cross_entropy(layer.logits, target)) / layer.normaliser
