"""The two dialects, and the numbers that their costs and losses take, as kernels are given them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cache

import torch


class Dialect(Enum):
    """Whether the logits go through a softmax with no-object, or a sigmoid each; named as in the kernels."""

    SOFTMAX = "SOFTMAX"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True)
class CostFormula:
    """The weights of the matching cost, and what the focal cost of the sigmoid dialect takes."""

    cost_class: float
    cost_bbox: float
    cost_giou: float
    alpha: float = 0.0
    gamma: float = 0.0
    epsilon: float = 0.0


@cache
def _passed_on_at_the_bound() -> float:
    """Return what torch's clamp passes on of a gradient where the value is the bound, which depends on its version."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        side = torch.zeros((), device="cpu", requires_grad=True)
        return torch.autograd.grad(side.clamp(min=0), side)[0].item()


@dataclass(frozen=True)
class LossFormula:
    """What the classification loss takes, in the softmax or the sigmoid dialect, and what sums are divided by.

    touching: what is passed on of the gradient of an overlap whose side is 0.
    """

    eos_coef: float
    alpha: float
    gamma: float
    num_boxes: float
    touching: float = field(default_factory=_passed_on_at_the_bound)
