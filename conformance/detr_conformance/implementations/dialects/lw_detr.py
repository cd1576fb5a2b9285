"""The reference's twin of LW-DETR under the suite's interfaces."""

from __future__ import annotations

from torch import nn

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_reference.batch import Outputs, Pairs, Targets
from detr_spec.configuration import Configuration


def lw_detr_matcher(configuration: Configuration) -> dialects.LWDETRMatcher:
    """LW-DETR's matcher, to be called with a number of groups."""
    numbers = configuration.class_cost.numbers
    return dialects.LWDETRMatcher(*configuration.cost_weights, numbers["alpha"], numbers["gamma"])


class GroupMatcher(nn.Module):
    """LW-DETR's matcher as its criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.groups = configuration.profile.matching.groups
        self.matcher = lw_detr_matcher(configuration)

    def forward(self, outputs: Outputs, targets: Targets) -> Pairs:
        """The pairs of each image."""
        pairs: Pairs = self.matcher(outputs, targets, group_detr=self.groups if self.training else 1)
        return pairs


def lw_detr_criterion(configuration: Configuration) -> dialects.LWDETRCriterion:
    """LW-DETR's criterion, with a matcher of its own."""
    scope = configuration.profile.matching
    return dialects.LWDETRCriterion(
        configuration.num_classes,
        lw_detr_matcher(configuration),
        configuration.weight_dict,
        configuration.class_loss.numbers["alpha"],
        configuration.losses,
        group_detr=scope.groups,
        sum_group_losses=scope.group_losses == "sum",
        focal_gamma=configuration.class_loss.numbers["gamma"],
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="lw-detr",
        limits=LIMITS,
        matcher=GroupMatcher,
        criterion=lw_detr_criterion,
        masks=lw_detr_criterion,
        postprocess=lambda configuration: dialects.LWDETRPostProcess(configuration.top_k),
    ),
)
