"""The reference's twin of Group DETR under the suite's interfaces."""

from __future__ import annotations

from torch import nn

from detr_conformance.bridges.inputs import Factory
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.conditional_detr import matcher_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_reference.batch import Outputs, Pairs, Targets
from detr_spec.configuration import Configuration


class GroupMatcher(nn.Module):
    """A matcher of a kind as its criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration, kind: type[dialects.GroupDETRMatcher]) -> None:
        super().__init__()
        self.groups = configuration.profile.matching.groups
        self.matcher = matcher_of(kind)(configuration)

    def forward(self, outputs: Outputs, targets: Targets) -> Pairs:
        """The pairs of each image."""
        pairs: Pairs = self.matcher(outputs, targets, group_detr=self.groups if self.training else 1)
        return pairs


def group_criterion_of(kind: type[dialects.GroupDETRCriterion], matcher: type[dialects.GroupDETRMatcher]) -> Factory:
    """Criteria of a kind, each with a matcher of its own."""

    def build(configuration: Configuration) -> dialects.GroupDETRCriterion:
        scope = configuration.profile.matching
        return kind(
            configuration.num_classes,
            matcher_of(matcher)(configuration),
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
        matcher=lambda configuration: GroupMatcher(configuration, dialects.GroupDETRMatcher),
        criterion=group_criterion_of(dialects.GroupDETRCriterion, dialects.GroupDETRMatcher),
        postprocess=lambda configuration: dialects.GroupDETRPostProcess(configuration.top_k),
    ),
)
