"""One step of training: forward, losses, backward, clipped gradients, update (norm §6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batch import Targets
from .criterion import SetPredictionCriterion

MAX_GRADIENT_NORM = 0.1


class StepMetrics(NamedTuple):
    """What one training step logs.

    total: the training loss, Σ weight · loss. unweighted: every loss and metric of the criterion by its key. weighted:
    each loss that has a weight, times that weight. gradient_norm: of all parameters, before it was clipped.
    """

    total: float
    unweighted: dict[str, float]
    weighted: dict[str, float]
    gradient_norm: float


def training_step(
    model: Callable[[Any], dict[str, Any]],
    criterion: SetPredictionCriterion,
    optimizer: torch.optim.Optimizer,
    images: Sequence[Tensor],
    targets: Targets,
    max_gradient_norm: float = MAX_GRADIENT_NORM,
) -> StepMetrics:
    """Update the parameters that the optimizer holds by one step on a batch, and return what is to be logged.

    images: B images as the model takes them. targets: B dicts of `labels` [n] and `boxes` [n, 4], cxcywh in [0, 1].
    The norm of all gradients together is clipped to max_gradient_norm.

    Raises ValueError where the criterion does, and if the training loss is not finite, before anything is updated.
    """
    losses = criterion(model(images), targets)
    total = criterion.total(losses)
    if not total.isfinite():
        raise ValueError(f"the training loss is {total.item()}; its terms are {_numbers(losses)}")
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradient_norm = nn.utils.clip_grad_norm_(parameters, max_gradient_norm)
    optimizer.step()
    weights = criterion.weight_dict
    return StepMetrics(
        total=total.item(),
        unweighted=_numbers(losses),
        weighted={name: weights[name] * loss.item() for name, loss in losses.items() if name in weights},
        gradient_norm=float(gradient_norm),
    )


def _numbers(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}
