"""The loss and the matcher of Mask2Former in Hugging Face transformers.

Declared: the key names `class_queries_logits`, `masks_queries_logits`, `class_labels`, `mask_labels` and
`loss_cross_entropy`; a matcher that is called with these four; costs that are not finite are replaced by the greatest
number, as documented, so that broken logits rank last. Points are drawn in float32, so nothing is judged in float64.

Both draw their points by `torch.rand`, which is given the points of a case.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.models.mask2former.configuration_mask2former import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerHungarianMatcher, Mask2FormerLoss
from transformers_losses import set_up_accelerate

from detr_conformance import torch_implementation
from detr_conformance.bridges.torch_points import points_given
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profile import MatcherRules, replace
from detr_spec.profiles import MASK2FORMER

PROFILE = replace(
    MASK2FORMER,
    keys=replace(
        MASK2FORMER.keys,
        logits="class_queries_logits",
        masks="masks_queries_logits",
        auxiliary="auxiliary_predictions",
        labels="class_labels",
        target_masks="mask_labels",
        classification="loss_cross_entropy",
    ),
    matcher=MatcherRules(arguments=("masks", "logits", "target_masks", "labels")),
    non_finite_logits="rank-last",
)
LIMITS = Limits(dtypes=("float32",), mask_points=True)


def cost_weights(configuration: Configuration) -> dict[str, float]:
    """The weights of classes, masks and dice in the matching cost."""
    return {name: getattr(configuration, name) for name in ("cost_class", "cost_mask", "cost_dice")}


class Matcher(nn.Module):
    """The matcher, which draws the points of a case."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        self.matcher = Mask2FormerHungarianMatcher(
            **cost_weights(configuration), num_points=configuration.profile.masks.points
        )

    def forward(self, *arguments: Any) -> Any:
        """The pairs of each image."""
        with points_given(self.configuration):
            return self.matcher(*arguments)


class Loss(nn.Module):
    """The loss, called as the model calls it, which draws the points of a case."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        set_up_accelerate()
        self.configuration = configuration
        weights, rules = cost_weights(configuration), configuration.profile.masks
        config = Mask2FormerConfig(
            no_object_weight=configuration.class_loss.numbers["eos_coef"],
            class_weight=weights["cost_class"],
            mask_weight=weights["cost_mask"],
            dice_weight=weights["cost_dice"],
            train_num_points=rules.points,
            oversample_ratio=rules.oversampling,
            importance_sample_ratio=rules.uncertain,
            num_labels=configuration.num_classes,
        )
        self.loss = Mask2FormerLoss(config, configuration.weight_dict)
        self.matcher, self.weight_dict = self.loss.matcher, self.loss.weight_dict

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        masks = [target["mask_labels"].float() for target in targets]
        with points_given(self.configuration):
            losses: dict[str, Tensor] = self.loss(
                outputs["masks_queries_logits"],
                outputs["class_queries_logits"],
                masks,
                [target["class_labels"] for target in targets],
                outputs.get("auxiliary_predictions"),
            )
        return losses


IMPLEMENTATION = torch_implementation(
    name="transformers-mask2former", profile=PROFILE, limits=LIMITS, matcher=Matcher, criterion=Loss, masks=Loss
)
