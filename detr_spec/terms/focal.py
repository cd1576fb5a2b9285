"""The sigmoid focal loss of Deformable DETR (Zhu et al. 2021), after Lin et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.activations import sigmoid, surprisal
from detr_spec.terms.term import ClassTerm, Layer
from detr_spec.tolerance import Numbers, SameNumbers, exp, hull, is_interval, where, within
from detr_spec.values import Booleans


@dataclass(frozen=True, kw_only=True)
class Focal(ClassTerm):
    """Σ α_t (1 − p_t)^γ · −log p_t over all logits / num_boxes; p_t is p at a query's target, 1 − p elsewhere."""

    alpha: float = 0.25
    gamma: float = 2.0

    name = "focal"
    activation = "sigmoid"
    laws = frozenset({"divided by boxes", "reads logits alone"})
    drawn = {  # noqa: RUF012
        "alpha": (0.25, 0.5, 0.75, 0.0),
        "gamma": (2.0, 1.0, 3.0, 1.5, 0.0, 2.5),
    }

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        terms = focal_terms(layer.logits, layer.positive, self.alpha, self.gamma)
        return layer.total(terms) / layer.normaliser

    def teaches(self) -> bool:
        """Whether both objects and no object contribute to it."""
        return 0 < self.alpha < 1


@dataclass(frozen=True, kw_only=True)
class FocalOverPairs(Focal):
    """The same sum over the number of matched pairs of the process, at least 1.

    As Open-GroundingDino trains Grounding DINO (Liu et al. 2023).
    """

    name = "focal-over-pairs"
    laws = frozenset({"reads logits alone"})

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        terms = focal_terms(layer.logits, layer.positive, self.alpha, self.gamma)
        return layer.total(terms) / float(max(len(layer.images), 1))


def focal_terms(logits: SameNumbers, positive: Booleans, alpha: float, gamma: float) -> SameNumbers:
    """α_t (1 − p_t)^γ · −log p_t of each logit, p_t = p where `positive`, else 1 − p; [...] → [...].

    The logarithm is taken from the logit, so it is finite for every finite logit. An interval holds the cancellation in
    1 − p_t of usual implementations, which compute it from the logarithm or the sigmoid. Source: Lin et al. 2017, eq.
    5.
    """
    toward = where(positive, logits, -logits)
    surprise = surprisal(toward)
    away = within(1.0 - exp(-surprise), least=0.0)
    if is_interval(toward):
        away = hull(away, sigmoid(-toward), within(1.0 - sigmoid(toward), least=0.0))
    return surprise * away**gamma * where(positive, alpha, 1.0 - alpha)
