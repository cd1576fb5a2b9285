"""The reference's twin of RT-DETR under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def rt_detr_matcher(configuration: Configuration) -> dialects.RTDETRMatcher:
    """RT-DETR's matcher."""
    weights = dict(zip(("cost_class", "cost_bbox", "cost_giou"), configuration.cost_weights, strict=True))
    numbers = configuration.class_cost.numbers
    return dialects.RTDETRMatcher(weights, numbers["alpha"], numbers["gamma"])


def rt_detr_criterion(configuration: Configuration) -> dialects.RTDETRCriterion:
    """RT-DETR's criterion, with a matcher of its own."""
    return dialects.RTDETRCriterion(
        rt_detr_matcher(configuration),
        {
            "loss_vfl": configuration.loss_class,
            "loss_bbox": configuration.loss_bbox,
            "loss_giou": configuration.loss_giou,
        },
        alpha=configuration.class_loss.numbers["alpha"],
        gamma=configuration.class_loss.numbers["gamma"],
        num_classes=configuration.num_classes,
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="rt-detr",
        limits=LIMITS,
        matcher=rt_detr_matcher,
        criterion=rt_detr_criterion,
        postprocess=lambda configuration: dialects.RTDETRPostProcessor(configuration.top_k),
    ),
)
