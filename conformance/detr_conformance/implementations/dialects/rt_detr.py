"""The reference's twin of RT-DETR under the suite's interfaces."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from detr_conformance.bridges.inputs import Factory
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def matcher_of(kind: Callable[..., nn.Module]) -> Factory:
    """Matchers of a kind, of RT-DETR or a successor, which take a table of weights."""

    def build(configuration: Configuration) -> nn.Module:
        weights = dict(zip(("cost_class", "cost_bbox", "cost_giou"), configuration.cost_weights, strict=True))
        numbers = configuration.class_cost.numbers
        return kind(weights, numbers["alpha"], numbers["gamma"])

    return build


def loss_weights(configuration: Configuration) -> dict[str, float]:
    """The weights of the last layer's losses, by the dialect's names; they count for every layer."""
    keys = configuration.profile.keys
    weights = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
    return dict(zip((keys.classification, keys.box_l1, keys.box_giou), weights, strict=True))


def rt_detr_criterion(configuration: Configuration) -> dialects.RTDETRCriterion:
    """RT-DETR's criterion, with a matcher of its own."""
    return dialects.RTDETRCriterion(
        matcher_of(dialects.RTDETRMatcher)(configuration),
        loss_weights(configuration),
        alpha=configuration.class_loss.numbers["alpha"],
        gamma=configuration.class_loss.numbers["gamma"],
        num_classes=configuration.num_classes,
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="rt-detr",
        limits=LIMITS,
        matcher=matcher_of(dialects.RTDETRMatcher),
        criterion=rt_detr_criterion,
        postprocess=lambda configuration: dialects.RTDETRPostProcessor(configuration.top_k),
    ),
)
