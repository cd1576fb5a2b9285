"""The reference's twin of Group DETR under the suite's interfaces."""

from __future__ import annotations

from torch import nn

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.bridges.torch_inputs import Factory
from detr_conformance.implementations.dialects.conditional_detr import matcher_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_reference.batch import Outputs, Pairs, Targets
from detr_spec.configuration import Configuration

group_matcher = matcher_of(dialects.GroupDETRMatcher)
"""A matcher that is called with a number of groups."""


class GroupMatcher(nn.Module):
    """Such a matcher as its criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.groups = configuration.profile.matching.groups
        self.matcher = group_matcher(configuration)

    def forward(self, outputs: Outputs, targets: Targets) -> Pairs:
        """The pairs of each image."""
        pairs: Pairs = self.matcher(outputs, targets, group_detr=self.groups if self.training else 1)
        return pairs


def group_criterion_of(kind: type[dialects.GroupDETRCriterion]) -> Factory:
    """Criteria of a kind, each with a matcher of its own."""

    def build(configuration: Configuration) -> dialects.GroupDETRCriterion:
        scope = configuration.profile.matching
        return kind(
            configuration.num_classes,
            group_matcher(configuration),
            configuration.weight_dict,
            configuration.class_loss.numbers["alpha"],
            configuration.losses,
            group_detr=scope.groups,
            sum_group_losses=scope.group_losses == "sum",
            focal_gamma=configuration.class_loss.numbers["gamma"],
        )

    return build


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="group-detr",
        limits=LIMITS,
        matcher=GroupMatcher,
        criterion=group_criterion_of(dialects.GroupDETRCriterion),
        postprocess=lambda configuration: dialects.GroupDETRPostProcess(configuration.top_k),
    ),
)
