"""The focal loss of a softmax with a column of no object. Lin et al. 2017; as `kornia.losses.focal_loss` has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detr_spec.activations import log_softmax, softmax
from detr_spec.terms.term import ClassTerm, Layer
from detr_spec.tolerance import Numbers, concatenate, exp, hull, is_interval, take_along_axis, within


@dataclass(frozen=True, kw_only=True)
class SoftmaxFocal(ClassTerm):
    """Σ w (1 − p)^γ · −log p over all queries / num_boxes; p is the softmax at a query's class, or at no object.

    w is 1 for each class, and eos_coef for no object. An interval holds 1 − p of usual implementations, from the
    softmax or from its logarithm.
    """

    eos_coef: float = 0.1
    gamma: float = 2.0

    name = "softmax-focal"
    activation = "softmax"
    laws = frozenset({"divided by boxes", "reads logits alone", "shift-invariant"})
    drawn = {"eos_coef": (0.25, 0.5, 1.0, 0.0), "gamma": (2.0, 1.0, 3.0, 1.5)}  # noqa: RUF012

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        columns = layer.classes[..., None]
        log_p = take_along_axis(log_softmax(layer.logits), columns, axis=-1)[..., 0]
        away = within(1.0 - exp(log_p), least=0.0)
        if is_interval(away):
            away = hull(away, within(1.0 - take_along_axis(softmax(layer.logits), columns, axis=-1)[..., 0], least=0.0))
        classes = layer.logits.shape[-1] - 1
        weights: Numbers = concatenate([np.ones(classes), np.reshape(self.eos_coef, 1)])
        return (-log_p * away**self.gamma * weights[layer.classes]).reshape(-1).sum() / layer.normaliser

    def teaches(self) -> bool:
        """Whether no object contributes to it."""
        return self.eos_coef > 0
