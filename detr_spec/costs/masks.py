"""The costs of masks at points. Cheng et al. 2022, "Mask2Former", section 3.3, as its published matcher has them."""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.activations import binary_cross_entropy, sigmoid
from detr_spec.costs.cost import MaskCost, Pairs
from detr_spec.tolerance import Numbers


@dataclass(frozen=True, kw_only=True)
class MaskCrossEntropyCost(MaskCost):
    """The mean over points of −t log p − (1 − t) log(1 − p) of every pair."""

    name = "mask-cross-entropy"
    weighed_by = "cost_mask"

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        masks = pairs.compared
        logits, inside = masks.logits[:, None, :], masks.inside()[None, :, :]
        return binary_cross_entropy(logits, inside).sum(axis=2) / masks.count


@dataclass(frozen=True, kw_only=True)
class MaskDiceCost(MaskCost):
    """1 − (2 Σ p t + 1) / (Σ p + Σ t + 1) of every pair, sums over points."""

    name = "mask-dice"
    weighed_by = "cost_dice"

    def value(self, pairs: Pairs) -> Numbers:
        """Its value; [Q, n]."""
        masks = pairs.compared
        probability, inside = sigmoid(masks.logits), masks.inside()
        overlap = (probability[:, None, :] * inside[None, :, :]).sum(axis=2)
        both = probability.sum(axis=1)[:, None] + inside.sum(axis=1)[None, :]
        return 1.0 - (2.0 * overlap + 1.0) / (both + 1.0)
