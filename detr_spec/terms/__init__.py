"""Training terms, one file each: the only definition of each, from which its gradient follows."""

from detr_spec.terms.boxes import BoxCiou, BoxCiouThroughWeight, BoxDiou, BoxGiou, BoxL1, CornerL1
from detr_spec.terms.cross_entropy import ClampedCrossEntropy, ClassWeightedCrossEntropy, CrossEntropy
from detr_spec.terms.distillation import DistributionDistillation
from detr_spec.terms.distributions import FineGrainedLocalization
from detr_spec.terms.focal import Focal, FocalOverPairs
from detr_spec.terms.iou_aware import IouAware
from detr_spec.terms.masks import MaskCrossEntropy, MaskDice, MaskFocal
from detr_spec.terms.matchability import Matchability
from detr_spec.terms.not_judged import BoxesNotJudged, ClassesNotJudged, MasksNotJudged
from detr_spec.terms.quality_focal import QualityFocal
from detr_spec.terms.softmax_focal import SoftmaxFocal
from detr_spec.terms.term import LAWS, BoxTerm, ClassTerm, EdgeTerm, Layer, MaskTerm, Teacher, Term
from detr_spec.terms.varifocal import (
    Varifocal,
    VarifocalByOverlap,
    VarifocalOrFocal,
    VarifocalThroughWeights,
)

__all__ = [
    "LAWS",
    "BoxCiou",
    "BoxCiouThroughWeight",
    "BoxDiou",
    "BoxGiou",
    "BoxL1",
    "BoxTerm",
    "BoxesNotJudged",
    "ClampedCrossEntropy",
    "ClassTerm",
    "ClassWeightedCrossEntropy",
    "ClassesNotJudged",
    "CornerL1",
    "CrossEntropy",
    "DistributionDistillation",
    "EdgeTerm",
    "FineGrainedLocalization",
    "Focal",
    "FocalOverPairs",
    "IouAware",
    "Layer",
    "MaskCrossEntropy",
    "MaskDice",
    "MaskFocal",
    "MaskTerm",
    "MasksNotJudged",
    "Matchability",
    "QualityFocal",
    "SoftmaxFocal",
    "Teacher",
    "Term",
    "Varifocal",
    "VarifocalByOverlap",
    "VarifocalOrFocal",
    "VarifocalThroughWeights",
]
