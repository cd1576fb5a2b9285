"""The weighted cross-entropy of DETR: softmax with a no-object class. Carion et al. 2020, section 3.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detr_spec.activations import log_softmax
from detr_spec.terms.term import ClassTerm, Layer
from detr_spec.tolerance import Numbers
from detr_spec.values import Integers


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(ClassTerm):
    """Σ w[t] · (−log softmax(z)[t]) / Σ w[t] over all queries; w is 1 for each class, and eos_coef for no object."""

    eos_coef: float = 0.1

    name = "cross-entropy"
    activation = "softmax"
    laws = frozenset({"shift-invariant"})
    drawn = {"eos_coef": (0.25, 0.5, 1.0, 0.0)}  # noqa: RUF012

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        foreground: Numbers = np.ones(layer.logits.shape[-1] - 1)
        weights = np.concatenate([foreground, np.reshape(self.eos_coef, 1)])
        return weighted_cross_entropy(layer.logits, layer.classes, weights)

    def has_value(self, targets: int) -> bool:
        """Whether it is a number: a mean of weights that are all 0 is none."""
        return self.eos_coef > 0 or targets > 0

    def teaches(self) -> bool:
        """Whether what is no object has a part in it."""
        return self.eos_coef > 0


def weighted_cross_entropy(logits: Numbers, classes: Integers, class_weights: Numbers) -> Numbers:
    """Σ w[t] · (−log softmax(z)[t]) / Σ w[t] over all B·Q queries; [B, Q, C], [B, Q] and weights [C] → []."""
    log_probability = np.take_along_axis(log_softmax(logits), classes[..., None], axis=-1)[..., 0]
    weights = class_weights[classes]
    with np.errstate(invalid="ignore"):
        return (-log_probability * weights).reshape(-1).sum() / weights.reshape(-1).sum()
