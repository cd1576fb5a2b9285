"""DETR's matcher and criterion, batched over decoder layers and images: what `detr_reference` does, faster.

Change the import and nothing else: `HungarianMatcher`, `SetCriterion`, `FocalSetCriterion`, `PostProcess`,
`TopKPostProcess` and the box operations take the same arguments, return the same keys and values with the same
gradients, and refuse the same input with the same words. What leaves nothing to gain is the reference's own.

The way of one batch: `batch` packs it, `matcher` computes the costs of each image's own queries and targets,
`assignment` solves all these problems at once, and `criterion` takes every loss of every layer in one pass. Each of
them chooses the machine: `torch` has the costs and losses that run anywhere; `cuda`, with CuPy, does all of this in
five kernels; on the CPU numba, where it is installed, compiles what `compiled.kernels` hold, `cpu` takes the losses
from there, and large passes run in as many threads as torch has. Gradients of gradients are refused where the backward
pass is written by hand: of the classification losses, and of all losses where kernels or numba compute them. Where the
layers' logits are slices of one tensor on the CPU, as models make them, its gradient is written once (`slices`).
"""

from __future__ import annotations

from detr_reference import (
    PostProcess,
    TopKPostProcess,
    box_area,
    box_cxcywh_to_xyxy,
    box_iou,
    box_xyxy_to_cxcywh,
    build_weight_dict,
    elementwise_generalized_box_iou,
    generalized_box_iou,
    negative_probability_cost,
)

from .criterion import FocalSetCriterion, SetCriterion
from .matcher import HungarianMatcher
from .torch.class_costs import focal_cost

__all__ = [
    "FocalSetCriterion",
    "HungarianMatcher",
    "PostProcess",
    "SetCriterion",
    "TopKPostProcess",
    "box_area",
    "box_cxcywh_to_xyxy",
    "box_iou",
    "box_xyxy_to_cxcywh",
    "build_weight_dict",
    "elementwise_generalized_box_iou",
    "focal_cost",
    "generalized_box_iou",
    "negative_probability_cost",
]
