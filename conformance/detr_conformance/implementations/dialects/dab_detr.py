"""The reference's twin of DAB-DETR under the suite's interfaces."""

from __future__ import annotations

import detr_reference as reference
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.conditional_detr import criterion_of, matcher_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_reference.dialects import epsilon_boxes

IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="dab",
        limits=LIMITS,
        boxes={
            "cxcywh_to_xyxy": reference.box_cxcywh_to_xyxy,
            "xyxy_to_cxcywh": reference.box_xyxy_to_cxcywh,
            "iou": epsilon_boxes.box_iou,
            "giou": epsilon_boxes.generalized_box_iou,
            "elementwise_giou": epsilon_boxes.elementwise_generalized_box_iou,
        },
        matcher=matcher_of(dialects.DABDETRMatcher),
        criterion=criterion_of(dialects.DABDETRCriterion, dialects.DABDETRMatcher),
        postprocess=lambda configuration: dialects.DABDETRPostProcess(configuration.top_k),
    ),
)
