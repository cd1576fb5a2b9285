"""kornia's IoU (kornia.metrics.mean_iou_bbox), which asserts that widths and heights are positive, as it documents."""

from __future__ import annotations

from kornia.metrics import mean_iou_bbox

from detr_conformance import torch_implementation

IMPLEMENTATION = torch_implementation(name="kornia", profile="detr", boxes={"iou": mean_iou_bbox})
