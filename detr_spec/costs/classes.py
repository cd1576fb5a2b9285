"""The two costs of classes. Carion et al. 2020, section 3.1; the behaviour of Deformable DETR's matcher."""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.activations import sigmoid, softmax, surprisal
from detr_spec.costs.cost import ClassCost, Pairs
from detr_spec.tolerance import Numbers, hull, log, within


@dataclass(frozen=True, kw_only=True)
class NegativeProbability(ClassCost):
    """−p at the label, p = softmax(z) or sigmoid(z)."""

    name = "negative-probability"

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        if pairs.has_no_object:
            return -softmax(pairs.logits)[:, pairs.labels]
        return -pairs.at_labels(sigmoid)


@dataclass(frozen=True, kw_only=True)
class FocalCost(ClassCost):
    """α(1−p)^γ · −log(p+ε) − (1−α)p^γ · −log(1−p+ε) at the label, p = sigmoid(z); the mean over a label's tokens.

    Without an ε the logarithms are those of the logit, finite wherever it is.
    """

    alpha: float = 0.25
    gamma: float = 2.0
    epsilon: float = 1e-8

    name = "focal"
    activation = "sigmoid"
    drawn = {  # noqa: RUF012
        "alpha": (0.25, 0.5, 0.75, 0.0),
        "gamma": (2.0, 1.0, 3.0, 1.5, 0.0, 2.5),
    }

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        together = pairs.at_labels(lambda logits: self._positive(logits) - self._negative(logits))
        if pairs.phrases is None:
            return together
        return hull(together, pairs.at_labels(self._positive) - pairs.at_labels(self._negative))

    def _positive(self, logits: Numbers) -> Numbers:
        probability = sigmoid(logits)
        surprise = -log(probability + self.epsilon) if self.epsilon else surprisal(logits)
        return within(1.0 - probability, least=0.0) ** self.gamma * surprise * self.alpha

    def _negative(self, logits: Numbers) -> Numbers:
        probability = sigmoid(logits)
        complement = within(1.0 - probability, least=0.0)
        surprise = -log(complement + self.epsilon) if self.epsilon else surprisal(-logits)
        return probability**self.gamma * surprise * (1.0 - self.alpha)

    @property
    def of_nothing_is_finite(self) -> bool:
        """Whether the logarithm of a probability of 0 is finite."""
        return self.epsilon > 0
