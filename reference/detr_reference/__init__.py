"""DETR's set prediction in readable PyTorch, in two dialects.

The softmax dialect of DETR: `DetectionHeads`, `HungarianMatcher`, `SetCriterion`, `PostProcess`. The sigmoid
dialect of Deformable DETR: `DetectionHeads(no_object=False)`, `HungarianMatcher(class_cost=focal_cost())`,
`FocalSetCriterion`, `TopKPostProcess`. What passes between them is described in `detr_reference.batch`.

What comes before the heads is the same in both: `pad_images`, `Backbone`, `sine_positions`, `Transformer`; `DETR` is
all of it, from images to predictions, and `build_detr` builds one.
"""

from __future__ import annotations

from .backbone import Backbone, group_norm
from .boxes import (
    box_area,
    box_cxcywh_to_xyxy,
    box_iou,
    box_xyxy_to_cxcywh,
    elementwise_generalized_box_iou,
    generalized_box_iou,
)
from .criterion import FocalSetCriterion, SetCriterion, build_weight_dict
from .heads import MLP, DetectionHeads
from .images import ImageBatch, pad_images, resize_padding
from .letterbox import Letterbox
from .losses import dice_loss, sigmoid_focal_loss, weighted_cross_entropy
from .matcher import HungarianMatcher, focal_cost, negative_probability_cost
from .model import DETR, build_detr
from .positions import sine_positions
from .postprocess import PostProcess, TopKPostProcess
from .training import StepMetrics, training_step
from .transformer import Decoder, Encoder, Transformer

__all__ = [
    "DETR",
    "MLP",
    "Backbone",
    "Decoder",
    "DetectionHeads",
    "Encoder",
    "FocalSetCriterion",
    "HungarianMatcher",
    "ImageBatch",
    "Letterbox",
    "PostProcess",
    "SetCriterion",
    "StepMetrics",
    "TopKPostProcess",
    "Transformer",
    "box_area",
    "box_cxcywh_to_xyxy",
    "box_iou",
    "box_xyxy_to_cxcywh",
    "build_detr",
    "build_weight_dict",
    "dice_loss",
    "elementwise_generalized_box_iou",
    "focal_cost",
    "generalized_box_iou",
    "group_norm",
    "negative_probability_cost",
    "pad_images",
    "resize_padding",
    "sigmoid_focal_loss",
    "sine_positions",
    "training_step",
    "weighted_cross_entropy",
]
