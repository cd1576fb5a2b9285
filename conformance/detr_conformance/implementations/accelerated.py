"""The accelerated path as implementations, one for each profile.

Heads, decoder and model are the reference's alone. The matching of a criterion is that of all decoder layers at once,
so it is told to whoever watches the matcher layer by layer, and the losses are judged under the matching that they had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

import detr_accelerated as accelerated
from detr_accelerated.matcher import matched_pairs
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_spec.configuration import Configuration

BOXES: dict[str, Callable[..., Tensor]] = {
    "cxcywh_to_xyxy": accelerated.box_cxcywh_to_xyxy,
    "xyxy_to_cxcywh": accelerated.box_xyxy_to_cxcywh,
    "iou": lambda first, second: accelerated.box_iou(first, second)[0],
    "giou": accelerated.generalized_box_iou,
    "elementwise_giou": accelerated.elementwise_generalized_box_iou,
}


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
    """Stands where a criterion's matcher is looked for; called with a layer's outputs, it tells their matching."""

    def forward(
        self,
        outputs: Mapping[str, Tensor],  # noqa: ARG002 (who watches reads it)
        recorded: list[tuple[Tensor, Tensor]],
    ) -> list[tuple[Tensor, Tensor]]:
        """The matching as it was recorded."""
        return recorded


class ToldCriterion(nn.Module):
    """A criterion of the accelerated path that tells the matching of each decoder layer through its `matcher`."""

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
    criterion = accelerated.SetCriterion(
        configuration.num_classes,
        matcher,
        configuration.weight_dict,
        configuration.class_loss.numbers["eos_coef"],
        configuration.losses,
    )
    return ToldCriterion(criterion, matcher)


def deformable_criterion(configuration: Configuration) -> ToldCriterion:
    """The criterion of the sigmoid dialect, with a matcher of its own."""
    matcher = deformable_matcher(configuration)
    criterion = accelerated.FocalSetCriterion(
        configuration.num_classes,
        matcher,
        configuration.weight_dict,
        configuration.losses,
        *configuration.class_loss.numbers.values(),
    )
    return ToldCriterion(criterion, matcher)


IMPLEMENTATIONS = (
    torch_implementation(
        name="accelerated",
        profile="detr",
        limits=LIMITS,
        boxes=BOXES,
        matcher=detr_matcher,
        criterion=detr_criterion,
        masks=detr_criterion,
        postprocess=lambda _: accelerated.PostProcess(),
    ),
    torch_implementation(
        name="accelerated",
        profile="deformable",
        limits=LIMITS,
        boxes=BOXES,
        matcher=deformable_matcher,
        criterion=deformable_criterion,
        masks=deformable_criterion,
        postprocess=lambda configuration: accelerated.TopKPostProcess(configuration.top_k),
    ),
)
