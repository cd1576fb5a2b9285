"""Matcher, criterion and box overlaps of the package rtdetr (https://github.com/leeyunjai82/rtdetr).

Declared: unions and enclosing areas below 1e-9 are raised to it. Its varifocal loss counts a pair without overlap as a
negative, with α 0.75 and γ 2, and its weights have no gradient. The criterion gives the weighted sum of all losses, and
the parts of the last layer as numbers to be logged: the losses of each term and layer are asked for one by one, with
the other weights 0. It is written for one process, and looks at neither labels nor the number of targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from families import UNCHECKED
from rtdetr.utils import ops
from rtdetr.utils.loss import HungarianMatcher, SetCriterion
from torch import Tensor, nn

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profile import BoxRules
from detr_spec.profiles import RT_DETR
from detr_spec.terms import Varifocal


@dataclass(frozen=True, kw_only=True)
class VarifocalOfPairsThatOverlap(Varifocal):
    """RT-DETR's varifocal loss, in which a pair without overlap counts as a negative."""

    name = "varifocal-of-pairs-that-overlap"
    pairs_without_overlap = True


TERMS = ("loss_vfl", "loss_bbox", "loss_giou")


def matcher(configuration: Configuration) -> HungarianMatcher:
    """The matcher."""
    return HungarianMatcher(
        *configuration.cost_weights, alpha=configuration.class_cost.alpha, gamma=configuration.class_cost.gamma
    )


class Losses(nn.Module):
    """The losses of each term and layer, and the criterion's own total."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        weights = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
        self.matcher = matcher(configuration)
        self.total = SetCriterion(configuration.num_classes, self.matcher, *weights)
        self.terms = nn.ModuleDict(
            {
                term: SetCriterion(
                    configuration.num_classes,
                    self.matcher,
                    *(weight if other == term else 0.0 for other, weight in zip(TERMS, weights, strict=True)),
                )
                for term in TERMS
            }
        )

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        last = {key: outputs[key] for key in ("pred_logits", "pred_boxes")}
        layers = {"": last} | {f"_aux_{i}": layer for i, layer in enumerate(outputs.get("aux_outputs", ()))}
        losses = {
            f"{term}{suffix}": criterion(layer, targets)[0]
            for suffix, layer in layers.items()
            for term, criterion in self.terms.items()
        }
        return losses | {"total": self.total(outputs, targets)[0]}


PROFILE = replace(
    RT_DETR,
    **UNCHECKED,
    keys=replace(RT_DETR.keys, encoder_loss=None, denoising_loss=None, denoising_auxiliary_loss=None, total="total"),
    class_loss=VarifocalOfPairsThatOverlap(),
    boxes=BoxRules(least_divisor=1e-9, invalid="unchecked"),
    rank_reduction="local",
)
IMPLEMENTATION = torch_implementation(
    name="rtdetr",
    profile=PROFILE,
    limits=Limits(fixed={"class_loss.alpha": 0.75, "class_loss.gamma": 2.0}),
    boxes={
        "cxcywh_to_xyxy": ops.cxcywh2xyxy,
        "xyxy_to_cxcywh": ops.xyxy2cxcywh,
        "iou": lambda first, second: ops.box_iou(first, second)[0],
        "giou": ops.generalized_box_iou,
    },
    matcher=matcher,
    criterion=Losses,
)
