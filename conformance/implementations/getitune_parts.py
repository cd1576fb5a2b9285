"""RT-DETR's criterion and the matcher of getitune (https://github.com/open-edge-platform/training_extensions).

Declared: areas of unions and enclosing boxes below 1e-6 are raised to it before they are subtracted, as in mmdetection,
from which they come; costs beyond 1e10 become that; no box is refused. Losses are weighted already. The machine epsilon
of float32 is added to the divisors of box losses, which are judged in that dtype. The criterion builds its matcher
itself, and is given the one of the configuration instead. Labels, columns and the number of targets are not looked at.
"""

from __future__ import annotations

from families import DENOISING, UNCHECKED, Criterion, cost_weights, loss_weights
from getitune.backend.lightning.models.common.utils.assigners import HungarianMatcher
from getitune.backend.lightning.models.detection.losses import DetrCriterion
from torch import nn

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profile import BoxRules, replace
from detr_spec.profiles import RT_DETR


def matcher(configuration: Configuration) -> HungarianMatcher:
    """The matcher."""
    cost = configuration.class_cost
    return HungarianMatcher(cost_weights(configuration), alpha=cost.alpha, gamma=cost.gamma)


def criterion(configuration: Configuration) -> nn.Module:
    """The criterion, with the matcher of the configuration."""
    loss = configuration.class_loss
    built = DetrCriterion(loss_weights(configuration), loss.alpha, loss.gamma, configuration.num_classes)
    built.matcher = matcher(configuration)
    return Criterion(built)


IMPLEMENTATION = torch_implementation(
    name="getitune",
    profile=replace(
        RT_DETR, **UNCHECKED, keys=DENOISING, boxes=BoxRules(least_divisor=1e-6, adjusted="areas", invalid="unchecked")
    ),
    limits=Limits(dtypes=("float32",)),
    matcher=matcher,
    criterion=criterion,
)
