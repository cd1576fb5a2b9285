"""The losses of one decoder layer under a given matching. norm §4; Carion et al. 2020, section 3.1; Lin et al. 2017.

The plain formulas take arrays or intervals. `set_losses` puts them together for a case: every term by its neutral name
("classification", "box_l1", "box_giou", "class_error", "cardinality"), each an interval in which a right answer lies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detr_spec import boxes as box_definitions
from detr_spec.configuration import Configuration
from detr_spec.costs import log_softmax, sigmoid
from detr_spec.parameters import held
from detr_spec.tolerance import SPACING, Interval, Numbers, lift, rounded_like
from detr_spec.values import Booleans, Floats, Integers, Matching, Outputs, Target, Targets, part_dtypes, round_to

TRAINING_TERMS = ("classification", "box_l1", "box_giou")
METRICS = ("class_error", "cardinality")


def boxes_counted(targets: Targets, matchings: Sequence[Matching], configuration: Configuration) -> int:
    """The number of targets in a batch, or of matches, as the profile counts."""
    if configuration.profile.denominator == "matches":
        return sum(len(matching.queries) for matching in matchings)
    return sum(len(target) for target in targets)


def num_boxes(targets: Targets, matchings: Sequence[Matching], configuration: Configuration) -> float:
    """What box losses are divided by on one process: the number of targets (or matches), at least 1."""
    return float(max(boxes_counted(targets, matchings, configuration), 1))


def num_boxes_of_ranks(counts: Sequence[int], configuration: Configuration) -> tuple[Interval, ...]:
    """What each rank divides box losses by, [], given what each counts: the mean over the ranks, at least 1.

    Or its own count, at least 1, where the profile says so. The division may be done in the dtype of metrics.
    """
    if configuration.profile.rank_reduction == "local":
        return tuple(lift(float(max(count, 1)), configuration.dtype) for count in counts)
    number, narrow = np.asarray(max(sum(counts) / len(counts), 1.0)), metric_dtype(configuration.dtype)
    slack = 0.0 if round_to(number, narrow) == number else SPACING[narrow] * number
    return (Interval(number, number - slack, number + slack, configuration.dtype),) * len(counts)


def target_classes(shape: tuple[int, int], targets: Targets, matchings: Sequence[Matching], no_object: int) -> Integers:
    """The class that each query is trained towards: its matched target's label, or `no_object`; int64 [B, Q]."""
    classes = np.full(shape, no_object, dtype=np.int64)
    for image, (target, matching) in enumerate(zip(targets, matchings, strict=True)):
        classes[image, matching.queries] = target.labels[matching.targets]
    return classes


def weighted_cross_entropy(logits: Numbers, classes: Integers, class_weights: Numbers) -> Numbers:
    """Σ w[t] · (−log softmax(z)[t]) / Σ w[t] over all B·Q queries; [B, Q, C], [B, Q] and weights [C] → []."""
    log_probability = np.take_along_axis(log_softmax(logits), classes[..., None], axis=-1)[..., 0]
    weights = class_weights[classes]
    with np.errstate(invalid="ignore"):
        return (-log_probability * weights).reshape(-1).sum() / weights.reshape(-1).sum()


def focal_terms(logits: Numbers, positive: Booleans, alpha: Numbers, gamma: Numbers) -> Numbers:
    """α_t (1 − p_t)^γ · −log p_t of each logit, p_t = p where `positive`, else 1 − p; [...] → [...].

    The logarithm is taken from the logit, so it is finite for every finite logit. −log p_t and 1 − p_t are
    written as the differences that they are in the usual implementations, so that the range holds what cancels
    in those: log(1 + exp z) − z, and 1 − exp(−(−log p_t)). Source: Lin et al. 2017, equation 5.
    """
    toward = np.where(positive, logits, -logits)
    softplus = np.maximum(toward, 0.0) + np.log1p(np.exp(-np.abs(toward)))
    surprise = np.maximum(softplus - toward, 0.0)
    away = np.maximum(1.0 - np.exp(-surprise), 0.0)
    return surprise * away**gamma * np.where(positive, alpha, 1.0 - alpha)


def focal_classification(
    logits: Numbers, classes: Integers, normaliser: Numbers, alpha: Numbers, gamma: Numbers
) -> Numbers:
    """Σ focal terms over all B·Q·K logits / num_boxes; a class of K stands for no object; logits [B, Q, K] → []."""
    positive = classes[..., None] == np.arange(logits.shape[-1])
    return focal_terms(logits, positive, alpha, gamma).reshape(-1).sum() / normaliser


def box_l1(predicted: Numbers, targets: Numbers, normaliser: Numbers) -> Numbers:
    """Σ ‖b̂ − b‖₁ over matched pairs / num_boxes; cxcywh [m, 4] and [m, 4] → []."""
    return np.abs(predicted - targets).reshape(-1).sum() / normaliser


def box_giou(predicted: Numbers, targets: Numbers, normaliser: Numbers, configuration: Configuration) -> Numbers:
    """Σ (1 − GIoU) over matched pairs / num_boxes; cxcywh [m, 4] and [m, 4] → []."""
    giou = box_definitions.elementwise_giou(
        box_definitions.cxcywh_to_xyxy(predicted),
        box_definitions.cxcywh_to_xyxy(targets),
        configuration.profile.boxes,
    )
    return (1.0 - rounded_like(giou, predicted)).sum() / normaliser


def metric_dtype(dtype: str) -> str:
    """What a metric may be counted in: float32 where the losses are float64, as DETR does, else the losses' dtype."""
    return "float32" if dtype == "float64" else dtype


