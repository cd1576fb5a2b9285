"""DETR's matcher and criterion, batched over decoder layers and images: what `detr_reference` does, faster.

Change the import and nothing else: `HungarianMatcher`, `SetCriterion`, `FocalSetCriterion`, `PostProcess`,
`TopKPostProcess` and the box operations take the same arguments, return the same keys and values with the same
gradients, and refuse the same input with the same words. What leaves nothing to gain is the reference's own.

The way of one batch: `predictions` and `targets` pack it, `matcher` computes the costs of each image's own queries and
targets, `assignment` solves all these problems at once, and `criterion` takes every loss of every layer in one pass.

On CUDA, with CuPy, `cuda_criterion` does all of this in five kernels: costs and losses are in `criterion.cu`, the
formulas for them in `formulas.cu`, and the assignment is in `lsap.cu`. On the CPU, numba, where it is installed,
compiles what the modules `numba_*` hold, and `host_criterion` takes the losses from there; large passes run in as many
threads as torch has. Gradients of gradients are refused where the backward pass is written by
hand: of the classification losses, and of all losses where kernels or numba compute them.
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

from .class_costs import focal_cost
from .criterion import FocalSetCriterion, SetCriterion
from .matcher import HungarianMatcher

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
