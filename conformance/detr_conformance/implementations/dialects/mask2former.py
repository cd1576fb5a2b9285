"""The reference's twin of Mask2Former under the suite's interfaces."""

from __future__ import annotations

from dataclasses import replace

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.bridges.torch_points import sampler_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def mask2former_matcher(configuration: Configuration) -> dialects.Mask2FormerMatcher:
    """The matcher, with the points of the case."""
    return dialects.Mask2FormerMatcher(
        configuration.cost_class,
        configuration.cost_mask,
        configuration.cost_dice,
        configuration.profile.masks.points,
        sampler_of(configuration),
    )


def mask2former_criterion(configuration: Configuration) -> dialects.Mask2FormerCriterion:
    """The criterion, with a matcher of its own."""
    rules = configuration.profile.masks
    return dialects.Mask2FormerCriterion(
        configuration.num_classes,
        mask2former_matcher(configuration),
        configuration.weight_dict,
        configuration.class_loss.numbers["eos_coef"],
        ["labels", "masks"],
        rules.points,
        rules.oversampling,
        rules.uncertain,
        sampler_of(configuration),
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="mask2former",
        limits=replace(LIMITS, mask_points=True),
        matcher=mask2former_matcher,
        criterion=mask2former_criterion,
        masks=mask2former_criterion,
    ),
)
