"""The reference's twin of H-DETR under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.conditional_detr import matcher_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def h_detr_criterion(configuration: Configuration) -> dialects.HDETRCriterion:
    """H-DETR's criterion, with a matcher of its own."""
    return dialects.HDETRCriterion(
        configuration.num_classes,
        matcher_of(dialects.HDETRMatcher)(configuration),
        configuration.weight_dict,
        configuration.class_loss.numbers["alpha"],
        configuration.losses,
        configuration.class_loss.numbers["gamma"],
        k_one2many=configuration.profile.one_to_many_repeats,
        lambda_one2many=configuration.one_to_many_weight,
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="h-detr",
        limits=LIMITS,
        matcher=matcher_of(dialects.HDETRMatcher),
        criterion=h_detr_criterion,
        postprocess=lambda configuration: dialects.HDETRPostProcess(configuration.top_k),
    ),
)
