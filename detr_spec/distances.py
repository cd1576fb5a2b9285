"""Overlaps that tell boxes apart by their centres and shapes too. Zheng et al. 2020, "Distance-IoU Loss".

Each takes float64 arrays, or intervals, as those of `detr_spec.boxes` do.
"""

from __future__ import annotations

import math

import numpy as np

from detr_spec.boxes import BoxRules, elementwise_iou, sides
from detr_spec.tolerance import (
    SameNumbers,
    arctan,
    hull,
    is_interval,
    maximum,
    minimum,
    stop_gradient,
    values,
    where,
    within,
)


def elementwise_diou(first: SameNumbers, second: SameNumbers, rules: BoxRules) -> SameNumbers:
    """IoU − ρ² / c² of boxes in xyxy, with broadcasting; [..., 4] and [..., 4] → [...].

    ρ is the distance of the centres and c the diagonal of the smallest enclosing box; what the rules add to its area is
    added to c².
    """
    apart = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) * 0.5
    if is_interval(apart):
        apart = hull(apart, (first[..., :2] + first[..., 2:]) * 0.5 - (second[..., :2] + second[..., 2:]) * 0.5)
    enclosing = sides(minimum(first[..., :2], second[..., :2]), maximum(first[..., 2:], second[..., 2:]))
    distance, diagonal = _squared_length(apart), _squared_length(enclosing)
    with np.errstate(divide="ignore", invalid="ignore"):
        return elementwise_iou(first, second, rules) - distance / (diagonal + rules.giou_epsilon)


def elementwise_ciou(
    first: SameNumbers, second: SameNumbers, rules: BoxRules, *, weight_moves: bool = False
) -> SameNumbers:
    """DIoU − α v of boxes in xyxy, with broadcasting; [..., 4] and [..., 4] → [...].

    v = 4/π² (arctan w₂/h₂ − arctan w₁/h₁)², and α = v / (1 − IoU + v), 0 where v is; what the rules add to the
    enclosing area is added to that divisor. α has no gradient, unless weight_moves.
    """
    shape = arctan(_aspect(second)) - arctan(_aspect(first))
    v, iou = within(shape * shape, least=0.0) * (4 / math.pi**2), elementwise_iou(first, second, rules)
    divisor = within(1.0 - iou, least=0.0) + v + rules.giou_epsilon
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = within(v / divisor, 0.0, 1.0)
    # Where boxes coincide, the quotient of what rounding leaves may be any; it weighs next to nothing.
    nothing = stop_gradient(v) * 0.0
    either = hull(nothing, nothing + 1.0) if is_interval(nothing) else nothing
    weight = where(values(divisor) != 0, ratio, either)
    weight = weight if weight_moves else stop_gradient(weight)
    return elementwise_diou(first, second, rules) - weight * v


def _aspect(boxes: SameNumbers) -> SameNumbers:
    """Width / height; [..., 4] → [...]."""
    lengths = sides(boxes[..., :2], boxes[..., 2:])
    with np.errstate(divide="ignore", invalid="ignore"):
        return lengths[..., 0] / lengths[..., 1]


def _squared_length(vectors: SameNumbers) -> SameNumbers:
    return vectors[..., 0] * vectors[..., 0] + vectors[..., 1] * vectors[..., 1]
