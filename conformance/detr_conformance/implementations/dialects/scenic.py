"""The reference's twin of scenic's DETR under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.rt_detr import loss_weights
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def scenic_matcher(configuration: Configuration) -> dialects.ScenicMatcher:
    """Scenic's matcher."""
    return dialects.ScenicMatcher(*configuration.cost_weights)


def scenic_loss(configuration: Configuration) -> dialects.ScenicLoss:
    """Scenic's losses, with a matcher of their own."""
    return dialects.ScenicLoss(
        configuration.columns,
        scenic_matcher(configuration),
        loss_weights(configuration),
        configuration.class_loss.numbers["eos_coef"],
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects", profile="scenic", limits=LIMITS, matcher=scenic_matcher, criterion=scenic_loss
    ),
)
