"""The matcher, the losses and the post-processing of PaddleDetection (https://github.com/PaddlePaddle/PaddleDetection).

With a softmax, as it trains DETR; with sigmoids, as it trains Deformable DETR; and with denoising queries, as DINO.

Declared: losses are weighted already, the earlier layers share one loss, and so do those of denoising queries, whose
losses are 0 without them; 1e-10 is added to unions and enclosing areas; boxes, labels, columns and the number of
targets are not looked at. The weight of classes is one in the cross-entropy, beside that of no object, and not a factor
of the loss; α and γ of the focal loss are fixed. Losses and detections are in float32. It takes stacked predictions and
labels [n, 1], which the classes below make, and gives detections in one tensor, which they take apart. Its losses of
masks raise on Paddle 3.3, which takes no divisor of two axes, and are not provided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle import Tensor, nn
from ppdet.modeling.losses import DETRLoss, DINOLoss
from ppdet.modeling.post_process import DETRBBoxPostProcess
from ppdet.modeling.transformers.matchers import HungarianMatcher
from ppdet.modeling.transformers.utils import bbox_cxcywh_to_xyxy, bbox_xyxy_to_cxcywh

from detr_conformance import paddle_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import ComponentLimits, Limits
from detr_spec.profile import DenoisingRules, DetectionRules, Profile, replace
from detr_spec.profiles import DEFORMABLE, PADDLE

OPEN = replace(PADDLE, surplus_columns="unchecked")
FOCAL = replace(
    OPEN,
    name="deformable",
    summary="sigmoid focal, weighted losses, one loss of all earlier layers (PaddleDetection)",
    activation="sigmoid",
    class_cost=DEFORMABLE.class_cost,
    class_loss=DEFORMABLE.class_loss,
    cost_weights=DEFORMABLE.cost_weights,
    loss_weights=DEFORMABLE.loss_weights,
    cardinality=DEFORMABLE.cardinality,
    detection=DetectionRules(rule="top-k", top_k_overflow="refuse"),
)
DENOISING = replace(
    FOCAL,
    name="dino",
    summary="the losses of deformable, also of denoising queries (PaddleDetection)",
    keys=replace(FOCAL.keys, denoising_loss="{loss}_dn", denoising_auxiliary_loss="{loss}_aux_dn"),
    denoising=DenoisingRules(layout="listed", absent="zeros"),
)


def matcher(configuration: Configuration) -> HungarianMatcher:
    """The matcher, with labels [n]."""
    weights = dict(zip(("class", "bbox", "giou"), configuration.cost_weights, strict=True))
    focal = not configuration.profile.has_no_object
    numbers = configuration.class_cost.numbers
    return HungarianMatcher(weights, focal, **({name: numbers[name] for name in ("alpha", "gamma")} if focal else {}))


def stacked(layers: list[dict[str, Tensor]]) -> list[Tensor]:
    """The boxes and the logits of all layers."""
    return [paddle.stack([layer[key] for layer in layers]) for key in ("pred_boxes", "pred_logits")]


class Losses(nn.Layer):
    """The losses, from outputs and targets by their keys."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.matcher = matcher(configuration)
        weights = {
            "class": configuration.loss_class,
            "bbox": configuration.loss_bbox,
            "giou": configuration.loss_giou,
            "no_object": configuration.class_loss.numbers.get("eos_coef"),
        }
        self.is_dino = configuration.profile.keys.denoising_loss is not None
        self.loss = (DINOLoss if self.is_dino else DETRLoss)(
            configuration.num_classes,
            self.matcher,
            weights,
            aux_loss=configuration.decoder_layers > 1,
            use_focal_loss=not configuration.profile.has_no_object,
        )

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers, and of denoising queries."""
        truth = [target["gt_bbox"] for target in targets], [target["gt_class"][:, None] for target in targets]
        denoising = {}
        if self.is_dino and outputs["dn_meta"] is not None:
            boxes, logits = stacked(outputs["dn_outputs"])
            denoising = {"dn_out_bboxes": boxes, "dn_out_logits": logits, "dn_meta": outputs["dn_meta"]}
        losses: dict[str, Tensor] = self.loss(*stacked([*outputs.get("aux_outputs", ()), outputs]), *truth, **denoising)
        return losses


def postprocess(configuration: Configuration) -> Callable[..., Any]:
    """The detections in each image, taken out of the tensor of all."""
    call = DETRBBoxPostProcess(configuration.num_classes, configuration.top_k, not configuration.profile.has_no_object)

    def detections(outputs: dict[str, Tensor], sizes: Tensor) -> list[dict[str, Tensor]]:
        given = outputs["pred_boxes"], outputs["pred_logits"], None
        found, counts = call(given, sizes.astype("float32"), paddle.ones([len(sizes), 2]))
        images = found.split(counts.tolist())
        return [{"labels": own[:, 0].astype("int64"), "scores": own[:, 1], "boxes": own[:, 2:]} for own in images]

    return detections


def paddledet(profile: Profile, fixed: dict[str, float], **parts: Any) -> Any:
    """The parts under a profile."""
    return paddle_implementation(
        name="paddledet",
        profile=profile,
        limits=Limits(
            dtypes=("float32",), fixed=fixed, components={"matcher": ComponentLimits(dtypes=("float32", "float64"))}
        ),
        matcher=matcher,
        criterion=Losses,
        postprocess=postprocess,
        **parts,
    )


FIXED = {"class_loss.alpha": 0.25, "class_loss.gamma": 2.0}

IMPLEMENTATIONS = (
    paddledet(
        OPEN,
        {"loss_class": 1.0},
        boxes={"cxcywh_to_xyxy": bbox_cxcywh_to_xyxy, "xyxy_to_cxcywh": bbox_xyxy_to_cxcywh},
    ),
    paddledet(FOCAL, FIXED),
    paddledet(DENOISING, FIXED),
)
