"""The reference's twin of D-FINE under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def d_fine_matcher(configuration: Configuration) -> dialects.DFINEMatcher:
    """D-FINE's matcher."""
    weights = dict(zip(("cost_class", "cost_bbox", "cost_giou"), configuration.cost_weights, strict=True))
    numbers = configuration.class_cost.numbers
    return dialects.DFINEMatcher(weights, numbers["alpha"], numbers["gamma"])


def d_fine_criterion(configuration: Configuration) -> dialects.DFINECriterion:
    """D-FINE's criterion, with a matcher of its own."""
    (fgl,) = configuration.profile.further_losses
    edges = fgl.term.numbers
    return dialects.DFINECriterion(
        d_fine_matcher(configuration),
        {
            "loss_vfl": configuration.loss_class,
            "loss_bbox": configuration.loss_bbox,
            "loss_giou": configuration.loss_giou,
            fgl.key: fgl.weight,
        },
        alpha=configuration.class_loss.numbers["alpha"],
        gamma=configuration.class_loss.numbers["gamma"],
        num_classes=configuration.num_classes,
        reg_max=int(edges["reg_max"]),
        up=edges["up"],
        reg_scale=edges["scale"],
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="d-fine",
        limits=LIMITS,
        matcher=d_fine_matcher,
        criterion=d_fine_criterion,
        postprocess=lambda configuration: dialects.DFINEPostProcessor(configuration.top_k),
    ),
)
