"""LW-DETR, D-FINE and DEIMv2 in Hugging Face transformers, and its image processors' post-processing.

LW-DETR's criterion is that of RF-DETR too, where that detects; RT-DETRv2 trains with RT-DETR's loss, which has an
adapter of its own. Declared, as documented: the key names, no class_error, costs that are not finite become the
largest number, so that broken queries rank last; the L1 cost is in float32, as its code says; the focal numbers of its
matcher and the γ of its loss are fixed. Labels, columns and the number of targets are not looked at.

The losses of D-FINE and DEIMv2 are asked without the distribution losses. Each rank counts its own boxes.

Post-processing has a threshold. RT-DETR's is asked for its softmax, `use_focal_loss=False`: with sigmoids it returns as
many detections as there are queries, which no profile says. Grounding DINO and OWL-ViT say one detection a query, from
sigmoids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from families import UNCHECKED
from torch import Tensor, nn
from transformers import (
    ConditionalDetrImageProcessorPil,
    GroundingDinoImageProcessorPil,
    OwlViTImageProcessorPil,
    RfDetrImageProcessor,
    RTDetrImageProcessorPil,
    YolosImageProcessorPil,
)
from transformers.loss.loss_d_fine import DFineLoss
from transformers.loss.loss_deimv2 import Deimv2Loss
from transformers.loss.loss_lw_detr import LwDetrHungarianMatcher, LwDetrImageLoss

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import DetectionRules, MatcherRules, Profile
from detr_spec.profiles import D_FINE, DEFORMABLE, DEIM, DETR, LW_DETR

LW = replace(
    LW_DETR,
    keys=replace(
        LW_DETR.keys,
        logits="logits",
        auxiliary="auxiliary_outputs",
        labels="class_labels",
        class_error=None,
        encoder_loss="{loss}_enc",
    ),
    non_finite_logits="rank-last",
    narrow_dtypes="unchecked",
    **UNCHECKED,
)


OF_D_FINE = {
    "logits": "logits",
    "auxiliary": "auxiliary_outputs",
    "encoder": "enc_outputs",
    "encoder_loss": "{loss}_aux_{layer}",
    "initial_loss": None,
    "denoising": "dn_auxiliary_outputs",
    "denoising_meta": "denoising_meta_values",
    "labels": "class_labels",
}
"""The keys of D-FINE's losses: the encoder's predictions follow the auxiliary layers, and there are no initial ones."""

D_FINE_HERE, DEIM_HERE = (
    replace(
        profile,
        keys=replace(profile.keys, **OF_D_FINE),
        further_losses=(),
        matcher=MatcherRules(),
        non_finite_logits="rank-last",
        rank_reduction="local",
        **UNCHECKED,
    )
    for profile in (D_FINE, DEIM)
)


def settings(configuration: Configuration) -> SimpleNamespace:
    """What the losses of D-FINE and DEIMv2 read of a model's configuration."""
    cost_class, cost_bbox, cost_giou = configuration.cost_weights
    loss = configuration.class_loss
    return SimpleNamespace(
        matcher_class_cost=cost_class,
        matcher_bbox_cost=cost_bbox,
        matcher_giou_cost=cost_giou,
        matcher_alpha=configuration.class_cost.alpha,
        matcher_gamma=configuration.class_cost.gamma,
        use_focal_loss=True,
        num_labels=configuration.num_classes,
        weight_loss_vfl=configuration.loss_class,
        weight_loss_mal=configuration.loss_class,
        weight_loss_bbox=configuration.loss_bbox,
        weight_loss_giou=configuration.loss_giou,
        weight_loss_fgl=0.0,
        weight_loss_ddf=0.0,
        eos_coefficient=0.0,
        focal_loss_alpha=loss.alpha,
        focal_loss_gamma=loss.gamma,
        mal_alpha=loss.alpha,
        use_dense_one_to_one=True,
        max_num_bins=32,
        reg_scale=4.0,
        up=0.5,
    )


class WithEncoder(nn.Module):
    """A loss that is given the encoder's predictions in the list of auxiliary layers."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        auxiliary = [*outputs.get("auxiliary_outputs", ()), *outputs.get("enc_outputs", ())]
        losses: dict[str, Tensor] = self.loss(
            outputs | ({"auxiliary_outputs": auxiliary} if auxiliary else {}), targets
        )
        return losses


class LwDetrMatcher(nn.Module):
    """LW-DETR's matcher as its criterion calls it: with groups in training, and with none in evaluation."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.groups = configuration.profile.matching.groups
        self.matcher = LwDetrHungarianMatcher(*configuration.cost_weights)

    def forward(self, outputs: Any, targets: Any) -> Any:
        """The pairs of each image."""
        return self.matcher(outputs, targets, self.groups if self.training else 1)


def lw_detr_criterion(configuration: Configuration) -> LwDetrImageLoss:
    """LW-DETR's criterion."""
    return LwDetrImageLoss(
        LwDetrMatcher(configuration).matcher,
        configuration.num_classes,
        configuration.class_loss.alpha,
        configuration.losses,
        configuration.profile.matching.groups,
    )


def processing(
    name: str, processor: Any, profile: Profile, arguments: Callable[[Configuration], Any]
) -> Implementation:
    """The post-processing of an image processor."""

    def postprocess(configuration: Configuration) -> Any:
        def call(outputs: dict[str, Tensor], sizes: Tensor) -> Any:
            given = SimpleNamespace(logits=outputs["pred_logits"], pred_boxes=outputs["pred_boxes"])
            return processor.post_process_object_detection(
                given, threshold=configuration.threshold, target_sizes=sizes, **arguments(configuration)
            )

        return call

    return torch_implementation(name=name, profile=profile, postprocess=postprocess)


TOP_K = replace(DEFORMABLE, detection=DetectionRules(rule="top-k", threshold=True))
BEST_CLASS = replace(DEFORMABLE, detection=DetectionRules(threshold=True))
SOFTMAX = replace(DETR, detection=DetectionRules(threshold=True))

IMPLEMENTATIONS = (
    torch_implementation(
        name="transformers-lw-detr",
        profile=LW,
        limits=Limits(
            dtypes=("float32",), fixed={"class_cost.alpha": 0.25, "class_cost.gamma": 2.0, "class_loss.gamma": 2.0}
        ),
        matcher=LwDetrMatcher,
        criterion=lw_detr_criterion,
    ),
    torch_implementation(
        name="transformers-d-fine",
        profile=D_FINE_HERE,
        criterion=lambda configuration: WithEncoder(DFineLoss(settings(configuration))),
    ),
    torch_implementation(
        name="transformers-deimv2",
        profile=DEIM_HERE,
        criterion=lambda configuration: WithEncoder(Deimv2Loss(settings(configuration))),
    ),
    processing("transformers-yolos", YolosImageProcessorPil(), SOFTMAX, lambda _: {}),
    processing("transformers-rt-detr-softmax", RTDetrImageProcessorPil(), SOFTMAX, lambda _: {"use_focal_loss": False}),
    processing(
        "transformers-conditional-detr", ConditionalDetrImageProcessorPil(), TOP_K, lambda c: {"top_k": c.top_k}
    ),
    processing("transformers-rf-detr", RfDetrImageProcessor(), TOP_K, lambda c: {"top_k": c.top_k}),
    processing("transformers-grounding-dino", GroundingDinoImageProcessorPil(), BEST_CLASS, lambda _: {}),
    processing("transformers-owlvit", OwlViTImageProcessorPil(), BEST_CLASS, lambda _: {}),
)