def class_error(logits: Floats, labels: Integers, dtype: str) -> Interval:
    """100 − top-1 accuracy (%) of matched queries, all columns compared; 100 when nothing is matched; [m, C] → [].

    Where the label's logit ties with another, either answer is right.
    """
    if len(labels) == 0:
        return lift(100.0, dtype)
    own = logits[np.arange(len(labels)), labels]
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    rival = others.max(axis=-1)
    return _percentage_wrong(own > rival, own >= rival, dtype)


def _percentage_wrong(surely_right: Booleans, maybe_right: Booleans, dtype: str) -> Interval:
    ends = [100.0 - 100.0 * float(right.mean()) for right in (maybe_right, surely_right)]
    spread = lift(100.0, dtype) * lift(1.0, dtype) / 1.0
    slack = float(spread.upper - spread.lower)
    return Interval(np.asarray(ends[1]), np.asarray(ends[0] - slack), np.asarray(ends[1] + slack), dtype)


def _counted(logits: Floats, rule: str, dtype: str) -> tuple[Booleans, Booleans]:
    """Which queries are surely, and which may be, counted as predicted objects; [..., C] → two of [...].

    The sigmoid of 0 is 1/2 in every dtype, and rounding lifts that of no logit below 0 above it.
    """
    if rule == "score-above-half":
        highest = logits.max(axis=-1)
        return sigmoid(lift(highest, dtype)).lower > 0.5, highest > 0
    last = logits[..., -1]
    others = logits[..., :-1].max(axis=-1, initial=-np.inf)
    return others > last, others >= last


def cardinality_error(logits: Floats, targets: Targets, configuration: Configuration) -> Interval:
    """The mean over images of |#counted queries − n_b|, counted as the profile says; logits [B, Q, C] → []."""
    surely, maybe = _counted(logits, configuration.profile.cardinality, configuration.dtype)
    lengths = np.array([len(target) for target in targets])
    least, most = surely.sum(axis=-1), maybe.sum(axis=-1)
    largest = np.maximum(np.abs(least - lengths), np.abs(most - lengths))
    smallest = np.maximum(np.maximum(least - lengths, lengths - most), 0)
    dtype = metric_dtype(configuration.dtype)
    ends = [lift(part.astype(float), dtype).sum() / float(len(targets)) for part in (smallest, largest)]
    return Interval(ends[1].value, ends[0].lower, ends[1].upper, dtype)


def matched_rows(arrays: Floats, matchings: Sequence[Matching]) -> Floats:
    """The matched queries' rows of [B, Q, ...], image after image; [m, ...]."""
    return np.concatenate([arrays[image, matching.queries] for image, matching in enumerate(matchings)])


def matched_targets(targets: Targets, matchings: Sequence[Matching]) -> Target:
    """The matched targets of all images in the order of `matched_rows`."""
    pairs = list(zip(targets, matchings, strict=True))
    return Target(
        np.concatenate([target.labels[matching.targets] for target, matching in pairs]),
        np.concatenate([target.boxes[matching.targets] for target, matching in pairs]),
        broken=any(target.broken for target in targets),
    )


def set_losses(
    configuration: Configuration,
    layer: Outputs,
    targets: Targets,
    matchings: Sequence[Matching],
    normaliser: Interval | None = None,
) -> dict[str, Interval]:
    """All losses and metrics of one decoder layer under a matching of each image, by neutral name.

    normaliser: what box losses are divided by, [], where that is not `num_boxes`.
    """
    dtype, parameters = configuration.dtype, held(configuration)
    parts = part_dtypes(dtype)
    normaliser = lift(num_boxes(targets, matchings, configuration), dtype) if normaliser is None else normaliser
    matched = matched_targets(targets, matchings)
    predicted, truth = lift(matched_rows(layer.boxes, matchings), parts.boxes), lift(matched.boxes, parts.targets)
    classes = target_classes(layer.logits.shape[:2], targets, matchings, configuration.num_classes)
    return {
        "classification": classification(parameters, lift(layer.logits, parts.logits), classes, normaliser),
        "box_l1": box_l1(predicted, truth, normaliser),
        "box_giou": box_giou(predicted, truth, normaliser, parameters),
        "class_error": class_error(matched_rows(layer.logits, matchings), matched.labels, metric_dtype(dtype)),
        "cardinality": cardinality_error(layer.logits, targets, configuration),
    }


def classification_has_value(configuration: Configuration, targets: Targets) -> bool:
    """Whether the classification loss of a batch has a value: a mean of weights that are all 0 has none."""
    weighted = configuration.profile.class_loss == "cross-entropy"
    return not weighted or configuration.eos_coef > 0 or any(map(len, targets))


def classification(configuration: Configuration, logits: Numbers, classes: Integers, normaliser: Numbers) -> Numbers:
    """The profile's classification loss; logits [B, Q, C], classes [B, Q] with K for no object → []."""
    if configuration.profile.class_loss == "focal":
        return focal_classification(logits, classes, normaliser, configuration.focal_alpha, configuration.focal_gamma)
    return weighted_cross_entropy(logits, classes, class_weights(configuration))


def class_weights(configuration: Configuration) -> Numbers:
    """The weights of the cross-entropy: 1 for each class, and `eos_coef` for no object, the last; [C]."""
    classes: Numbers = np.ones(configuration.num_classes)
    return np.concatenate([classes, np.reshape(configuration.eos_coef, 1)])
