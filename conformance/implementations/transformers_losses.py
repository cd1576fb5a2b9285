"""The DETR and Deformable DETR losses of Hugging Face transformers, its RT-DETR matcher, boxes and post-processing.

Declared, as documented: the key names `logits`, `class_labels` and `auxiliary_outputs`; no class_error
("removed logging parameter"); a threshold in post-processing; the matcher replaces costs that are not finite,
so broken logits rank last, while a NaN box is refused by its GIoU. The focal α and γ of its Deformable DETR
matcher are fixed. On several ranks the losses ask accelerate, whose state a training script has set up by then. The
loss of RT-DETR depends on the IoU, which no profile says, and its post-processing returns as many detections as
there are queries.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch.distributed
from accelerate import PartialState
from torch import Tensor
from transformers import DeformableDetrImageProcessorPil, DetrImageProcessorPil
from transformers.image_transforms import center_to_corners_format, corners_to_center_format
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss, box_iou, generalized_box_iou
from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profile import DetectionRules, Keys
from detr_spec.profiles import DEFORMABLE, DETR

KEYS = Keys(logits="logits", auxiliary="auxiliary_outputs", labels="class_labels", class_error=None)

BOXES = {
    "cxcywh_to_xyxy": center_to_corners_format,
    "xyxy_to_cxcywh": corners_to_center_format,
    "iou": lambda first, second: box_iou(first, second)[0],
    "giou": generalized_box_iou,
}


def detr_matcher(configuration: Configuration) -> HungarianMatcher:
    """The softmax matcher."""
    return HungarianMatcher(*configuration.cost_weights)


def deformable_matcher(configuration: Configuration) -> DeformableDetrHungarianMatcher:
    """The focal matcher."""
    return DeformableDetrHungarianMatcher(*configuration.cost_weights)


def set_up_accelerate() -> None:
    """Does in a rank what every script does that trains with accelerate or the Trainer, and nothing on one process."""
    if torch.distributed.is_initialized():
        PartialState(cpu=True)


def detr_criterion(configuration: Configuration) -> ImageLoss:
    """The softmax criterion."""
    set_up_accelerate()
    matcher = detr_matcher(configuration)
    return ImageLoss(matcher, configuration.num_classes, configuration.class_loss.eos_coef, configuration.losses)


def deformable_criterion(configuration: Configuration) -> DeformableDetrImageLoss:
    """The sigmoid focal criterion."""
    set_up_accelerate()
    matcher = deformable_matcher(configuration)
    alpha = configuration.class_loss.alpha
    return DeformableDetrImageLoss(matcher, configuration.num_classes, alpha, configuration.losses)


def deformable_segmentation(configuration: Configuration) -> DeformableDetrImageLoss:
    """The sigmoid focal criterion with masks, with the matcher that `DeformableDetrForSegmentationLoss` gives it."""
    matcher = detr_matcher(configuration)
    alpha = configuration.class_loss.alpha
    return DeformableDetrImageLoss(matcher, configuration.num_classes, alpha, configuration.losses)


def detr_postprocess(configuration: Configuration) -> Any:
    """Post-processing of the DETR image processor."""
    processor = DetrImageProcessorPil()

    def call(outputs: dict[str, Tensor], sizes: Tensor) -> Any:
        return processor.post_process_object_detection(SimpleNamespace(**outputs), configuration.threshold, sizes)

    return call


def deformable_postprocess(configuration: Configuration) -> Any:
    """Post-processing of the Deformable DETR image processor."""
    processor = DeformableDetrImageProcessorPil()

    def call(outputs: dict[str, Tensor], sizes: Tensor) -> Any:
        return processor.post_process_object_detection(
            SimpleNamespace(**outputs), configuration.threshold, sizes, configuration.top_k
        )

    return call


def rt_detr_matcher(configuration: Configuration) -> RTDetrHungarianMatcher:
    """The matcher of RT-DETR, D-FINE and their successors, in either dialect."""
    cost_class, cost_bbox, cost_giou = configuration.cost_weights
    numbers = {"alpha": 0.25, "gamma": 2.0} | configuration.class_cost.numbers
    return RTDetrHungarianMatcher(
        SimpleNamespace(
            matcher_class_cost=cost_class,
            matcher_bbox_cost=cost_bbox,
            matcher_giou_cost=cost_giou,
            matcher_alpha=numbers["alpha"],
            matcher_gamma=numbers["gamma"],
            use_focal_loss=not configuration.profile.has_no_object,
        )
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="transformers",
        profile=replace(DETR, keys=KEYS, non_finite_logits="rank-last", detection=DetectionRules(threshold=True)),
        boxes=BOXES,
        matcher=detr_matcher,
        criterion=detr_criterion,
        masks=detr_criterion,
        postprocess=detr_postprocess,
    ),
    torch_implementation(
        name="transformers",
        profile=replace(
            DEFORMABLE, keys=KEYS, non_finite_logits="rank-last", detection=DetectionRules(rule="top-k", threshold=True)
        ),
        limits=Limits(fixed={"class_cost.alpha": 0.25, "class_cost.gamma": 2.0, "class_loss.gamma": 2.0}),
        boxes=BOXES,
        matcher=deformable_matcher,
        criterion=deformable_criterion,
        masks=deformable_segmentation,
        postprocess=deformable_postprocess,
    ),
    *(
        torch_implementation(
            name="transformers-rt-detr",
            profile=replace(profile, keys=KEYS, non_finite_logits="rank-last"),
            matcher=rt_detr_matcher,
        )
        for profile in (DETR, DEFORMABLE)
    ),
)
