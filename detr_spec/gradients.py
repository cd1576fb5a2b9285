"""The gradient of each training term under a given matching, in closed form, with the range of a right evaluation.

Each range is wide enough for the usual ways in which automatic differentiation evaluates the gradient in a dtype:
every path from the loss to a prediction is a term of its own, summed in any order, and differences that cancel in
the usual implementations cancel here. norm §4; Lin et al. 2017, equation 5; Rezatofighi et al. 2019, algorithm 1.

What is true of a gradient is said by the differences of the definitions (`detr_spec.differences`). The ranges say by
how much rounding may move it; their middle is a second write-up, which our tests hold against the differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detr_spec import boxes as box_definitions
from detr_spec.configuration import Configuration
from detr_spec.costs import sigmoid, softmax
from detr_spec.losses import TRAINING_TERMS, class_weights, matched_rows, matched_targets, num_boxes, target_classes
from detr_spec.parameters import held, parameter
from detr_spec.profile import BoxRules
from detr_spec.tolerance import Interval, Numbers, hull, lift, rounded_like
from detr_spec.values import Booleans, Floats, Integers, Matching, Outputs, Targets, part_dtypes


def cross_entropy_gradient(logits: Numbers, classes: Integers, class_weights: Numbers) -> Numbers:
    """w[t] (softmax(z) − 1[c = t]) / Σ w[t] of each logit; logits [B, Q, C], classes [B, Q] → [B, Q, C]."""
    probability = softmax(logits)
    hit = (classes[..., None] == np.arange(logits.shape[-1])).astype(np.float64)
    weights = (class_weights if isinstance(class_weights, Interval) else lift(class_weights, logits.dtype))[classes]
    share = (weights / weights.reshape(-1).sum())[..., None]
    return hull((probability - hit) * share, probability * share - share * hit)


def focal_gradient(logits: Numbers, positive: Booleans, alpha: Numbers, gamma: Numbers) -> Numbers:
    """∓α_t (1 − p_t)^γ ((1 − p_t) + γ p_t (−log p_t)) of each logit, − where `positive`, else +; [...] → [...].

    The probabilities may come from the sigmoid, from its complement, or from the cross-entropy.
    """
    upwards: Numbers = sigmoid(logits)
    downwards: Numbers = hull(np.maximum(1.0 - upwards, 0.0), sigmoid(-logits))
    upwards = hull(upwards, np.maximum(1.0 - downwards, 0.0))
    rising: Numbers = np.where(positive, upwards, downwards)
    falling: Numbers = np.where(positive, downwards, upwards)
    toward: Numbers = np.where(positive, logits, -logits)
    rest = np.log1p(np.exp(-np.abs(toward)))
    surprise = hull(
        np.maximum(-toward, 0.0) + rest,
        np.maximum(np.maximum(toward, 0.0) + rest - toward, 0.0),
    )
    right = hull(rising, np.exp(-surprise))
    wrong = hull(falling, np.maximum(1.0 - np.exp(-surprise), 0.0))
    slope: Numbers = wrong**gamma * wrong + wrong ** (gamma - 1.0) * surprise * (right * wrong) * gamma
    return slope * np.where(positive, -alpha, 1.0 - alpha)


def l1_gradient(predicted: Floats, targets: Floats, dtype: str) -> Numbers:
    """sign(b̂ − b) of each coordinate, which nothing rounds; cxcywh [m, 4] and [m, 4] → [m, 4]."""
    return lift(np.sign(predicted - targets), dtype)


def giou_gradient(predicted: Numbers, targets: Numbers, rules: BoxRules) -> Numbers:
    """The gradient of 1 − GIoU with respect to b̂, away from kinks; cxcywh [m, 4] and [m, 4] → [m, 4].

    With areas I, U = A + A_b − I and E, the derivatives of GIoU = I/U − (E − U)/E are 1/U + I/U² − 1/E in I,
    −I/U² + 1/E in A, and −1/E + (E − U)/E² in E.
    """
    first, second = box_definitions.cxcywh_to_xyxy(predicted), box_definitions.cxcywh_to_xyxy(targets)
    areas = *box_definitions.intersection_and_union(first, second), box_definitions.enclosing_area(first, second)
    intersection, union, enclosing = (rounded_like(part, predicted) for part in areas)
    with np.errstate(all="ignore"):
        # Wider by a rounding, as right implementations chain their derivatives in other orders than this one.
        divisors = (
            box_definitions.union_divisor(union + 0.0, rules),
            box_definitions.enclosing_divisor(enclosing + 0.0, rules),
        )
        # A parameter may be held in a finer dtype; the gradient is rounded to that of the boxes all the same.
        union_divisor, enclosing_divisor = (rounded_like(divisor, predicted) for divisor in divisors)
        per_union, per_enclosing = 1.0 / union_divisor, 1.0 / enclosing_divisor
        shared = _by_divisor(intersection * per_union * per_union, union_divisor, rules)
        apart = _by_divisor((enclosing - union) * per_enclosing * per_enclosing, enclosing_divisor, rules)
    by_intersection, by_area, by_enclosing = _corner_derivatives(first, second)
    paths = [
        _paths([per_union, shared, -per_enclosing], by_intersection),
        _paths([-shared, per_enclosing], by_area),
        _paths([-per_enclosing, apart], by_enclosing),
    ]
    low, high = (np.concatenate([path[..., side] for path in paths], axis=1) for side in (slice(0, 2), slice(2, 4)))
    centre = np.concatenate([low, high], axis=1).sum(axis=1)
    size = np.concatenate([high * 0.5, low * -0.5], axis=1).sum(axis=1)
    gradient: Numbers = -np.concatenate([centre, size], axis=-1)
    return gradient


def _paths(factors: Sequence[Numbers], corners: Numbers) -> Numbers:
    """Each factor [m] times the derivatives by corners [m, 4]; [m, paths, 4]."""
    product: Numbers = np.stack(factors, axis=1)[..., None] * corners[:, None, :]
    return product


def _corner_derivatives(first: Numbers, second: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The derivatives of I, A and E by the first boxes' corners (x0, y0, x1, y1); [m, 4] each."""
    inner = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    outer = np.maximum(first[:, 2:], second[:, 2:]) - np.minimum(first[:, :2], second[:, :2])
    own = first[:, 2:] - first[:, :2]
    meets = np.tile(inner.value > 0, 2)
    inside = np.concatenate(
        [first.value[:, :2] > second.value[:, :2], first.value[:, 2:] < second.value[:, 2:]], axis=-1
    )

    def by_corner(sides: Numbers, acts: Booleans) -> Numbers:
        """By a far corner, a rectangle grows with the other side's length; by a near one, it shrinks."""
        across = sides[:, ::-1]
        signs = np.where(acts, np.array([-1.0, -1.0, 1.0, 1.0]), 0.0)
        grown: Numbers = np.concatenate([across, across], axis=-1) * signs
        return grown

    everywhere = np.ones_like(inside)
    return by_corner(np.maximum(inner, 0.0), inside & meets), by_corner(own, everywhere), by_corner(outer, ~inside)


