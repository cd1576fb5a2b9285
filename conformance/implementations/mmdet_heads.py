"""The assigner, the losses and the detections of mmdetection's DETR heads (https://github.com/open-mmlab/mmdetection).

With cross-entropy as DETRHead has it, and with the focal loss, as its heirs DeformableDETRHead and DINOHead have it,
and mmcv without its compiled operations, of which they need none.

Declared, as the profiles of mmdetection say: targets are corners in pixels, losses are weighted already and divided by
matched pairs. The divisor of the focal loss is the mean over ranks, as its heirs' configurations ask for; that of the
cross-entropy is each rank's own, as DETR's is. The numbers of the focal cost are fixed. Labels, columns and the number
of targets are not looked at. DINOHead takes denoising queries as the first ones of each layer, and cannot be called
without any where there are targets, as training never does: the losses of layers and of proposals, which its
`loss_by_feat` adds up, are asked for one by one then, and there are none of denoising queries.
"""

from __future__ import annotations

from typing import Any

import mmcv_without_operations  # noqa: F401  before mmdet, which asks mmcv for them
import torch
from families import UNCHECKED
from mmdet.models.dense_heads import DeformableDETRHead, DETRHead, DINOHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import DetectionRules, Profile, replace
from detr_spec.profiles import MMDET, MMDET_DINO, MMDET_FOCAL

PREDICTED = ("pred_logits", "pred_boxes")


def head(configuration: Configuration) -> DETRHead:
    """A head with the losses and the assigner of a configuration."""
    cost_class, cost_bbox, cost_giou = configuration.cost_weights
    loss = configuration.class_loss
    if configuration.profile.has_no_object:
        class_cost: dict[str, Any] = {"type": "ClassificationCost"}
        class_loss: dict[str, Any] = {
            "type": "CrossEntropyLoss",
            "use_sigmoid": False,
            "class_weight": 1.0,
            "bg_cls_weight": float(loss.eos_coef),
        }
    else:
        class_cost = {"type": "FocalLossCost"}
        class_loss = {"type": "FocalLoss", "use_sigmoid": True, "alpha": loss.alpha, "gamma": loss.gamma}
    costs = [
        {**class_cost, "weight": cost_class},
        {"type": "BBoxL1Cost", "weight": cost_bbox, "box_format": "xywh"},
        {"type": "IoUCost", "iou_mode": "giou", "weight": cost_giou},
    ]
    kind, own = DETRHead, {}
    if not configuration.profile.has_no_object:
        is_dino = configuration.profile.keys.denoising_loss is not None
        kind, own = DINOHead if is_dino else DeformableDETRHead, {"num_pred_layer": 1}
    return kind(
        **own,
        num_classes=configuration.num_classes,
        embed_dims=4,
        sync_cls_avg_factor=not configuration.profile.has_no_object,
        loss_cls={**class_loss, "loss_weight": configuration.loss_class},
        loss_bbox={"type": "L1Loss", "loss_weight": configuration.loss_bbox},
        loss_iou={"type": "GIoULoss", "loss_weight": configuration.loss_giou},
        train_cfg={"assigner": {"type": "HungarianAssigner", "match_costs": costs}},
        test_cfg={"max_per_img": configuration.top_k},
    )


def image(target: dict[str, Tensor]) -> dict[str, Any]:
    """What a head is told of an image."""
    return {"img_shape": tuple(target["img_shape"].tolist())}


def instances(target: dict[str, Tensor]) -> InstanceData:
    """The targets of an image."""
    return InstanceData(labels=target["labels"], bboxes=target["bboxes"])


class Assigner(nn.Module):
    """The assigner of a head, of boxes in pixels as the head makes them."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.assigner = head(configuration).assigner

    def forward(self, outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> list[Tensor]:
        """The assignment of each image."""
        return [
            self.assign(logits, boxes, target)
            for logits, boxes, target in zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True)
        ]

    def assign(self, logits: Tensor, boxes: Tensor, target: dict[str, Tensor]) -> Tensor:
        """The assignment of one image."""
        centre, half = boxes[:, :2], boxes[:, 2:] / 2
        height, width = target["img_shape"].tolist()
        pixels = torch.cat([centre - half, centre + half], -1) * boxes.new_tensor([width, height, width, height])
        given = InstanceData(scores=logits, bboxes=pixels)
        assigned: Tensor = self.assigner.assign(given, instances(target), image(target)).gt_inds
        return assigned


class Losses(nn.Module):
    """The losses of a head, from outputs and targets by their keys."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.head = head(configuration)
        self.matcher = Assigner(configuration)

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers, of proposals and of denoising queries."""
        layers, truth = stacked(outputs), ([instances(t) for t in targets], [image(t) for t in targets])
        if not isinstance(self.head, DeformableDETRHead):
            return dict(self.head.loss_by_feat(*layers, *truth))
        proposals = [outputs["enc_outputs"][key] for key in PREDICTED] if "enc_outputs" in outputs else [None, None]
        if not isinstance(self.head, DINOHead):
            return dict(self.head.loss_by_feat(*layers, *proposals, *truth))
        meta = outputs.get("dn_meta")
        if meta is None:
            losses = dict(DETRHead.loss_by_feat(self.head, *layers, *truth))
            if proposals[0] is not None:
                of_proposals = self.head.loss_by_feat_single(*proposals, *truth)
                losses |= zip(("enc_loss_cls", "enc_loss_bbox", "enc_loss_iou"), of_proposals, strict=True)
            return losses
        joined = [torch.cat(pair, dim=2) for pair in zip(stacked(outputs["dn_outputs"]), layers, strict=True)]
        counts = {"num_denoising_queries": meta["pad_size"], "num_denoising_groups": meta["dn_num_group"]}
        return dict(self.head.loss_by_feat(*joined, *proposals, *truth, counts))


def stacked(outputs: dict[str, Any]) -> list[Tensor]:
    """The logits of all layers, [L, B, Q, C], and their boxes."""
    layers = [*outputs.get("aux_outputs", ()), outputs]
    return [torch.stack([layer[key] for layer in layers]) for key in PREDICTED]


def postprocess(configuration: Configuration) -> Any:
    """The detections of a head, in the pixels of the image that it is given."""
    built = head(configuration)

    def call(outputs: dict[str, Tensor], sizes: Tensor) -> list[dict[str, Tensor]]:
        layer = (outputs["pred_logits"][None], outputs["pred_boxes"][None])
        metas = [{"img_shape": tuple(size.tolist())} for size in sizes]
        found = built.predict_by_feat(*layer, metas, rescale=False)
        return [{"scores": one.scores, "labels": one.labels, "boxes": one.bboxes} for one in found]

    return call


def of_head(profile: Profile, **parts: Any) -> Implementation:
    """A head under a profile."""
    focal = {} if profile.has_no_object else {"class_cost.alpha": 0.25, "class_cost.gamma": 2.0}
    return torch_implementation(
        name="mmdet",
        profile=replace(profile, **UNCHECKED),
        limits=Limits(dtypes=("float32",), fixed=focal),
        matcher=Assigner,
        criterion=Losses,
        **parts,
    )


OVERFLOW = DetectionRules(rule="top-k", clamp=True, top_k_overflow="refuse")
DENOISING = replace(MMDET_DINO.denoising, absent="nothing")
IMPLEMENTATIONS = (
    of_head(MMDET),
    of_head(replace(MMDET_FOCAL, detection=OVERFLOW), postprocess=postprocess),
    of_head(
        replace(MMDET_DINO, detection=replace(OVERFLOW, top_k=300), denoising=DENOISING),
        postprocess=postprocess,
    ),
)
