"""A batch whose queries are matched, as the criterion has it on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from detr_reference.batch import Outputs

from .predictions import Predictions
from .targets import PackedTargets


class Batch(NamedTuple):
    """All that the losses of a batch are computed from; L layers, the last decoder layer first, P = L·B problems.

    layers: dicts of `pred_logits` and `pred_boxes`. predictions: the same, packed, without gradient. targets: packed.
    columns: int64 [P, T], the query of each target, or -1. num_boxes: what sums are divided by.
    """

    layers: Sequence[Outputs]
    predictions: Predictions
    targets: PackedTargets
    columns: Tensor
    num_boxes: float

    @property
    def logits(self) -> list[Tensor]:
        """The logits [B, Q, C] of each layer, with their gradient."""
        return [layer["pred_logits"] for layer in self.layers]

    @property
    def matched(self) -> Tensor:
        """Which targets have a query, bool [P, T]."""
        return self.columns >= 0

    @property
    def labels(self) -> Tensor:
        """The label of each problem's targets, int64 [P, T]."""
        return self.targets.labels.repeat(len(self.layers), 1)

    def by_layer(self, values: Tensor) -> Tensor:
        """Return the sums [L] of values [P, ...]."""
        return values.reshape(len(self.layers), -1).sum(dim=1)
