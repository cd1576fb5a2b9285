"""Matchers, criteria, box operations and post-processing of libreyolo's families (https://github.com/LibreYOLO/libreyolo).

RT-DETR and RT-DETRv2 under `rt-detr`, and RT-DETR's matcher under the others; the matchers of D-FINE and DEIM;
RF-DETR under `lw-detr` and `deformable`; post-processing of DETR, Deformable DETR, RT-DETR, LW-DETR, D-FINE.

Declared, as documented: RT-DETR's losses are weighted already, its total stands beside them as `total_loss`, and it
computes in float32. 1e-6 is added to its unions and enclosing areas. Post-processing has a threshold, is called for one
image at a time, and sizes are (width, height). Labels, columns, numbers of targets and narrow dtypes are not looked
at. RF-DETR's matcher takes a focal α, which `libreyolo-rfdetr-matcher` asks for; the others leave it at 0.25.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import libreyolo.models.rfdetr.box_ops as rfdetr_boxes
import libreyolo.models.rtdetr.box_ops as rtdetr_boxes
import torch
from families import DENOISING, UNCHECKED, box_operations, criterion, d_fine, matcher
from libreyolo.models.deim.loss import DEIMCriterion
from libreyolo.models.deim.matcher import HungarianMatcher as DeimMatcher
from libreyolo.models.deimv2.matcher import HungarianMatcher as Deimv2Matcher
from libreyolo.models.dfine.loss import DFINECriterion
from libreyolo.models.dfine.matcher import HungarianMatcher as DfineMatcher
from libreyolo.models.gtr.matcher import HungarianMatcher as GtrMatcher
from libreyolo.models.rfdetr.loss import SetCriterion as RfDetrCriterion
from libreyolo.models.rfdetr.matcher import HungarianMatcher as RfDetrMatcher
from libreyolo.models.rtdetr.loss import HungarianMatcher, SetCriterion
from libreyolo.models.rtdetrv2.loss import RTDETRCriterionv2
from libreyolo.postprocess import deformable_detr, dfine, lwdetr, rfdetr, rtdetr
from torch import Tensor, nn

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.costs import FocalCost
from detr_spec.implementation import ComponentLimits, Implementation, Limits
from detr_spec.profile import BoxRules, DetectionRules, MatcherRules
from detr_spec.profiles import DEFORMABLE, DEIM, DETR, LW_DETR, RT_DETR

IN_FLOAT32 = dict.fromkeys(("criterion", "gradients", "distributed"), ComponentLimits(dtypes=("float32",)))
EPSILONS = BoxRules(iou_epsilon=1e-6, giou_epsilon=1e-6)
PER_IMAGE = DetectionRules(rule="top-k", threshold=True, size_order="width-height")

RF_DETR = replace(
    DEFORMABLE,
    class_cost=FocalCost(epsilon=0.0),
    cardinality="argmax-is-not-last",
    non_finite_logits="rank-last",
    non_finite_boxes="rank-last",
    **UNCHECKED,
    narrow_dtypes="unchecked",
    boxes=BoxRules(invalid="unchecked"),
    keys=replace(DEFORMABLE.keys, encoder_loss="{loss}_enc"),
    detection=DetectionRules(rule="top-k", top_k=300, top_k_overflow="refuse"),
)
RF_DETR_AS_TRAINED = replace(
    RF_DETR,
    name=LW_DETR.name,
    summary=LW_DETR.summary,
    class_loss=LW_DETR.class_loss,
    loss_weights=LW_DETR.loss_weights,
    matching=LW_DETR.matching,
)

RF_DETR_LIMITS = Limits(
    dtypes=("float32",), fixed={"class_cost.alpha": 0.25, "class_cost.gamma": 2.0, "class_loss.gamma": 2.0}
)


class MatcherOfGroups(nn.Module):
    """RF-DETR's matcher as its criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.groups = configuration.profile.matching.groups
        self.matcher = RfDetrMatcher(*configuration.cost_weights, focal_alpha=configuration.class_cost.alpha)

    def forward(self, outputs: Any, targets: Any) -> Any:
        """The pairs of each image."""
        return self.matcher(outputs, targets, group_detr=self.groups if self.training else 1)


def rf_detr_criterion(configuration: Configuration) -> RfDetrCriterion:
    """RF-DETR's criterion, with the focal loss or as it trains."""
    return RfDetrCriterion(
        configuration.num_classes,
        MatcherOfGroups(configuration).matcher,
        configuration.weight_dict,
        configuration.class_loss.alpha,
        configuration.losses,
        group_detr=configuration.profile.matching.groups,
        ia_bce_loss=configuration.profile.matching.groups > 1,
    )


