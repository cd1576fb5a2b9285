"""What detections follow from outputs, as ranges of scores and boxes. norm §5; Zhu et al. 2021 for the top-k rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detr_spec.boxes import cxcywh_to_xyxy
from detr_spec.configuration import Configuration
from detr_spec.costs import sigmoid, softmax
from detr_spec.tolerance import Interval, lift
from detr_spec.values import Floats


@dataclass(frozen=True, eq=False)
class Candidates:
    """All (query, class) pairs of one image that can be detections.

    scores [Q, K] and boxes [Q, 4] in xyxy pixels, each with the range of the case's dtype.
    """

    scores: Interval
    boxes: Interval


def class_scores(logits: Interval, configuration: Configuration) -> Interval:
    """The score of each foreground class: softmax without its last column, or sigmoid; [..., C] → [..., K]."""
    if configuration.profile.activation == "softmax":
        return softmax(logits)[..., :-1]
    return sigmoid(logits)


def scaled_boxes(boxes: Interval, size: Floats, configuration: Configuration) -> Interval:
    """Boxes in cxcywh relative to the image → xyxy × (W, H, W, H) in pixels; size = (height, width); [Q, 4]."""
    height, width = size
    corners = cxcywh_to_xyxy(boxes)
    if configuration.profile.detection.clamp:
        corners = np.minimum(np.maximum(corners, 0.0), 1.0)
    return corners * np.array([width, height, width, height])


def candidates(logits: Floats, boxes: Floats, size: Floats, configuration: Configuration) -> Candidates:
    """The detections that one image's outputs allow; logits [Q, C], boxes [Q, 4], size (height, width)."""
    dtype = configuration.dtype
    return Candidates(
        class_scores(lift(logits, dtype), configuration), scaled_boxes(lift(boxes, dtype), size, configuration)
    )


def expected_count(queries: int, configuration: Configuration) -> int:
    """How many detections an image has before any threshold: Q, or min(k, Q·K)."""
    if configuration.profile.detection.rule == "top-k":
        return min(configuration.top_k, queries * configuration.num_classes)
    return queries
