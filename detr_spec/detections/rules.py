"""Which detections follow from outputs, as ranges of scores and boxes. norm §5; Zhu et al. 2021 for top-k."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detr_spec.activations import sigmoid, softmax
from detr_spec.boxes import cxcywh_to_xyxy
from detr_spec.configuration import Configuration
from detr_spec.detections.geometry import boxes_in_pixels, in_pixels, per_corner
from detr_spec.parameters import parameter
from detr_spec.tolerance import Interval, SameNumbers, hull, lift, maximum, minimum, phrase_means
from detr_spec.values import Booleans, Detections, Floats, Integers, part_dtypes


@dataclass(frozen=True, eq=False)
class Candidates:
    """All (query, class) pairs of one image that can be detections.

    scores [Q, K], K the classes or the phrases of the image, and boxes [Q, 4] in xyxy pixels, each with the range of
    the case's dtype. no_object: what a query's best score is to reach for it to give a detection, [Q]; None where each
    does. one_each: whether a query gives one detection at most, of its best class.
    """

    scores: Interval
    boxes: Interval
    no_object: Interval | None = None
    one_each: bool = False

    @property
    def best(self) -> Interval:
        """The highest score of each query; [Q]."""
        return self.scores.max(axis=-1)

    @property
    def ranked(self) -> Interval:
        """All scores from the highest to the lowest, [Q·K]; where a query gives one detection, those of the best, [Q].

        Whatever scores in the ranges an implementation has, its i-th highest lies between the i-th highest of
        the lower and of the upper ends.
        """
        scores = self.best if self.one_each else self.scores
        value, lower, upper = (-np.sort(-part.ravel()) for part in (scores.value, scores.lower, scores.upper))
        return Interval(value, lower, upper, scores.dtype)


def no_object_score(logits: Interval, configuration: Configuration) -> Interval | None:
    """The score of no object, [..., C] → [...], where a query that has no higher one gives no detection."""
    return softmax(logits)[..., -1] if configuration.profile.detection.drops_no_object else None


def scaled_boxes(boxes: Floats, size: Integers, configuration: Configuration) -> Floats:
    """Relative cxcywh → xyxy in pixels of an image of (height, width); [..., 4] → [..., 4]."""
    return in_image(cxcywh_to_xyxy(boxes), size, configuration)


def in_image(corners: SameNumbers, size: Integers, configuration: Configuration) -> SameNumbers:
    """Corners relative to the model's input as pixels of an image of (height, width), held inside it if declared."""
    return _clamped(in_pixels(corners, size, configuration.profile.detection), size, configuration)


def candidates(
    logits: Floats, boxes: Floats, size: Integers, configuration: Configuration, phrases: Booleans | None = None
) -> Candidates:
    """The detections that one image's outputs allow; logits [Q, C], boxes [Q, 4], size (height, width).

    phrases: the logit columns of each phrase, [K, C], where labels name phrases. The ranges hold the usual orders of
    evaluation: a sigmoid from its complement, and boxes scaled before their corners are taken.
    """
    dtypes = part_dtypes(configuration.dtype)
    given = lift(logits, dtypes.logits)
    return Candidates(
        _score_range(given, configuration, phrases),
        _box_range(lift(boxes, dtypes.boxes), size, configuration),
        no_object_score(given, configuration),
        configuration.profile.detection.rule != "top-k",
    )


def _score_range(logits: Interval, configuration: Configuration, phrases: Booleans | None) -> Interval:
    """The score of each class: its softmax, or its sigmoid; the mean of those of its tokens, where it has several."""
    if configuration.profile.activation == "softmax":
        return softmax(logits)[..., :-1]
    return _sigmoid_range(logits) if phrases is None else phrase_means(logits, phrases, _sigmoid_range)


def _sigmoid_range(logits: Interval) -> Interval:
    return hull(sigmoid(logits), 1.0 - sigmoid(-logits))


def _box_range(boxes: Interval, size: Integers, configuration: Configuration) -> Interval:
    rules = configuration.profile.detection
    inside = _clamped(cxcywh_to_xyxy(boxes), np.ones(2, dtype=np.int64), configuration)
    after = boxes_in_pixels(boxes, size, rules)
    return hull(in_image(inside, size, configuration), _clamped(after, size, configuration))


def _clamped(corners: SameNumbers, size: Integers, configuration: Configuration) -> SameNumbers:
    """Corners in xyxy, held inside an image of (height, width) if the profile says so."""
    if not configuration.profile.detection.clamp:
        return corners
    return minimum(maximum(corners, 0.0), per_corner(size))


def expected_count(scores: tuple[int, ...], configuration: Configuration) -> int:
    """How many detections an image of scores of shape (Q, K) has before any threshold: Q, or min(k, Q·K or Q)."""
    rules, (queries, classes) = configuration.profile.detection, scores
    if rules.takes_k:
        return min(configuration.top_k, queries * classes if rules.rule == "top-k" else queries)
    return queries


def count_range(found: Candidates, configuration: Configuration) -> tuple[int, int]:
    """The least and the greatest number of detections of an image.

    They differ where a score may lie on either side of the threshold, or of the score of no object.
    """
    limit = expected_count(found.scores.shape, configuration)
    if configuration.profile.detection.is_ranked:
        kept = above_threshold(found.ranked, configuration)
    else:
        kept = kept_range(found, configuration)
    surely, maybe = (int(each.sum()) for each in kept)
    return min(surely, limit), min(maybe, limit)


def kept_range(found: Candidates, configuration: Configuration) -> tuple[Booleans, Booleans]:
    """Which queries surely give a detection each, and which may; [Q] twice."""
    surely, maybe = above_threshold(found.best, configuration)
    if found.no_object is None:
        return surely, maybe
    return surely & (found.best.lower > found.no_object.upper), maybe & (found.best.upper >= found.no_object.lower)


def above_threshold(scores: Interval, configuration: Configuration) -> tuple[Booleans, Booleans]:
    """Which scores surely exceed the threshold, and which may; all where there is none; [...] → [...] twice."""
    if not configuration.profile.detection.threshold:
        every = np.ones(scores.shape, dtype=np.bool_)
        return every, every
    threshold = parameter(configuration.threshold, configuration.dtype)
    return scores.lower > threshold.upper, scores.upper > threshold.lower


def detections(
    logits: Floats, boxes: Floats, size: Integers, configuration: Configuration, phrases: Booleans | None = None
) -> Detections:
    """One image's detections in float64 by the profile's rule, before any threshold: what an evaluator is given.

    logits [Q, C], boxes [Q, 4], size (height, width), phrases as in `candidates`. Where scores tie, the first
    candidate comes first.
    """
    found = candidates(logits, boxes, size, configuration, phrases)
    scores = found.scores.value
    if configuration.profile.detection.rule == "top-k":
        best = np.argsort(-scores, axis=None, kind="stable")[: expected_count(scores.shape, configuration)]
        queries, labels = np.unravel_index(best, scores.shape)
    else:
        highest, no_object = scores.max(axis=-1), found.no_object
        queries = np.arange(len(scores)) if no_object is None else np.flatnonzero(highest >= no_object.value)
        if configuration.profile.detection.is_ranked:
            queries = np.argsort(-highest, kind="stable")[: expected_count(scores.shape, configuration)]
        labels = scores.argmax(axis=-1)[queries]
    return Detections(scores[queries, labels], labels, found.boxes.value[queries])
