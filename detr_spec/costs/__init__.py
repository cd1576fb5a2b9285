"""Matching costs: a definition for each term of them, and the whole cost of an image. norm §3."""

from detr_spec.costs.boxes import CiouCost, DiouCost, GiouCost, L1Cost, NoBoxCost, OneMinusGiou
from detr_spec.costs.classes import FocalCost, NegativeProbability
from detr_spec.costs.cost import LAWS, BoxCost, ClassCost, Cost, MaskCost, Pairs
from detr_spec.costs.masks import MaskCrossEntropyCost, MaskDiceCost
from detr_spec.costs.quality import ScoreTimesOverlap

__all__ = [
    "LAWS",
    "BoxCost",
    "CiouCost",
    "ClassCost",
    "Cost",
    "DiouCost",
    "FocalCost",
    "GiouCost",
    "L1Cost",
    "MaskCost",
    "MaskCrossEntropyCost",
    "MaskDiceCost",
    "NegativeProbability",
    "NoBoxCost",
    "OneMinusGiou",
    "Pairs",
    "ScoreTimesOverlap",
]
