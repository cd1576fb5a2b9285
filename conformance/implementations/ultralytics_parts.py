"""The matcher, the loss and the box overlaps of ultralytics' RT-DETR (https://docs.ultralytics.com), as installed.

Declared: 1e-7 is added to unions and enclosing areas; boxes are not checked. The matcher computes in float32, whatever
the input, so it takes half precision and is not judged in float64. It is called with tensors of the targets of all
images, and its indices count these, as documented.

Its loss is asked for the focal loss, `use_fl`. Declared, as documented: losses are weighted already, each rank counts
its own matches, the earlier layers share one loss, and so do those of denoising queries, whose losses are 0 without
them. It takes stacked predictions, which the class below makes of layers. An α of 0 leaves the factor of α out, which
the documentation does not say; it is not varied. Like the matcher, it is judged in float32.
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
from detr_spec.profile import BoxRules, DenoisingRules, LossRules, MatcherRules, TargetRules
from detr_spec.profiles import DEFORMABLE

PROFILE = replace(
    DEFORMABLE,
    boxes=BoxRules(iou_epsilon=1e-7, giou_epsilon=1e-7, invalid="unchecked"),
    targets=TargetRules(layout="concatenated"),
    keys=replace(
        DEFORMABLE.keys,
        classification="loss_class",
        auxiliary_loss="{loss}_aux",
        denoising_loss="{loss}_dn",
        denoising_auxiliary_loss="{loss}_aux_dn",
        denoising_positives="dn_pos_idx",
        class_error=None,
        cardinality=None,
    ),
    losses=LossRules(weighted=True),
    denoising=DenoisingRules(layout="listed", absent="zeros"),
    denominator="matches",
    rank_reduction="local",
    label_beyond_range="unchecked",
    target_count="unchecked",
    matcher=MatcherRules(
        arguments=("boxes", "logits", "target_boxes", "labels", "target_counts"), target_indices="batch"
    ),
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
            use_vfl=False,
            gamma=configuration.class_loss.gamma,
            alpha=configuration.class_loss.alpha,
        )
        self.loss.matcher = self.matcher = matcher(configuration)

    def forward(self, outputs: dict[str, Any], targets: dict[str, Any]) -> dict[str, Tensor]:
        """The losses of all layers."""
        keys, counts = PROFILE.keys, targets["counts"]
        batch = {"cls": targets["labels"], "bboxes": targets["boxes"], "gt_groups": counts}
        predictions = stacked([*outputs.get(keys.auxiliary, ()), outputs])
        meta = outputs[keys.denoising_meta]
        if meta is None:
            return dict(self.loss(predictions, batch))
        starts = [0, *accumulate(counts)]
        objects = [torch.arange(start, end) for start, end in pairwise(starts)]
        return dict(self.loss(predictions, batch, *stacked(outputs[keys.denoising]), {**meta, "dn_gt_idx": objects}))


def stacked(layers: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """The boxes and the logits of all layers."""
    return torch.stack([layer["pred_boxes"] for layer in layers]), torch.stack(
        [layer["pred_logits"] for layer in layers]
    )


IMPLEMENTATION = torch_implementation(
    name="ultralytics",
    profile=PROFILE,
    limits=Limits(
        fixed={"class_loss.alpha": 0.25},
        components={
            "matcher": ComponentLimits(dtypes=("float32", "float16", "bfloat16")),
            **dict.fromkeys(("criterion", "gradients", "distributed"), ComponentLimits(dtypes=("float32",))),
        },
    ),
    boxes={"iou": overlap(), "giou": overlap(GIoU=True)},
    matcher=matcher,
    criterion=Loss,
)