def deim_criterion(alpha: float, **arguments: Any) -> DEIMCriterion:
    """DEIM's criterion with the α of its matchability-aware loss."""
    return DEIMCriterion(mal_alpha=alpha, **arguments)


def each_image(decode: Callable[..., dict[str, Any]]) -> Callable[[Configuration], Any]:
    """Post-processing that takes one image at a time."""

    def build(configuration: Configuration) -> Any:
        def call(outputs: dict[str, Tensor], sizes: Tensor) -> list[dict[str, Tensor]]:
            found = [
                decode(
                    {"pred_logits": logits[None], "pred_boxes": boxes[None]},
                    conf_thres=configuration.threshold,
                    iou_thres=1.0,
                    original_size=tuple(size.tolist()),
                    max_det=configuration.top_k,
                )
                for logits, boxes, size in zip(outputs["pred_logits"], outputs["pred_boxes"], sizes, strict=True)
            ]
            return [
                {
                    "scores": torch.as_tensor(one["scores"]),
                    "labels": torch.as_tensor(one["classes"]),
                    "boxes": torch.as_tensor(one["boxes"]),
                }
                for one in found
            ]

        return call

    return build


def matching(name: str, kind: Callable[..., nn.Module], **parts: Any) -> Implementation:
    """A matcher of D-FINE's successors, which answers in a dictionary."""
    profile = replace(
        DEFORMABLE,
        detection=PER_IMAGE,
        matcher=MatcherRules(entry="indices"),
        label_beyond_range="unchecked",
        narrow_dtypes="unchecked",
    )
    return torch_implementation(name=name, profile=profile, matcher=matcher(kind), **parts)


IMPLEMENTATIONS = (
    *(
        torch_implementation(
            name=name,
            profile=replace(
                RT_DETR,
                **UNCHECKED,
                keys=replace(keys, total="total_loss"),
                boxes=EPSILONS,
                detection=replace(PER_IMAGE, top_k=300),
                narrow_dtypes="unchecked",
            ),
            limits=Limits(components=IN_FLOAT32),
            boxes=box_operations(rtdetr_boxes),
            matcher=matcher(HungarianMatcher),
            criterion=criterion(HungarianMatcher, kind),
            postprocess=each_image(rtdetr.postprocess),
        )
        for name, kind, keys in (
            ("libreyolo-rtdetr", SetCriterion, DENOISING),
            ("libreyolo-rtdetrv2", RTDETRCriterionv2, RT_DETR.keys),
        )
    ),
    torch_implementation(
        name="libreyolo-rtdetr",
        profile=replace(DETR, boxes=EPSILONS, label_beyond_range="unchecked", narrow_dtypes="unchecked"),
        matcher=matcher(HungarianMatcher),
    ),
    torch_implementation(
        name="libreyolo-rfdetr",
        profile=RF_DETR,
        limits=RF_DETR_LIMITS,
        boxes=box_operations(rfdetr_boxes) | {"elementwise_giou": rfdetr_boxes.paired_generalized_box_iou},
        matcher=MatcherOfGroups,
        criterion=rf_detr_criterion,
        postprocess=lambda configuration: (
            lambda outputs, sizes: rfdetr.postprocess(outputs, sizes, configuration.top_k)
        ),
    ),
    torch_implementation(
        name="libreyolo-rfdetr",
        profile=RF_DETR_AS_TRAINED,
        limits=RF_DETR_LIMITS,
        matcher=MatcherOfGroups,
        criterion=rf_detr_criterion,
    ),
    torch_implementation(
        name="libreyolo-rfdetr-matcher",
        profile=RF_DETR,
        limits=Limits(dtypes=("float32",), fixed={"class_cost.gamma": 2.0}),
        matcher=MatcherOfGroups,
    ),
    torch_implementation(
        name="libreyolo-lwdetr",
        profile=replace(LW_DETR, detection=replace(PER_IMAGE, top_k=300)),
        postprocess=each_image(lwdetr.postprocess),
    ),
    torch_implementation(
        name="libreyolo-deformable-detr",
        profile=replace(DEFORMABLE, detection=PER_IMAGE),
        postprocess=each_image(deformable_detr.postprocess),
    ),
    matching("libreyolo-dfine", DfineMatcher, postprocess=each_image(dfine.postprocess)),
    d_fine("libreyolo-dfine", DfineMatcher, DFINECriterion),
    matching("libreyolo-deim", DeimMatcher),
    d_fine("libreyolo-deim", DeimMatcher, deim_criterion, profile=DEIM),
    matching("libreyolo-deimv2", Deimv2Matcher),
    matching("libreyolo-gtr", GtrMatcher),
)
