"""The part of the matching cost that the class of each target has, in both dialects."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .compiled import compiled
from .like_logits import LikeLogits
from .predictions import at_labels, in_parts
from .softmax import Softmax


@dataclass(frozen=True)
class FocalCost:
    """The class cost of the sigmoid dialect, callable as the reference's."""

    alpha: float
    gamma: float
    epsilon: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the costs [Q, n] of logits [Q, C] and labels [n]."""
        return self.at_labels(logits[:, labels])

    def at_labels(self, logits: Tensor) -> Tensor:
        """Return the costs, in the shape of the logits, of saying yes to the labels that these logits stand for."""
        p = logits.sigmoid()
        cost_of_yes = self.alpha * (1 - p) ** self.gamma * -(p + self.epsilon).log()
        cost_of_no = (1 - self.alpha) * p**self.gamma * -(1 - p + self.epsilon).log()
        return cost_of_yes - cost_of_no


def focal_cost(alpha: float = 0.25, gamma: float = 2.0, epsilon: float = 1e-8) -> FocalCost:
    """Return the class cost of the sigmoid dialect, as `detr_reference.focal_cost` does."""
    return FocalCost(alpha, gamma, epsilon)


def add_focal_costs(cost: Tensor, logits: LikeLogits, labels: Tensor, focal: FocalCost, cost_class: float) -> None:
    """Add cost_class times the focal cost to the costs [P, T, Q].

    labels: int64 [B, T], those of problem p being image p % B's.
    """
    for own_logits, own_cost in logits.with_parts(cost):
        own_labels = _repeated(labels, own_cost)
        for written, *part in in_parts(cost[0].numel(), own_cost, own_logits, own_labels):
            written.add_(focal.at_labels(at_labels(*part)).to(cost.dtype), alpha=cost_class)


def subtract_probabilities(cost: Tensor, softmax: Softmax, labels: Tensor, cost_class: float) -> None:
    """Take cost_class times the probability of each target's label from the costs [P, T, Q].

    labels: as in `add_focal_costs`. On the CPU it is compiled where numba is installed.
    """
    kernel = compiled("numba_costs", "subtract_probabilities") if cost.device.type == "cpu" else None
    for exponentials, exponential_sum, own_cost in softmax.exponentials.with_parts(softmax.exponential_sum, cost):
        if kernel is None:
            _subtract_in_torch(exponentials, exponential_sum, own_cost, labels, cost_class)
        else:
            arrays = [tensor.numpy() for tensor in (exponentials, exponential_sum, own_cost, labels)]
            kernel(*arrays, arrays[2].dtype.type(cost_class))


def _subtract_in_torch(
    exponentials: Tensor, exponential_sum: Tensor, cost: Tensor, labels: Tensor, cost_class: float
) -> None:
    """Write what `subtract_probabilities` does into a part of the costs."""
    given = (cost, exponentials, exponential_sum, _repeated(labels, cost))
    for written, of_logits, of_queries, own_labels in in_parts(cost[0].numel(), *given):
        of_labels = at_labels(of_logits, own_labels).to(cost.dtype)
        written.addcdiv_(of_labels, of_queries[:, None], value=-cost_class)


def _repeated(labels: Tensor, cost: Tensor) -> Tensor:
    """Return the labels of each problem, [P, T]."""
    return labels.repeat(len(cost) // len(labels), 1)
