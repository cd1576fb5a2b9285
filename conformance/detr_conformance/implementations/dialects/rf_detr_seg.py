"""The reference's twin of RF-DETR with segmentation under the suite's interfaces."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.bridges.torch_points import sampler_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_reference.batch import Outputs, Pairs, Targets
from detr_spec.configuration import Configuration


def rf_detr_seg_matcher(configuration: Configuration) -> dialects.RFDETRSegMatcher:
    """The matcher, with the points of the case."""
    profile, numbers = configuration.profile, configuration.class_cost.numbers
    return dialects.RFDETRSegMatcher(
        *configuration.cost_weights,
        numbers["alpha"],
        int(profile.masks.pixels_per_point or 1),
        configuration.cost_mask,
        configuration.cost_dice,
        numbers["gamma"],
        sampler_of(configuration),
    )


class InGroups(nn.Module):
    """The matcher as its criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.groups = configuration.profile.matching.groups
        self.matcher = rf_detr_seg_matcher(configuration)

    def forward(self, outputs: Outputs, targets: Targets) -> Pairs:
        """The pairs of each image."""
        pairs: Pairs = self.matcher(outputs, targets, group_detr=self.groups if self.training else 1)
        return pairs


def rf_detr_seg_criterion(configuration: Configuration) -> dialects.RFDETRSegCriterion:
    """The criterion, with a matcher of its own."""
    profile = configuration.profile
    return dialects.RFDETRSegCriterion(
        configuration.num_classes,
        rf_detr_seg_matcher(configuration),
        configuration.weight_dict,
        configuration.class_loss.numbers["alpha"],
        configuration.losses,
        group_detr=profile.matching.groups,
        sum_group_losses=profile.matching.group_losses == "sum",
        mask_point_sample_ratio=int(profile.masks.pixels_per_point or 1),
        focal_gamma=configuration.class_loss.numbers["gamma"],
        sampler=sampler_of(configuration),
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="rf-detr-seg",
        limits=replace(LIMITS, mask_points=True),
        matcher=InGroups,
        criterion=rf_detr_seg_criterion,
        masks=rf_detr_seg_criterion,
        postprocess=lambda configuration: dialects.RFDETRPostProcess(configuration.top_k),
    ),
)
