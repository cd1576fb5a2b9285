"""The cost of a score and an overlap together. Huang et al. 2025, "DEIMv2": the matcher of the last epochs."""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.activations import sigmoid, softmax
from detr_spec.boxes import iou
from detr_spec.costs.cost import Cost, Pairs
from detr_spec.tolerance import Numbers, rounded_like, within


@dataclass(frozen=True, kw_only=True)
class ScoreTimesOverlap(Cost):
    """−p · IoU^exponent, p = softmax(z) or sigmoid(z) at the label."""

    exponent: float = 4.0

    name = "score-times-overlap"
    reads = frozenset({"logits", "boxes"})
    laws = frozenset({"scale-invariant"})

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        scores = softmax(pairs.logits)[:, pairs.labels] if pairs.has_no_object else pairs.at_labels(sigmoid)
        overlap = iou(*pairs.corners, pairs.rules)
        return -(scores * within(rounded_like(overlap, pairs.boxes), least=0.0) ** self.exponent)
