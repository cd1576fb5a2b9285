"""LW-DETR in Hugging Face transformers, and its image processors' post-processing.

LW-DETR's criterion is that of RF-DETR too, where that detects; RT-DETRv2 trains with RT-DETR's loss, which has an
adapter of its own. Declared, as documented: the key names, no class_error, costs that are not finite become the
largest number, so that broken queries rank last; the L1 cost is in float32, as its code says; the focal numbers of its
matcher and the γ of its loss are fixed. Labels, columns and the number of targets are not looked at.

Post-processing has a threshold. RT-DETR's is that of D-FINE too: with sigmoids it returns as many pairs as there are
queries; it is also asked for its softmax, `use_focal_loss=False`. Grounding DINO and OWL-ViT say one detection a query,
from sigmoids.
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
from transformers.loss.loss_lw_detr import LwDetrHungarianMatcher, LwDetrImageLoss

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import DetectionRules, Profile
from detr_spec.profiles import DEFORMABLE, DETR, LW_DETR

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
AS_MANY_AS_QUERIES = replace(DEFORMABLE, detection=DetectionRules(rule="top-k", top_k=None, threshold=True))
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
    processing("transformers-yolos", YolosImageProcessorPil(), SOFTMAX, lambda _: {}),
    processing("transformers-rt-detr", RTDetrImageProcessorPil(), AS_MANY_AS_QUERIES, lambda _: {}),
    processing("transformers-rt-detr-softmax", RTDetrImageProcessorPil(), SOFTMAX, lambda _: {"use_focal_loss": False}),
    processing(
        "transformers-conditional-detr", ConditionalDetrImageProcessorPil(), TOP_K, lambda c: {"top_k": c.top_k}
    ),
    processing("transformers-rf-detr", RfDetrImageProcessor(), TOP_K, lambda c: {"top_k": c.top_k}),
    processing("transformers-grounding-dino", GroundingDinoImageProcessorPil(), BEST_CLASS, lambda _: {}),
    processing("transformers-owlvit", OwlViTImageProcessorPil(), BEST_CLASS, lambda _: {}),
)
