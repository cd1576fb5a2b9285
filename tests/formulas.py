"""The definitions of costs and terms, each called with what it reads alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from detr_spec.boxes import EXACT
from detr_spec.configuration import Configuration
from detr_spec.costs import FocalCost, L1Cost, NegativeProbability, Pairs
from detr_spec.terms import BoxGiou, BoxL1, Layer
from detr_spec.tolerance import Numbers
from detr_spec.values import Integers


def _pairs(**shown: Any) -> Pairs:
    nothing: dict[str, Any] = dict.fromkeys(("logits", "boxes", "labels", "truth"))
    return Pairs(**{**nothing, "has_no_object": False, **shown})


def _layer(**shown: Any) -> Layer:
    nothing: dict[str, Any] = dict.fromkeys(("logits", "classes", "boxes", "truth", "images", "queries"))
    return Layer(**{**nothing, **shown})


def negative_probability_cost(logits: Numbers, labels: Integers) -> Numbers:
    """The softmax's cost; [Q, C] and [n] → [Q, n]."""
    return NegativeProbability().value(_pairs(logits=logits, labels=labels, has_no_object=True))


def focal_cost(logits: Numbers, labels: Integers, alpha: float, gamma: float, epsilon: float) -> Numbers:
    """The focal cost; [Q, C] and [n] → [Q, n]."""
    return FocalCost(alpha=alpha, gamma=gamma, epsilon=epsilon).value(_pairs(logits=logits, labels=labels))


def l1_cost(boxes: Numbers, truth: Numbers) -> Numbers:
    """The L1 cost; [Q, 4] and [n, 4] → [Q, n]."""
    return L1Cost().value(_pairs(boxes=boxes, truth=truth))


def shown_boxes(boxes: Numbers, truth: Numbers, normaliser: Numbers, rules: Any = EXACT) -> Layer:
    """What a loss of boxes reads; [m, 4] twice."""
    return _layer(boxes=boxes, truth=truth, normaliser=normaliser, rules=rules)


def box_l1(boxes: Numbers, truth: Numbers, normaliser: Numbers) -> Numbers:
    """The L1 loss; [m, 4] twice → []."""
    return BoxL1().value(shown_boxes(boxes, truth, normaliser))


def box_giou(boxes: Numbers, truth: Numbers, normaliser: Numbers, rules: Any = EXACT) -> Numbers:
    """The GIoU loss; [m, 4] twice → []."""
    return BoxGiou().value(shown_boxes(boxes, truth, normaliser, rules))


def classification(configuration: Configuration, logits: Numbers, classes: Integers, normaliser: Numbers) -> Numbers:
    """The classification loss of logits alone; [B, Q, C] and [B, Q] → []."""
    return configuration.class_loss.value(_layer(logits=logits, classes=classes, normaliser=np.asarray(normaliser)))
