"""RF-DETR with segmentation in Hugging Face transformers: its matcher and its criterion.

Declared as for LW-DETR, whose criterion it extends, with the keys of masks as they are returned; outside of its pixels
a mask is 0, as `grid_sample` has it where nothing is said. Both draw their points by `torch.rand`, in float32, which is
given the points of a case; so float32 alone is judged.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.loss.loss_rf_detr import RfDetrHungarianMatcher, RfDetrImageLoss
from transformers_families import LW

from detr_conformance import torch_implementation
from detr_conformance.bridges.torch_points import points_given
from detr_spec.configuration import Configuration
from detr_spec.costs import FocalCost
from detr_spec.implementation import Limits
from detr_spec.profile import replace
from detr_spec.profiles import RF_DETR_SEG

PROFILE = replace(
    RF_DETR_SEG,
    class_cost=FocalCost(),
    masks=replace(RF_DETR_SEG.masks, outside="zeros"),
    keys=replace(LW.keys, mask=RF_DETR_SEG.keys.mask, dice=RF_DETR_SEG.keys.dice),
    **{
        name: getattr(LW, name)
        for name in ("non_finite_logits", "narrow_dtypes", "label_beyond_range", "target_count", "surplus_columns")
    },
)
LIMITS = Limits(
    dtypes=("float32",),
    fixed={"class_cost.alpha": 0.25, "class_cost.gamma": 2.0, "class_loss.gamma": 2.0},
    mask_points=True,
)


class Matcher(nn.Module):
    """The matcher as its criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        self.groups = configuration.profile.matching.groups
        self.matcher = RfDetrHungarianMatcher(
            *configuration.cost_weights,
            mask_point_sample_ratio=int(configuration.profile.masks.pixels_per_point),
            cost_mask_class_cost=configuration.cost_mask,
            cost_mask_dice_cost=configuration.cost_dice,
        )

    def forward(self, outputs: Any, targets: Any) -> Any:
        """The pairs of each image."""
        with points_given(self.configuration):
            return self.matcher(outputs, targets, self.groups if self.training else 1)


class Criterion(RfDetrImageLoss):
    """The criterion, at the points of a case."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(
            Matcher(configuration).matcher,
            configuration.num_classes,
            configuration.class_loss.alpha,
            configuration.losses,
            configuration.profile.matching.groups,
            int(configuration.profile.masks.pixels_per_point),
        )
        self.configuration = configuration

    def forward(self, *arguments: Any, **options: Any) -> dict[str, Tensor]:
        """The losses of all layers."""
        with points_given(self.configuration):
            losses: dict[str, Tensor] = super().forward(*arguments, **options)
        return losses


IMPLEMENTATION = torch_implementation(
    name="transformers-rf-detr-with-masks",
    profile=PROFILE,
    limits=LIMITS,
    matcher=Matcher,
    criterion=Criterion,
    masks=Criterion,
)
