"""The reference's twin of Grounding DINO under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.conditional_detr import matcher_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def criterion(configuration: Configuration) -> dialects.GroundingDINOCriterion:
    """The criterion with a matcher of its own."""
    matcher = matcher_of(dialects.GroundingDINOMatcher)(configuration)
    return dialects.GroundingDINOCriterion(
        matcher,
        configuration.weight_dict,
        configuration.class_loss.numbers["alpha"],
        configuration.class_loss.numbers["gamma"],
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="grounding-dino",
        limits=LIMITS,
        matcher=matcher_of(dialects.GroundingDINOMatcher),
        criterion=criterion,
        postprocess=lambda configuration: dialects.GroundingDINOPostProcess(configuration.top_k),
    ),
)
