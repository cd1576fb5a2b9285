"""The accelerated path as implementations, one for each profile.

Heads, decoder and model are the reference's alone. The matching of a criterion is that of all decoder layers at once,
so it is told to whoever watches the matcher layer by layer, and the losses are judged under the matching that they had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

import detr_accelerated as accelerated
from detr_accelerated.matcher import matched_pairs
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations import reference
from detr_spec.configuration import Configuration


class RecordingMatcher(accelerated.HungarianMatcher):
    """The matcher, which keeps the matchings of the problems that it solved last."""

    recorded: list[tuple[Tensor, Tensor]]

    def match(self, predictions: Any, targets: Any) -> Tensor:
        """The query of each target in each problem."""
        columns = super().match(predictions, targets)
        self._record(columns, targets.sizes)
        return columns

    def match_on_device(self, layers: Any, targets: Any, num_labels: int) -> Any:
        """A batch on CUDA and its matching, where kernels find it."""
        matched = super().match_on_device(layers, targets, num_labels)
        if matched is not None:
            batch, found = matched
            self._record(found.columns, batch.sizes)
        return matched

    def _record(self, columns: Tensor, sizes: tuple[int, ...]) -> None:
        self.recorded = matched_pairs(columns, sizes * (len(columns) // len(sizes)))


class Telling(nn.Module):
    """Takes the place of a criterion's matcher; called with a layer's outputs, it returns their matching."""

    def forward(
        self,
        outputs: Mapping[str, Tensor],  # noqa: ARG002 (who watches reads it)
        recorded: list[tuple[Tensor, Tensor]],
    ) -> list[tuple[Tensor, Tensor]]:
        """The matching as it was recorded."""
        return recorded


class ToldCriterion(nn.Module):
    """A criterion of the accelerated path that returns the matching of each decoder layer through its `matcher`."""

    def __init__(
        self, criterion: accelerated.SetCriterion | accelerated.FocalSetCriterion, matcher: RecordingMatcher
    ) -> None:
        super().__init__()
        self._criterion = criterion
        self._matcher = matcher
        self.weight_dict = criterion.weight_dict
        self.matcher = Telling()

    def forward(self, outputs: Mapping[str, Any], targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The criterion's losses."""
        losses: dict[str, Tensor] = self._criterion(outputs, targets)
        recorded = self._matcher.recorded
        for layer, layer_outputs in enumerate([outputs, *outputs.get("aux_outputs", ())]):
            self.matcher(layer_outputs, recorded[layer * len(targets) : (layer + 1) * len(targets)])
        return losses


def detr_matcher(configuration: Configuration) -> RecordingMatcher:
    """The matcher of the softmax dialect."""
    return RecordingMatcher(*configuration.cost_weights)


def deformable_matcher(configuration: Configuration) -> RecordingMatcher:
    """The matcher of the sigmoid dialect."""
    class_cost = accelerated.focal_cost(**configuration.class_cost.numbers)
    return RecordingMatcher(*configuration.cost_weights, class_cost=class_cost)


def detr_criterion(configuration: Configuration) -> ToldCriterion:
    """The criterion of the softmax dialect, with a matcher of its own."""
    matcher = detr_matcher(configuration)
    return ToldCriterion(reference.detr_criterion(configuration, accelerated.SetCriterion, matcher), matcher)


def deformable_criterion(configuration: Configuration) -> ToldCriterion:
    """The criterion of the sigmoid dialect, with a matcher of its own."""
    matcher = deformable_matcher(configuration)
    return ToldCriterion(reference.deformable_criterion(configuration, accelerated.FocalSetCriterion, matcher), matcher)


_OF_BOTH: dict[str, Any] = {
    "name": "accelerated",
    "limits": reference.LIMITS,
    "boxes": reference.box_operations_of(accelerated),
}

IMPLEMENTATIONS = (
    torch_implementation(
        profile="detr",
        matcher=detr_matcher,
        criterion=detr_criterion,
        masks=detr_criterion,
        postprocess=lambda _: accelerated.PostProcess(),
        **_OF_BOTH,
    ),
    torch_implementation(
        profile="deformable",
        matcher=deformable_matcher,
        criterion=deformable_criterion,
        masks=deformable_criterion,
        postprocess=lambda configuration: accelerated.TopKPostProcess(configuration.top_k),
        **_OF_BOTH,
    ),
)
