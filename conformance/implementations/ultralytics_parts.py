"""The matcher and the box overlaps of ultralytics' RT-DETR (https://docs.ultralytics.com), which are run as installed.

Declared: 1e-7 is added to unions and enclosing areas; boxes are not checked. The matcher computes in float32, whatever
the input, so it takes half precision and is not judged in float64. It is called with tensors of the targets of all
images, and its indices count these, as documented.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())

from torch import Tensor
from ultralytics.models.utils.ops import HungarianMatcher
from ultralytics.utils.metrics import bbox_iou

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import ComponentLimits, Limits
from detr_spec.profile import BoxRules, MatcherRules, TargetRules
from detr_spec.profiles import DEFORMABLE

PROFILE = replace(
    DEFORMABLE,
    boxes=BoxRules(iou_epsilon=1e-7, giou_epsilon=1e-7, invalid="unchecked"),
    targets=TargetRules(layout="concatenated"),
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


IMPLEMENTATION = torch_implementation(
    name="ultralytics",
    profile=PROFILE,
    limits=Limits(components={"matcher": ComponentLimits(dtypes=("float32", "float16", "bfloat16"))}),
    boxes={"iou": overlap(), "giou": overlap(GIoU=True)},
    matcher=matcher,
)
