"""The weighted cross-entropy of DETR: softmax with a no-object class. Carion et al. 2020, section 3.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detr_spec.activations import log_softmax
from detr_spec.terms.term import ClassTerm, Layer
from detr_spec.tolerance import Numbers, concatenate, maximum, take_along_axis
from detr_spec.values import Integers, InvalidValue


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(ClassTerm):
    """Σ w[t] · (−log softmax(z)[t]) / Σ w[t] over all queries; w is 1 for each class, and eos_coef for no object.

    Where ranks are summed, the divisor is that of the queries of all ranks.
    """

    eos_coef: float = 0.1

    name = "cross-entropy"
    activation = "softmax"
    laws = frozenset({"reads logits alone", "shift-invariant"})
    drawn = {"eos_coef": (0.25, 0.5, 1.0, 0.0)}  # noqa: RUF012

    least_divisor: ClassVar[float] = 0.0
    """What the sum of weights is raised to."""

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        count = layer.logits.shape[-1] - 1
        given = layer.logits, layer.classes, self._weights(count), self.least_divisor
        return weighted_cross_entropy(*given, layer.total_weight)

    def query_weights(self, classes: Integers, count: int) -> Numbers:
        """The weights of queries; classes of so many, [...] → [...]."""
        weights: Numbers = self._weights(count)[classes]
        return weights

    def _weights(self, count: int) -> Numbers:
        """The weight of each class and of no object; [K + 1]."""
        weights: Numbers = concatenate([self.class_weights(count), np.reshape(self.eos_coef, 1)])
        return weights

    def class_weights(self, count: int) -> Numbers:
        """The weight of each of so many classes; [K]."""
        return np.ones(count)

    def has_value(self, targets: int) -> bool:
        """Whether it is defined: a mean under weights that are all 0 is not."""
        return self.eos_coef > 0 or targets > 0

    def teaches(self) -> bool:
        """Whether no object contributes to it."""
        return self.eos_coef > 0


@dataclass(frozen=True, kw_only=True)
class ClassWeightedCrossEntropy(CrossEntropy):
    """The same with weights of the classes: three in turn, those of class 0, 1 and 2, of 3, 4 and 5, and so on.

    Raises `InvalidValue` for a weight of a class that is 0.
    """

    first: float = 1.0
    second: float = 2.0
    third: float = 0.5

    name = "class-weighted-cross-entropy"
    drawn = {  # noqa: RUF012
        **CrossEntropy.drawn,
        "first": (1.0, 4.0),
        "second": (2.0, 0.25),
        "third": (0.5, 8.0),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("first", "second", "third"):
            if isinstance(weight := getattr(self, name), (int, float)) and weight == 0:
                raise InvalidValue(f"{name} of {self.name} is 0; expected a weight above 0")

    def class_weights(self, count: int) -> Numbers:
        """The weight of each of so many classes; [K]."""
        three: Numbers = concatenate([np.reshape(weight, 1) for weight in (self.first, self.second, self.third)])
        return three[np.arange(count) % 3]


@dataclass(frozen=True, kw_only=True)
class ClampedCrossEntropy(CrossEntropy):
    """Σ w[t] · (−log softmax(z)[t]) / max(Σ w[t], 1) over all queries, with the weights of the cross-entropy."""

    name = "clamped-cross-entropy"
    least_divisor = 1.0

    def has_value(self, targets: int) -> bool:  # noqa: ARG002
        """Whether it is defined, as it always is."""
        return True


def weighted_cross_entropy(
    logits: Numbers,
    classes: Integers,
    class_weights: Numbers,
    least_divisor: float = 0.0,
    total: Numbers | None = None,
) -> Numbers:
    """Σ w[t] · (−log softmax(z)[t]) / Σ w[t] over all B·Q queries; [B, Q, C], [B, Q] and weights [C] → [].

    least_divisor: what the sum of weights is raised to. total: another divisor than that sum, [].
    """
    log_probability = take_along_axis(log_softmax(logits), classes[..., None], axis=-1)[..., 0]
    weights = class_weights[classes]
    with np.errstate(invalid="ignore"):
        divisor: Numbers = weights.reshape(-1).sum() if total is None else total
        divisor = maximum(divisor, least_divisor) if least_divisor else divisor
        return (-log_probability * weights).reshape(-1).sum() / divisor
