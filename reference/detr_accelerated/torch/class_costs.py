"""The part of the matching cost that the class of each target has, in both dialects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..compiled.calling import compiled_for, imported, in_threads, shares, threads_worth
from ..compiled.softmax import Softmax
from ..like_logits import LikeLogits

SUBTRACT = ("costs", "subtract_probabilities")
ELEMENTS_WORTH_A_THREAD = 2**18
FOCAL_COSTS_WORTH_A_THREAD = 2**15

LEAST_EPSILON = 1e-30
"""Below it the logarithm is of a number that the compiled one is not for."""


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


def is_compiled_for(focal: FocalCost | None, boxes: Tensor) -> bool:
    """Return whether the class costs of that dialect are compiled: on the CPU, with numba, and by proper numbers."""
    if compiled_for(boxes, *SUBTRACT) is None:
        return False
    return focal is None or (focal.gamma >= 0 and focal.epsilon >= LEAST_EPSILON)


def subtract_probabilities(cost: Tensor, softmax: Softmax, labels: Tensor, cost_class: float) -> None:
    """Take cost_class times the probability of each target's label from the costs [P, T, Q].

    labels: int64 [B, T], those of problem p being image p % B's.
    """
    kernel = imported(*SUBTRACT)
    threads, weight = threads_worth(cost.numel(), ELEMENTS_WORTH_A_THREAD), cost.numpy().dtype.type(cost_class)
    tasks = [
        partial(kernel, *(values[own].numpy() for values in part), labels.numpy(), weight)
        for part in softmax.exponentials.with_parts(softmax.exponential_sum, cost)
        # Whole layers, as the first of the labels are those of the first image.
        for own in shares(len(part[0]), threads, at_once=len(labels))
    ]
    in_threads(threads, tasks)


def add_focal_costs(
    cost: Tensor, layers: Sequence[Tensor], labels: Tensor, cost_class: float, focal: FocalCost
) -> None:
    """Add cost_class times the focal cost of each target's label to the costs [P, T, Q].

    layers: logits [B, Q, C] of each. labels: int64 [B, T], those of problem p being image p % B's.
    """
    kernel = imported("costs", "add_focal_costs")
    formula = (cost_class, focal.alpha, focal.gamma, focal.epsilon)
    tasks = [
        partial(kernel, logits.contiguous().numpy(), own.numpy(), labels.numpy(), *formula)
        for logits, own in zip(layers, torch.split(cost, len(labels)), strict=True)
    ]
    in_threads(threads_worth(cost.numel(), FOCAL_COSTS_WORTH_A_THREAD), tasks)


def write_at_labels(numbers: LikeLogits, labels: Tensor, written: Tensor) -> None:
    """Write the numbers of each query at the label of each target, [P, T, Q]; labels: int64 [P, T]."""
    for part, own_labels, own in numbers.with_parts(labels, written):
        problems = torch.arange(len(part), device=part.device)[:, None]
        # It is own = part.transpose(1, 2)[problems, own_labels], without memory for what is copied.
        torch.ops.aten.index.Tensor_out(part.transpose(1, 2), [problems, own_labels], out=own)
