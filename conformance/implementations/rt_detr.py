"""The loss and the matcher of RT-DETR in Hugging Face transformers, under the varifocal dialect.

Declared, as documented: its key names; no class_error and no cardinality error. It returns losses that are weighted
already. Each rank counts its own boxes. Denoising queries have losses in every layer, and none where there are none of
them; the encoder's own predictions come after the auxiliary layers, in their list and in the numbers of their losses.
A label that has no class, and a wrong number of targets, are not looked at; costs that are not finite are replaced, so
that broken logits rank last.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher, RTDetrLoss
from varifocal import VARIFOCAL

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.profile import DenoisingRules, LossRules, replace

PROFILE = replace(
    VARIFOCAL,
    keys=replace(
        VARIFOCAL.keys,
        logits="logits",
        auxiliary="auxiliary_outputs",
        encoder_loss="{loss}_aux_{layer}",
        denoising="dn_auxiliary_outputs",
        denoising_meta="denoising_meta_values",
        denoising_loss="{loss}_dn_{layer}",
        denoising_auxiliary_loss="{loss}_dn_{layer}",
        labels="class_labels",
        class_error=None,
        cardinality=None,
    ),
    losses=LossRules(weighted=True),
    denoising=DenoisingRules(layout="listed"),
    non_finite_logits="rank-last",
    label_beyond_range="unchecked",
    target_count="unchecked",
    rank_reduction="local",
)


def settings(configuration: Configuration) -> SimpleNamespace:
    """What both read of a model's configuration."""
    cost_class, cost_bbox, cost_giou = configuration.cost_weights
    return SimpleNamespace(
        matcher_class_cost=cost_class,
        matcher_bbox_cost=cost_bbox,
        matcher_giou_cost=cost_giou,
        matcher_alpha=configuration.class_cost.alpha,
        matcher_gamma=configuration.class_cost.gamma,
        use_focal_loss=True,
        num_labels=configuration.num_classes,
        weight_loss_vfl=configuration.loss_class,
        weight_loss_bbox=configuration.loss_bbox,
        weight_loss_giou=configuration.loss_giou,
        eos_coefficient=0.0,
        focal_loss_alpha=configuration.class_loss.alpha,
        focal_loss_gamma=configuration.class_loss.gamma,
    )


class Loss(RTDetrLoss):
    """The loss, given the encoder's predictions as `RTDetrForObjectDetectionLoss` gives them."""

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        key = PROFILE.keys.auxiliary
        auxiliary = [*outputs.get(key, ()), *outputs.get(PROFILE.keys.encoder, ())]
        losses: dict[str, Tensor] = super().forward(outputs | ({key: auxiliary} if auxiliary else {}), targets)
        return losses


IMPLEMENTATION = torch_implementation(
    name="transformers-rt-detr-loss",
    profile=PROFILE,
    matcher=lambda configuration: RTDetrHungarianMatcher(settings(configuration)),
    criterion=lambda configuration: Loss(settings(configuration)),
)
