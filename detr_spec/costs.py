"""The matching cost of every query and target of one image, by profile. norm §3; Carion et al. 2020, section 3.1."""

from __future__ import annotations

import numpy as np

from detr_spec import boxes as box_definitions
from detr_spec.configuration import Configuration
from detr_spec.parameters import held
from detr_spec.tolerance import Interval, Numbers, hull, lift, rounded_like
from detr_spec.values import Integers, Outputs, Target, part_dtypes


def log_softmax(logits: Numbers) -> Numbers:
    """Z − (max z + log Σ exp(z − max z)) over the last axis; [..., C] → [..., C].

    In this order the range also holds what cancels where log Σ exp z is formed before z is subtracted from it.
    """
    highest = logits.max(axis=-1, keepdims=True)
    return logits - (highest + np.log(np.exp(logits - highest).sum(axis=-1))[..., None])


def softmax(logits: Numbers) -> Numbers:
    """exp(z) / Σ exp(z) over the last axis; [..., C] → [..., C], each in [0, 1].

    An interval also holds the exponential of the log-softmax.
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    direct = np.minimum(powers / powers.sum(axis=-1)[..., None], 1.0)
    return hull(direct, np.exp(log_softmax(logits))) if isinstance(direct, Interval) else direct


def sigmoid(logits: Numbers) -> Numbers:
    """1 / (1 + exp(−z)), each in [0, 1]."""
    with np.errstate(over="ignore"):
        return np.minimum(1.0 / (1.0 + np.exp(-logits)), 1.0)


def negative_probability_cost(logits: Numbers, labels: Integers, activation: str) -> Numbers:
    """−p at the label, p = softmax(z) or sigmoid(z); logits [Q, C] and labels [n] → [Q, n]."""
    return -(softmax(logits)[:, labels] if activation == "softmax" else sigmoid(logits[:, labels]))


def focal_cost(logits: Numbers, labels: Integers, alpha: Numbers, gamma: Numbers, epsilon: Numbers) -> Numbers:
    """α(1−p)^γ · −log(p+ε) − (1−α)p^γ · −log(1−p+ε) at the label, p = sigmoid(z); [Q, C] and [n] → [Q, n].

    Source: the behaviour of Deformable DETR's matcher (Zhu et al. 2021), from the focal loss of Lin et al. 2017.
    """
    probability = sigmoid(logits[:, labels])
    complement = np.maximum(1.0 - probability, 0.0)
    positive = complement**gamma * -np.log(probability + epsilon) * alpha
    negative = probability**gamma * -np.log(complement + epsilon) * (1.0 - alpha)
    return positive - negative


def l1_cost(predicted: Numbers, targets: Numbers) -> Numbers:
    """‖b̂ − b‖₁ of every pair, in cxcywh; [Q, 4] and [n, 4] → [Q, n]."""
    return np.abs(predicted[:, None, :] - targets[None, :, :]).sum(axis=-1)


def class_cost(logits: Numbers, labels: Integers, configuration: Configuration) -> Numbers:
    """The profile's class cost; [Q, C] and [n] → [Q, n]."""
    if configuration.profile.class_cost == "focal":
        epsilon = configuration.profile.focal_cost_epsilon
        return focal_cost(logits, labels, configuration.focal_alpha, configuration.focal_gamma, epsilon)
    return negative_probability_cost(logits, labels, configuration.profile.activation)


def matching_cost(logits: Numbers, boxes: Numbers, target: Target, configuration: Configuration) -> Numbers:
    """C_ij = λ_class · class cost + λ_bbox · ‖b̂_i − b_j‖₁ − λ_giou · GIoU(b̂_i, b_j); one image, [Q, n].

    logits [Q, C], boxes [Q, 4] in cxcywh. A term of weight 0 is left out, so it cannot matter even where it is NaN.
    """
    narrow = isinstance(boxes, Interval)
    target_boxes = lift(target.boxes, part_dtypes(configuration.dtype).targets) if narrow else target.boxes
    total = lift(np.zeros((len(boxes), len(target))), boxes.dtype) if isinstance(boxes, Interval) else 0.0
    if configuration.cost_class:
        total = total + class_cost(logits, target.labels, configuration) * configuration.cost_class
    if configuration.cost_bbox:
        total = total + l1_cost(boxes, target_boxes) * configuration.cost_bbox
    if configuration.cost_giou:
        giou = box_definitions.giou(
            box_definitions.cxcywh_to_xyxy(boxes),
            box_definitions.cxcywh_to_xyxy(target_boxes),
            configuration.profile.boxes,
        )
        total = total - rounded_like(giou, boxes) * configuration.cost_giou
    return total


def image_costs(outputs: Outputs, targets: tuple[Target, ...], configuration: Configuration) -> list[Interval]:
    """The matching cost of each image of one decoder layer, [Q, n_b] each, with the range of the case's dtype."""
    dtypes, parameters = part_dtypes(configuration.dtype), held(configuration)
    return [
        matching_cost(
            lift(outputs.logits[image], dtypes.logits), lift(outputs.boxes[image], dtypes.boxes), target, parameters
        )
        for image, target in enumerate(targets)
    ]
