"""Matcher, criterion, box operations and post-processing of rf-detr (https://github.com/roboflow/rf-detr).

Declared: the logarithms of its focal cost have no epsilon; unions and enclosing areas below 1e-7 are raised to it; no
box is refused, as negative sides count as 0; costs that are not finite are replaced by one that is greater than all
others; boxes are clamped to the image; the encoder's own predictions have losses. The focal γ is fixed, as documented.
The costs are rounded to float32 before they are assigned, so what depends on a matching is not judged in float64. Of
mixed precision, narrow logits beside boxes in float32 are declared; its L1 cost asks for boxes of one dtype.

It is judged three times: with the focal loss in one group; as it trains by default, with the IoU-aware loss and groups
of queries; and so with masks, at points that it draws by `torch.rand`, which is given those of a case. It draws them in
float32 and samples masks of no other dtype outside autocast, so with masks only float32 is judged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rfdetr.models.criterion import SetCriterion
from rfdetr.models.matcher import HungarianMatcher
from rfdetr.models.postprocess import PostProcess
from rfdetr.utilities.box_ops import box_cxcywh_to_xyxy, box_iou, box_xyxy_to_cxcywh, generalized_box_iou
from torch import Tensor, nn

from detr_conformance import torch_implementation
from detr_conformance.bridges.torch_points import points_given
from detr_spec.configuration import Configuration
from detr_spec.costs import FocalCost
from detr_spec.implementation import ComponentLimits, Limits
from detr_spec.profile import BoxRules, DetectionRules, Profile
from detr_spec.profiles import DEFORMABLE, LW_DETR, RF_DETR_SEG

UP_TO_FLOAT32 = ("float32", "float16", "bfloat16")
NARROW_LOGITS = ("float16-logits", "bfloat16-logits")
ALL_DTYPES = (*UP_TO_FLOAT32, "float64")


def declared(profile: Profile) -> Profile:
    """The profile with what rf-detr declares."""
    return replace(
        profile,
        class_cost=FocalCost(epsilon=0.0),
        non_finite_logits="rank-last",
        non_finite_boxes="rank-last",
        boxes=BoxRules(least_divisor=1e-7, invalid="unchecked"),
        keys=replace(profile.keys, encoder_loss="{loss}_enc"),
        detection=DetectionRules(rule="top-k", clamp=True),
    )


def pixels_per_point(configuration: Configuration) -> int:
    """The number of a mask's pixels for each point; any where no masks are compared at points."""
    return int(configuration.profile.masks.pixels_per_point or 1)


def matcher(configuration: Configuration) -> HungarianMatcher:
    """The matcher, with costs of masks where the profile has them."""
    of_masks = {"cost_mask_ce": configuration.cost_mask, "cost_mask_dice": configuration.cost_dice}
    return HungarianMatcher(
        *configuration.cost_weights,
        focal_alpha=configuration.class_cost.alpha,
        mask_point_sample_ratio=pixels_per_point(configuration),
        **(of_masks if configuration.profile.matches_masks else {}),
    )


def criterion(configuration: Configuration) -> SetCriterion:
    """The criterion, with a matcher of its own."""
    return SetCriterion(
        configuration.num_classes,
        matcher(configuration),
        configuration.weight_dict,
        configuration.class_loss.alpha,
        configuration.losses,
    )


class MatcherOfGroups(nn.Module):
    """The matcher as the criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.configuration = configuration
        self.groups = configuration.profile.matching.groups
        self.matcher = matcher(configuration)

    def forward(self, outputs: Any, targets: Any) -> Any:
        """The pairs of each image."""
        with points_given(self.configuration):
            return self.matcher(outputs, targets, group_detr=self.groups if self.training else 1)


class CriterionAsTrained(SetCriterion):
    """The criterion with the loss and the groups that it trains with, at the points of a case."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(
            configuration.num_classes,
            matcher(configuration),
            configuration.weight_dict,
            configuration.class_loss.alpha,
            configuration.losses,
            group_detr=configuration.profile.matching.groups,
            ia_bce_loss=True,
            mask_point_sample_ratio=pixels_per_point(configuration),
        )
        self.configuration = configuration

    def forward(self, *arguments: Any, **options: Any) -> dict[str, Tensor]:
        """The losses of all layers."""
        with points_given(self.configuration):
            losses: dict[str, Tensor] = super().forward(*arguments, **options)
        return losses


LIMITS = Limits(
    dtypes=(*UP_TO_FLOAT32, *NARROW_LOGITS),
    fixed={"class_cost.gamma": 2.0, "class_loss.gamma": 2.0},
    components={
        "boxes": ComponentLimits(dtypes=ALL_DTYPES),
        "postprocess": ComponentLimits(dtypes=(*ALL_DTYPES, *NARROW_LOGITS)),
    },
)

AS_TRAINED = torch_implementation(
    name="rf-detr-as-trained",
    profile=declared(LW_DETR),
    limits=LIMITS,
    matcher=MatcherOfGroups,
    criterion=CriterionAsTrained,
)

WITH_MASKS = torch_implementation(
    name="rf-detr-with-masks",
    profile=declared(RF_DETR_SEG),
    limits=Limits(dtypes=("float32",), fixed=LIMITS.fixed, mask_points=True),
    matcher=MatcherOfGroups,
    criterion=CriterionAsTrained,
    masks=CriterionAsTrained,
)

IMPLEMENTATION = torch_implementation(
    name="rf-detr",
    profile=declared(DEFORMABLE),
    limits=LIMITS,
    boxes={
        "cxcywh_to_xyxy": box_cxcywh_to_xyxy,
        "xyxy_to_cxcywh": box_xyxy_to_cxcywh,
        "iou": lambda first, second: box_iou(first, second)[0],
        "giou": generalized_box_iou,
    },
    matcher=matcher,
    criterion=criterion,
    postprocess=lambda configuration: PostProcess(configuration.top_k),
)
IMPLEMENTATIONS = IMPLEMENTATION, AS_TRAINED, WITH_MASKS
