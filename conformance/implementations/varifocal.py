"""The varifocal dialect of RT-DETR: a classification loss whose target is the overlap that a query has reached.

Zhang et al. 2021, "VarifocalNet", equation 2; Zhao et al. 2024, "DETRs Beat YOLOs on Real-time Object Detection".
"""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.activations import binary_cross_entropy, sigmoid
from detr_spec.profile import Keys, replace
from detr_spec.profiles import DEFORMABLE
from detr_spec.terms import ClassTerm, Layer
from detr_spec.tolerance import Numbers, stop_gradient, where


@dataclass(frozen=True, kw_only=True)
class Varifocal(ClassTerm):
    """Σ w · BCE(z, t) / num_boxes; t is the IoU of a matched pair at its class, else 0; w is t there, else α p^γ.

    Neither the overlap nor the weight has a gradient.
    """

    alpha: float = 0.75
    gamma: float = 2.0

    name = "own-varifocal"
    activation = "sigmoid"
    laws = frozenset({"divided by boxes"})
    drawn = {"alpha": (0.75, 0.25, 0.5), "gamma": (2.0, 1.0, 1.5)}  # noqa: RUF012

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        quality = layer.at_labels(stop_gradient(layer.iou))
        score = sigmoid(stop_gradient(layer.logits))
        weight = where(layer.positive, quality, self.alpha * score**self.gamma)
        return (weight * binary_cross_entropy(layer.logits, quality)).reshape(-1).sum() / layer.normaliser

    def teaches(self) -> bool:
        """Whether what is no object has a part in it."""
        return self.alpha > 0


VARIFOCAL = replace(
    DEFORMABLE,
    name="varifocal",
    summary="sigmoid varifocal loss, targets are overlaps (Zhao et al. 2024)",
    class_loss=Varifocal(),
    loss_weights=(1.0, 5.0, 2.0),
    keys=Keys(classification="loss_vfl", auxiliary_loss="{loss}_aux_{layer}"),
)
