"""The matcher, the losses and the box overlaps of ultralytics' RT-DETR (https://docs.ultralytics.com), as installed.

Declared: 1e-7 is added to unions and enclosing areas; boxes are not checked. The matcher computes in float32, whatever
the input, so it takes half precision and is not judged in float64. It is called with tensors of the targets of all
images, and its indices count these, as documented.

Its loss is judged twice: as it trains, with varifocal targets, under the dialect `ultralytics`; and under `deformable`
with the focal loss that it has by default, `use_fl`. Declared, as documented: losses are weighted already, each rank
counts its own matches, the earlier layers share one loss, and so do those of denoising queries, whose losses are 0
without them. It takes stacked predictions, which the class below makes of layers. An α of 0 leaves the factor of α out
of the focal loss, which the documentation does not say; it is not varied. Like the matcher, the losses are judged in
float32.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())

import torch
from torch import Tensor, nn
from ultralytics.models.utils.loss import RTDETRDetectionLoss
from ultralytics.models.utils.ops import HungarianMatcher
from ultralytics.utils.metrics import bbox_iou

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import ComponentLimits, Limits
from detr_spec.profiles import DEFORMABLE, ULTRALYTICS
from detr_spec.terms import Focal

FOCAL = replace(
    ULTRALYTICS,
    name="deformable",
    class_loss=Focal(),
    loss_weights=DEFORMABLE.loss_weights,
    non_finite_logits="refuse",
    non_finite_boxes="refuse",
    narrow_dtypes="refuse",
)


def overlap(**kind: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """One of the overlaps of every pair of boxes in xyxy."""
    return lambda first, second: bbox_iou(first[:, None], second[None], xywh=False, **kind).squeeze(-1)


def matcher(configuration: Configuration) -> HungarianMatcher:
    """The matcher."""
    gains = dict(zip(("class", "bbox", "giou"), configuration.cost_weights, strict=True))
    return HungarianMatcher(gains, alpha=configuration.class_cost.alpha, gamma=configuration.class_cost.gamma)


class Loss(nn.Module):
    """The loss, from outputs and targets by their keys."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        gains = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
        self.loss = RTDETRDetectionLoss(
            nc=configuration.num_classes,
            loss_gain=dict(zip(("class", "bbox", "giou"), gains, strict=True)),
            aux_loss=configuration.decoder_layers > 1,
            use_vfl=not isinstance(configuration.class_loss, Focal),
            gamma=configuration.class_loss.gamma,
            alpha=configuration.class_loss.alpha,
        )
        self.loss.matcher = self.matcher = matcher(configuration)

    def forward(self, outputs: dict[str, Any], targets: dict[str, Any]) -> dict[str, Tensor]:
        """The losses of all layers."""
        predictions, meta = stacked([*outputs.get("aux_outputs", ()), outputs]), outputs["dn_meta"]
        if meta is None:
            return dict(self.loss(predictions, targets))
        starts = [0, *accumulate(targets["gt_groups"])]
        objects = [torch.arange(start, end) for start, end in pairwise(starts)]
        return dict(self.loss(predictions, targets, *stacked(outputs["dn_outputs"]), {**meta, "dn_gt_idx": objects}))


def stacked(layers: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """The boxes and the logits of all layers."""
    return torch.stack([layer["pred_boxes"] for layer in layers]), torch.stack(
        [layer["pred_logits"] for layer in layers]
    )


OF_LOSSES = dict.fromkeys(("criterion", "gradients", "distributed"), ComponentLimits(dtypes=("float32",)))

IMPLEMENTATIONS = (
    torch_implementation(
        name="ultralytics",
        profile=FOCAL,
        limits=Limits(
            fixed={"class_loss.alpha": 0.25},
            components={"matcher": ComponentLimits(dtypes=("float32", "float16", "bfloat16")), **OF_LOSSES},
        ),
        boxes={"iou": overlap(), "giou": overlap(GIoU=True)},
        matcher=matcher,
        criterion=Loss,
    ),
    torch_implementation(name="ultralytics", profile=ULTRALYTICS, limits=Limits(components=OF_LOSSES), criterion=Loss),
)