def _by_divisor(derivative: Numbers, divisor: Numbers, rules: BoxRules) -> Numbers:
    """What a term has by way of its divisor, which is nothing where that is the least one, whatever the area; [m]."""
    if rules.least_divisor is None:
        return derivative
    return np.where((divisor - rules.least_divisor).value > 0, derivative, 0.0)


def kink_distance(predicted: Numbers, targets: Numbers, rules: BoxRules) -> Numbers:
    """How far each pair is from where its box terms have no derivative; cxcywh [m, 4] and [m, 4] → [m, 10 or 12].

    These are the places where a coordinate or a corner of both boxes coincides, where they begin to overlap along an
    axis, and where a divisor becomes the least one.
    """
    first, second = box_definitions.cxcywh_to_xyxy(predicted), box_definitions.cxcywh_to_xyxy(targets)
    overlap = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    distances: Numbers = np.concatenate([np.abs(predicted - targets), np.abs(first - second), np.abs(overlap)], axis=-1)
    if rules.least_divisor is None:
        return distances
    _, union = box_definitions.intersection_and_union(first, second)
    enclosing = box_definitions.enclosing_area(first, second)
    divisors = np.stack([union + rules.iou_epsilon, enclosing + rules.giou_epsilon], axis=-1)
    # Half, as an area of the unit square changes by at most 6 times what its corners are moved, a distance by 3 times.
    of_divisors: Numbers = np.abs(divisors - rules.least_divisor) * 0.5
    return np.concatenate([distances, of_divisors], axis=-1)


