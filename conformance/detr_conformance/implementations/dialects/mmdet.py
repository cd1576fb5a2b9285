"""The reference's twins of mmdetection's heads under the suite's interfaces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.rt_detr import loss_weights
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_reference.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from detr_spec.configuration import Configuration
from detr_spec.profile import Keys


def softmax_assigner(configuration: Configuration) -> dialects.MMDetAssigner:
    """The assigner of DETRHead."""
    return dialects.MMDetAssigner(*configuration.cost_weights)


def focal_assigner(configuration: Configuration) -> dialects.MMDetAssigner:
    """The assigner of DeformableDETRHead and its heirs."""
    numbers = configuration.class_cost.numbers
    return dialects.MMDetAssigner(
        *configuration.cost_weights, dialects.mmdet_focal_cost(numbers["alpha"], numbers["gamma"])
    )


class OfLayers(nn.Module):
    """A head's losses, which takes lists of layers, and sizes apart, from outputs and targets of the usual form.

    The head's queries are denoising ones and then those of the decoder, where the dialect has denoising.
    """

    def __init__(self, loss: dialects.MMDetLoss, keys: Keys) -> None:
        super().__init__()
        self.loss, self.matcher, self.keys = loss, loss.assigner, keys

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        instances = [{name: target[name] for name in ("labels", "bboxes")} for target in targets]
        shapes = [{"img_shape": target["img_shape"]} for target in targets]
        losses: dict[str, Tensor] = self.loss(*head_inputs(outputs, self.keys, instances, shapes))
        return losses


def head_inputs(outputs: dict[str, Any], keys: Keys, instances: Any, metas: Any) -> tuple[Any, ...]:
    """What a head's losses are called with: layers, targets, proposals, and the meta data of denoising queries."""
    names, none = ("pred_logits", "pred_boxes"), [None, None]
    layers = [[layer[name] for layer in (*outputs.get("aux_outputs", ()), outputs)] for name in names]
    proposals = outputs.get("enc_outputs") if keys.encoder_loss is not None else None
    encoder = none if proposals is None else [proposals[name] for name in names]
    if keys.denoising_loss is None:
        return (*layers, instances, metas, *encoder, None)
    meta = outputs.get("dn_meta")
    if meta is None:
        return (*layers, instances, metas, *encoder, {"num_denoising_queries": 0, "num_denoising_groups": 1})
    nested = outputs["dn_outputs"]
    denoising = [[layer[name] for layer in (*nested.get("aux_outputs", ()), nested)] for name in names]
    joined = [
        [torch.cat(pair, dim=1) for pair in zip(*parts, strict=True)] for parts in zip(denoising, layers, strict=True)
    ]
    counts = {"num_denoising_queries": meta["pad_size"], "num_denoising_groups": meta["dn_num_group"]}
    return (*joined, instances, metas, *encoder, counts)


def losses_of(
    kind: Callable[..., dialects.MMDetLoss], assigner: Callable[[Configuration], dialects.MMDetAssigner]
) -> Callable[[Configuration], OfLayers]:
    """The losses of a head, with an assigner of their own."""

    def build(configuration: Configuration) -> OfLayers:
        return OfLayers(
            kind(
                configuration.num_classes,
                assigner(configuration),
                loss_weights(configuration),
                *configuration.class_loss.numbers.values(),
            ),
            configuration.profile.keys,
        )

    return build


BOXES: dict[str, Callable[..., Tensor]] = {
    "cxcywh_to_xyxy": box_cxcywh_to_xyxy,
    "xyxy_to_cxcywh": box_xyxy_to_cxcywh,
    "iou": dialects.bbox_overlaps,
    "giou": partial(dialects.bbox_overlaps, mode="giou"),
    "elementwise_giou": partial(dialects.bbox_overlaps, mode="giou", is_aligned=True),
}

IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="mmdet",
        limits=LIMITS,
        boxes=BOXES,
        matcher=softmax_assigner,
        criterion=losses_of(dialects.MMDetDETRLoss, softmax_assigner),
    ),
    *(
        torch_implementation(
            name="dialects",
            profile=profile,
            limits=LIMITS,
            boxes=BOXES,
            matcher=focal_assigner,
            criterion=losses_of(kind, focal_assigner),
            postprocess=lambda configuration: dialects.MMDetPostProcess(configuration.top_k),
        )
        for profile, kind in (
            ("mmdet-focal", dialects.MMDetFocalLoss),
            ("mmdet-dino", dialects.MMDetDINOLoss),
            ("co-dino", dialects.CoDINOLoss),
        )
    ),
)
