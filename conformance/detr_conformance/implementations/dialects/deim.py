"""The reference's twin of DEIM under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def deim_matcher(configuration: Configuration) -> dialects.DEIMMatcher:
    """DEIM's matcher."""
    weights = dict(zip(("cost_class", "cost_bbox", "cost_giou"), configuration.cost_weights, strict=True))
    numbers = configuration.class_cost.numbers
    return dialects.DEIMMatcher(weights, numbers["alpha"], numbers["gamma"])


def deim_criterion(configuration: Configuration) -> dialects.DEIMCriterion:
    """DEIM's criterion, with a matcher of its own."""
    (fgl,) = configuration.profile.further_losses
    edges = fgl.term.numbers
    return dialects.DEIMCriterion(
        deim_matcher(configuration),
        {
            "loss_mal": configuration.loss_class,
            "loss_bbox": configuration.loss_bbox,
            "loss_giou": configuration.loss_giou,
            fgl.key: fgl.weight,
        },
        gamma=configuration.class_loss.numbers["gamma"],
        num_classes=configuration.num_classes,
        reg_max=int(edges["reg_max"]),
        up=edges["up"],
        reg_scale=edges["scale"],
        mal_alpha=configuration.class_loss.numbers["alpha"],
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="deim",
        limits=LIMITS,
        matcher=deim_matcher,
        criterion=deim_criterion,
        postprocess=lambda configuration: dialects.DEIMPostProcessor(configuration.top_k),
    ),
)