@dataclass(frozen=True, eq=False)
class GradientRange:
    """Where a right gradient of one decoder layer lies: logits [B, Q, C] and boxes [B, Q, 4].

    smooth [B, Q] says of which queries' boxes that is known: matched ones away from every kink, by more than the
    dtype rounds, and all that are not matched.
    """

    logits: Interval
    boxes: Interval
    smooth: Booleans


def gradient_range(
    configuration: Configuration,
    layer: Outputs,
    targets: Targets,
    matchings: Sequence[Matching],
    weights: Mapping[str, float],
) -> GradientRange:
    """The gradient of Σ weight · term of one decoder layer under a matching of each image.

    weights: by the neutral names of `losses.TRAINING_TERMS`; a term that is left out has none.
    """
    dtypes, parameters = part_dtypes(configuration.dtype), held(configuration)
    # A gradient is rounded to the dtype of what it belongs to, on every path to it.
    dtype = dtypes.boxes
    of_class, of_l1, of_giou = (
        parameter(weights.get(name, 0.0), own)
        for name, own in zip(TRAINING_TERMS, (dtypes.logits, dtype, dtype), strict=True)
    )
    normaliser = num_boxes(targets, matchings, configuration)
    rows = lift(matched_rows(layer.boxes, matchings), dtype)
    truth = lift(matched_targets(targets, matchings).boxes, dtype)
    smooth = np.ones(layer.logits.shape[:2], dtype=np.bool_)
    rules = parameters.profile.boxes
    if len(rows):
        smooth[matched_places(matchings)] = kink_distance(rows, truth, rules).lower.min(axis=-1) > 0
    classes = target_classes(layer.logits.shape[:2], targets, matchings, configuration.num_classes)
    logits = _classification_gradient(parameters, lift(layer.logits, dtypes.logits), classes, normaliser)
    boxes: Numbers = (
        l1_gradient(rows.value, truth.value, dtype) * of_l1 + giou_gradient(rows, truth, rules) * of_giou
    ) / normaliser
    return GradientRange(logits * of_class, _scattered(boxes, layer.boxes.shape, matchings), smooth)


def matched_places(matchings: Sequence[Matching]) -> tuple[Integers, Integers]:
    """The image and query indices of all matched pairs, in the order of `losses.matched_rows`; [m] twice."""
    images = [np.full(len(matching.queries), image, dtype=np.int64) for image, matching in enumerate(matchings)]
    queries = [np.asarray(matching.queries, dtype=np.int64) for matching in matchings]
    return np.concatenate(images), np.concatenate(queries)


def _classification_gradient(
    configuration: Configuration, logits: Numbers, classes: Integers, normaliser: float
) -> Numbers:
    if configuration.profile.class_loss == "focal":
        positive = classes[..., None] == np.arange(logits.shape[-1])
        return focal_gradient(logits, positive, configuration.focal_alpha, configuration.focal_gamma) / normaliser
    return cross_entropy_gradient(logits, classes, class_weights(configuration))


def _scattered(rows: Interval, shape: tuple[int, ...], matchings: Sequence[Matching]) -> Interval:
    """The matched rows [m, 4] in their places of [B, Q, 4], and exact zeros elsewhere."""

    def placed(part: Floats) -> Floats:
        whole = np.zeros(shape)
        whole[matched_places(matchings)] = part
        return whole

    return Interval(placed(rows.value), placed(rows.lower), placed(rows.upper), rows.dtype)
