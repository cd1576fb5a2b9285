"""kornia's IoU and the post-processing of its RT-DETR (https://kornia.readthedocs.io).

Declared, as documented: its IoU (kornia.metrics.mean_iou_bbox) asserts that widths and heights are positive. More
detections than there are pairs of a query and a class are refused. A detection is a row (class, score, x, y, w, h),
which is taken apart here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from kornia.metrics import mean_iou_bbox
from kornia.models.rt_detr.post_processor import DETRPostProcessor
from torch import Tensor

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.profile import DetectionRules
from detr_spec.profiles import DEFORMABLE


def postprocess(configuration: Configuration) -> Callable[[dict[str, Tensor], Tensor], list[dict[str, Tensor]]]:
    """Post-processing without a threshold, on DETR's outputs."""
    processor = DETRPostProcessor(
        num_classes=configuration.num_classes, num_top_queries=configuration.top_k, confidence_filtering=False
    )

    def detections(row: Tensor) -> dict[str, Tensor]:
        near, size = row[:, 2:4], row[:, 4:]
        return {"labels": row[:, 0].long(), "scores": row[:, 1], "boxes": torch.cat([near, near + size], dim=1)}

    def call(outputs: dict[str, Tensor], sizes: Tensor) -> list[dict[str, Tensor]]:
        return [detections(rows) for rows in processor(outputs["pred_logits"], outputs["pred_boxes"], sizes)]

    return call


IMPLEMENTATIONS = (
    torch_implementation(name="kornia", profile="detr", boxes={"iou": mean_iou_bbox}),
    torch_implementation(
        name="kornia",
        profile=replace(DEFORMABLE, detection=DetectionRules(rule="top-k", top_k_overflow="refuse")),
        postprocess=postprocess,
    ),
)
