"""DEIM: D-FINE with the matchability-aware loss of classes.

Huang et al. 2025, "DEIM: DETR with Improved Matching for Fast Convergence"; norm §12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..quality import matchability_loss
from .d_fine import DFINECriterion, DFINEMatcher, DFINEPostProcessor

DEIMMatcher = DFINEMatcher
DEIMPostProcessor = DFINEPostProcessor


class DEIMCriterion(DFINECriterion):
    """The losses `loss_mal`, `loss_bbox` and `loss_giou`, otherwise as `DFINECriterion`.

    mal_alpha: the weight of what is no object. DEIM trains with gamma 1.5 and without a mal_alpha, which is 1.
    """

    class_key = "loss_mal"
    class_loss = "mal"

    def __init__(
        self,
        matcher: Callable[..., Any],
        weight_dict: Mapping[str, float],
        losses: Sequence[str] = ("mal", "boxes", "local"),
        gamma: float = 1.5,
        num_classes: int = 80,
        reg_max: int = 32,
        mal_alpha: float | None = None,
        up: float = 0.5,
        reg_scale: float = 4.0,
        temperature: float = 5.0,
    ) -> None:
        alpha = 1.0 if mal_alpha is None else mal_alpha
        edges = reg_max, up, reg_scale, temperature
        super().__init__(matcher, weight_dict, losses, alpha, gamma, num_classes, *edges)

    def quality_loss(self, logits: Tensor, positive: Tensor, quality: Tensor) -> Tensor:
        """Return the classification loss of each logit, [B, Q, K], given which are positive, and the overlaps there."""
        return matchability_loss(logits, positive, quality, self.focal_alpha, self.focal_gamma)
