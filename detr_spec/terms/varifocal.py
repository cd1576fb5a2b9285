"""The varifocal losses, whose targets are overlaps. Zhang et al. 2021, "VarifocalNet", equation 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from detr_spec.activations import binary_cross_entropy, sigmoid
from detr_spec.terms.focal import focal_terms
from detr_spec.terms.term import ClassTerm, Layer
from detr_spec.tolerance import Numbers, stop_gradient, values, where


@dataclass(frozen=True, kw_only=True)
class Varifocal(ClassTerm):
    """Σ w · BCE(z, t) / num_boxes; t is the IoU of a matched pair at its class, else 0; w is t there, else α p^γ.

    Neither overlap nor weight has a gradient, and a pair without overlap no part. The loss of RT-DETR (Zhao et al.
    2024, "DETRs Beat YOLOs on Real-time Object Detection").
    """

    alpha: float = 0.75
    gamma: float = 2.0

    name = "varifocal"
    activation = "sigmoid"
    laws = frozenset({"divided by boxes"})
    drawn = {"alpha": (0.75, 0.25, 0.5), "gamma": (2.0, 1.0, 1.5)}  # noqa: RUF012

    weight_has_gradient: ClassVar[bool] = False
    """Whether p in the weight of negatives has a gradient."""
    pairs_without_overlap: ClassVar[bool] = False
    """Whether the logit of a matched pair without overlap counts as a negative, and not as an object of weight 0."""

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        quality = layer.at_labels(stop_gradient(layer.iou))
        score = sigmoid(layer.logits if self.weight_has_gradient else stop_gradient(layer.logits))
        positive = layer.positive & (values(quality) > 0) if self.pairs_without_overlap else layer.positive
        weight = where(positive, quality, score**self.gamma * self.alpha)
        return layer.total(weight * binary_cross_entropy(layer.logits, quality)) / layer.normaliser

    def teaches(self) -> bool:
        """Whether what is no object has a part in it."""
        return self.alpha > 0


@dataclass(frozen=True, kw_only=True)
class VarifocalByOverlap(Varifocal):
    """As VarifocalNet has it: weights have a gradient, and a pair without overlap counts as a negative."""

    name = "varifocal-by-overlap"
    weight_has_gradient = True
    pairs_without_overlap = True


@dataclass(frozen=True, kw_only=True)
class VarifocalThroughWeights(Varifocal):
    """As Ultralytics trains RT-DETR: weights have a gradient."""

    alpha: float = 0.25
    gamma: float = 1.5

    name = "varifocal-through-weights"
    weight_has_gradient = True


@dataclass(frozen=True, kw_only=True)
class VarifocalOrFocal(VarifocalThroughWeights):
    """The same, and the focal loss of the same numbers where no query of the batch has a target."""

    name = "varifocal-or-focal"
    laws = frozenset()

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        if len(layer.images):
            return super().value(layer)
        terms = focal_terms(layer.logits, layer.positive, self.alpha, self.gamma)
        return layer.total(terms) / layer.normaliser
