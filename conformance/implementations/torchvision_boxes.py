"""torchvision's box operations (https://docs.pytorch.org/vision/stable/ops.html).

Declared: boxes with x1 < x0 or NaN are outside the documented precondition `0 <= x1 < x2`, so nothing is asked
about them.
"""

from __future__ import annotations

from dataclasses import replace

from torchvision import ops

from detr_conformance import torch_implementation
from detr_spec.profile import BoxRules
from detr_spec.profiles import DETR

IMPLEMENTATION = torch_implementation(
    name="torchvision",
    profile=replace(DETR, boxes=BoxRules(invalid="unchecked")),
    boxes={
        "cxcywh_to_xyxy": lambda boxes: ops.box_convert(boxes, "cxcywh", "xyxy"),
        "xyxy_to_cxcywh": lambda boxes: ops.box_convert(boxes, "xyxy", "cxcywh"),
        "iou": ops.box_iou,
        "giou": ops.generalized_box_iou,
        "elementwise_giou": lambda first, second: 1 - ops.generalized_box_iou_loss(first, second, eps=0.0),
    },
)
