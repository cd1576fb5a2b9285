"""The matcher and the box overlaps of ultralytics' RT-DETR (https://docs.ultralytics.com), which are run as installed.

Declared: 1e-7 is added to unions and enclosing areas; boxes are not checked. The matcher computes in float32, whatever
the input, so it takes half precision and is not judged in float64. Its indices of targets are offset into the targets
of all images, as documented, and brought back here. Its criterion sums the losses of all auxiliary layers, which no
profile says.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from typing import Any

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())

import torch
from torch import Tensor
from ultralytics.models.utils.ops import HungarianMatcher
from ultralytics.utils.metrics import bbox_iou

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profile import BoxRules
from detr_spec.profiles import DEFORMABLE

PROFILE = replace(DEFORMABLE, boxes=BoxRules(iou_epsilon=1e-7, giou_epsilon=1e-7, invalid="unchecked"))


def overlap(**kind: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """One of the overlaps of every pair of boxes in xyxy."""
    return lambda first, second: bbox_iou(first[:, None], second[None], xywh=False, **kind).squeeze(-1)


def matcher(configuration: Configuration) -> Callable[[Any, Any], Any]:
    """The matcher, on DETR's outputs and targets."""
    gains = dict(zip(("class", "bbox", "giou"), configuration.cost_weights, strict=True))
    own = HungarianMatcher(gains, alpha=configuration.class_cost.alpha, gamma=configuration.class_cost.gamma)

    def match(outputs: Any, targets: Any) -> Any:
        labels, boxes = (torch.cat([target[name] for target in targets]) for name in ("labels", "boxes"))
        counts = [len(target["labels"]) for target in targets]
        found = own(outputs["pred_boxes"], outputs["pred_logits"], boxes, labels, counts)
        starts = accumulate(counts, initial=0)
        return [(queries, matched - start) for (queries, matched), start in zip(found, starts, strict=False)]

    return match


IMPLEMENTATION = torch_implementation(
    name="ultralytics",
    profile=PROFILE,
    limits=Limits(component_dtypes={"matcher": ("float32", "float16", "bfloat16")}),
    boxes={"iou": overlap(), "giou": overlap(GIoU=True)},
    matcher=matcher,
)
