"""The dialects that people train with since Deformable DETR, one file each, as their users call them.

- `conditional_detr`: the losses of Deformable DETR, for the decoder's queries alone.
- `dab_detr`: 1e-6 added to the areas of overlaps.
- `dino`: those losses, also of proposals and of denoising queries.
- `grounding_dino`: those of DAB-DETR, over the tokens of phrases.
- `rt_detr`: varifocal targets, weighted losses, top-k with sizes as width and height.
- `h_detr`: the losses of Deformable DETR, and those of further queries whose targets are repeated.
- `group_detr`: groups of queries in training.
- `lw_detr`: such groups, and IoU-aware targets.
- `ultralytics`: RT-DETR with one loss of all earlier layers, and targets of all images one after another.
- `mmdet`: mmdetection's heads, whose targets are corners in pixels.
- `scenic`: DETR whose first column is no object, with padded targets.
- `tf_models`: the same with y before x, as many places as queries, and divisors of all ranks together.
- `paddle`: DETR with weighted losses, one of all earlier layers, and targets as lists of tensors.
- `d_fine`: losses of boxes under the union of the pairs of all predictions.
- `deim`: the same, with matchability-aware targets.
- `mask2former`: masks in place of boxes, compared at random points.
- `rf_detr_seg`: LW-DETR with such masks beside boxes.
"""

from __future__ import annotations

from .conditional_detr import ConditionalDETRCriterion, ConditionalDETRMatcher, ConditionalDETRPostProcess
from .d_fine import DFINECriterion, DFINEMatcher, DFINEPostProcessor
from .dab_detr import DABDETRCriterion, DABDETRMatcher, DABDETRPostProcess
from .deim import DEIMCriterion, DEIMMatcher, DEIMPostProcessor
from .dino import DINOCriterion, DINOMatcher, DINOPostProcess
from .grounding_dino import GroundingDINOCriterion, GroundingDINOMatcher, GroundingDINOPostProcess
from .group_detr import GroupDETRCriterion, GroupDETRMatcher, GroupDETRPostProcess
from .h_detr import HDETRCriterion, HDETRMatcher, HDETRPostProcess
from .lw_detr import LWDETRCriterion, LWDETRMatcher, LWDETRPostProcess
from .mask2former import Mask2FormerCriterion, Mask2FormerMatcher
from .mmdet import (
    CoDINOLoss,
    MMDetAssigner,
    MMDetDETRLoss,
    MMDetDINOLoss,
    MMDetFocalLoss,
    MMDetLoss,
    MMDetPostProcess,
    bbox_overlaps,
    mmdet_focal_cost,
)
from .paddle import PaddleDETRLoss, PaddleMatcher
from .rf_detr_seg import RFDETRPostProcess, RFDETRSegCriterion, RFDETRSegMatcher
from .rt_detr import RTDETRCriterion, RTDETRMatcher, RTDETRPostProcessor
from .scenic import ScenicLoss, ScenicMatcher
from .tf_models import (
    TFModelsDetectionLoss,
    TFModelsDetections,
    TFModelsMatcher,
    bbox_generalized_overlap,
    bbox_overlap,
    cycxhw_to_yxyx,
    generalized_overlap,
    yxyx_to_cycxhw,
)
from .ultralytics import UltralyticsDetectionLoss, UltralyticsMatcher

__all__ = [
    "CoDINOLoss",
    "ConditionalDETRCriterion",
    "ConditionalDETRMatcher",
    "ConditionalDETRPostProcess",
    "DABDETRCriterion",
    "DABDETRMatcher",
    "DABDETRPostProcess",
    "DEIMCriterion",
    "DEIMMatcher",
    "DEIMPostProcessor",
    "DFINECriterion",
    "DFINEMatcher",
    "DFINEPostProcessor",
    "DINOCriterion",
    "DINOMatcher",
    "DINOPostProcess",
    "GroundingDINOCriterion",
    "GroundingDINOMatcher",
    "GroundingDINOPostProcess",
    "GroupDETRCriterion",
    "GroupDETRMatcher",
    "GroupDETRPostProcess",
    "HDETRCriterion",
    "HDETRMatcher",
    "HDETRPostProcess",
    "LWDETRCriterion",
    "LWDETRMatcher",
    "LWDETRPostProcess",
    "MMDetAssigner",
    "MMDetDETRLoss",
    "MMDetDINOLoss",
    "MMDetFocalLoss",
    "MMDetLoss",
    "MMDetPostProcess",
    "Mask2FormerCriterion",
    "Mask2FormerMatcher",
    "PaddleDETRLoss",
    "PaddleMatcher",
    "RFDETRPostProcess",
    "RFDETRSegCriterion",
    "RFDETRSegMatcher",
    "RTDETRCriterion",
    "RTDETRMatcher",
    "RTDETRPostProcessor",
    "ScenicLoss",
    "ScenicMatcher",
    "TFModelsDetectionLoss",
    "TFModelsDetections",
    "TFModelsMatcher",
    "UltralyticsDetectionLoss",
    "UltralyticsMatcher",
    "bbox_generalized_overlap",
    "bbox_overlap",
    "bbox_overlaps",
    "cycxhw_to_yxyx",
    "generalized_overlap",
    "mmdet_focal_cost",
    "yxyx_to_cycxhw",
]
