"""The matcher, the loss and the box overlaps of DocLayout-YOLO, which has those of an older ultralytics.

Declared, as ultralytics documents: 1e-7 is added to unions and enclosing areas, and boxes are not checked; the matcher
is called with tensors of the targets of all images, and its indices count these. Losses are weighted already, each rank
counts its own matches, the earlier layers share one loss, and so do those of denoising queries, whose losses are 0
without them. The numbers of its focal loss are fixed. It is asked for the focal loss, `use_fl`, and judged in float32.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())

import torch
from doclayout_yolo.models.utils.loss import RTDETRDetectionLoss
from doclayout_yolo.models.utils.ops import HungarianMatcher
from doclayout_yolo.utils.metrics import bbox_iou
from torch import Tensor, nn

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profiles import DEFORMABLE, ULTRALYTICS

PROFILE = replace(
    ULTRALYTICS,
    name=DEFORMABLE.name,
    summary=DEFORMABLE.summary,
    overlap_cost=DEFORMABLE.overlap_cost,
    class_loss=DEFORMABLE.class_loss,
    loss_weights=DEFORMABLE.loss_weights,
    non_finite_logits="refuse",
    non_finite_boxes="refuse",
    keys=replace(ULTRALYTICS.keys, labels="labels", target_boxes="boxes", target_counts="counts"),
)


def overlap(**kind: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """One of the overlaps of every pair of boxes in xyxy."""
    return lambda first, second: bbox_iou(first[:, None], second[None], xywh=False, **kind).squeeze(-1)


def gains(weights: tuple[float, float, float]) -> dict[str, float]:
    """The weights by the names of this package."""
    return dict(zip(("class", "bbox", "giou"), weights, strict=True))


def matcher(configuration: Configuration) -> HungarianMatcher:
    """The matcher."""
    cost = configuration.class_cost
    return HungarianMatcher(gains(configuration.cost_weights), alpha=cost.alpha, gamma=cost.gamma)


def stacked(layers: list[dict[str, Tensor]]) -> tuple[Tensor, ...]:
    """The boxes and the logits of all layers."""
    return tuple(torch.stack([layer[key] for layer in layers]) for key in ("pred_boxes", "pred_logits"))


class Loss(nn.Module):
    """The loss, from outputs and targets by their keys."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        weights = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
        self.loss = RTDETRDetectionLoss(
            nc=configuration.num_classes, loss_gain=gains(weights), aux_loss=configuration.decoder_layers > 1
        )
        self.loss.matcher = self.matcher = matcher(configuration)

    def forward(self, outputs: dict[str, Any], targets: dict[str, Any]) -> dict[str, Tensor]:
        """The losses of all layers."""
        keys = PROFILE.keys
        batch = {"cls": targets["labels"], "bboxes": targets["boxes"], "gt_groups": targets["counts"]}
        predictions = stacked([*outputs.get(keys.auxiliary, ()), outputs])
        meta = outputs[keys.denoising_meta]
        apart = () if meta is None else (*stacked(outputs[keys.denoising]), meta)
        return dict(self.loss(predictions, batch, *apart))


IMPLEMENTATION = torch_implementation(
    name="doclayout-yolo",
    profile=PROFILE,
    limits=Limits(fixed={"class_loss.alpha": 0.25, "class_loss.gamma": 1.5}, dtypes=("float32",)),
    boxes={"iou": overlap(), "giou": overlap(GIoU=True)},
    matcher=matcher,
    criterion=Loss,
)
