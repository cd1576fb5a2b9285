"""The costs of `box_costs` and `class_costs`, compiled by numba: one pass each, without memory for what is between."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from .class_losses import column_of_label
from .functions import write_logarithms
from .sigmoid import write_powers, write_sigmoids

Array: TypeAlias = np.ndarray[Any, Any]


# With NumPy's rules a division by zero is infinite or NaN; Python's would also keep the loop from being vectorised.
@njit(nogil=True, cache=True, error_model="numpy")
def write_box_costs(boxes: Array, target_boxes: Array, cost: Array, cost_bbox: Any, cost_giou: Any) -> None:
    """Write the box costs [P, T, Q] of boxes [P, Q, 4] and target_boxes [B, T, 4]; everything is of one dtype."""
    num_problems, num_targets, num_queries = cost.shape
    half, zero = boxes.dtype.type(0.5), boxes.dtype.type(0)
    num_images = len(target_boxes)
    x, y, width, height, x0, y0, x1, y1, area = np.empty((9, num_queries), boxes.dtype)
    for problem in range(num_problems):
        # With the coordinates apart, a row of queries is one of numbers side by side.
        for query in range(num_queries):
            x[query], y[query] = boxes[problem, query, 0], boxes[problem, query, 1]
            width[query], height[query] = boxes[problem, query, 2], boxes[problem, query, 3]
        for query in range(num_queries):
            x0[query], x1[query] = x[query] - half * width[query], x[query] + half * width[query]
            y0[query], y1[query] = y[query] - half * height[query], y[query] + half * height[query]
            area[query] = (x1[query] - x0[query]) * (y1[query] - y0[query])
        for target in range(num_targets):
            target_x, target_y, target_width, target_height = target_boxes[problem % num_images, target]
            target_x0, target_x1 = target_x - half * target_width, target_x + half * target_width
            target_y0, target_y1 = target_y - half * target_height, target_y + half * target_height
            target_area = (target_x1 - target_x0) * (target_y1 - target_y0)
            row = cost[problem, target]
            for query in range(num_queries):
                l1 = abs(x[query] - target_x) + abs(y[query] - target_y)
                l1 = l1 + abs(width[query] - target_width) + abs(height[query] - target_height)
                overlap_width = max(min(x1[query], target_x1) - max(x0[query], target_x0), zero)
                overlap_height = max(min(y1[query], target_y1) - max(y0[query], target_y0), zero)
                intersection = overlap_width * overlap_height
                union = area[query] + target_area - intersection
                enclosing_width = max(x1[query], target_x1) - min(x0[query], target_x0)
                enclosing_height = max(y1[query], target_y1) - min(y0[query], target_y0)
                enclosure = enclosing_width * enclosing_height
                giou = intersection / union - (enclosure - union) / enclosure
                row[query] = cost_bbox * l1 - cost_giou * giou


@njit(nogil=True, cache=True, error_model="numpy")
def subtract_probabilities(
    exponentials: Array, exponential_sum: Array, cost: Array, labels: Array, cost_class: Any
) -> None:
    """Take cost_class times the probability of each target's label from the costs [P, T, Q].

    exponentials: [P, Q, C], and their sums [P, Q]. labels: int64 [B, T].
    """
    num_problems, num_targets, num_queries = cost.shape
    weight = np.empty(num_queries, cost.dtype)
    for problem in range(num_problems):
        for query in range(num_queries):
            weight[query] = cost_class / exponential_sum[problem, query]
        for target in range(num_targets):
            label = column_of_label(labels[problem % len(labels), target], exponentials)
            for query in range(num_queries):
                cost[problem, target, query] -= weight[query] * exponentials[problem, query, label]


@njit(nogil=True, cache=True, error_model="numpy")
def add_focal_costs(
    logits: Array, cost: Array, labels: Array, cost_class: float, alpha: float, gamma: float, epsilon: float
) -> None:
    """Add cost_class times the focal cost of each target's label to a layer's costs [B, T, Q].

    logits: [B, Q, C]. labels: int64 [B, T]. gamma ≥ 0, and epsilon is a normal number > 0.
    """
    real = cost.dtype.type
    num_images, num_targets, num_queries = cost.shape
    of_label = np.empty(num_queries, cost.dtype)
    yes, no = np.empty(num_queries, cost.dtype), np.empty(num_queries, cost.dtype)
    surprise_of_yes, surprise_of_no = np.empty(num_queries, cost.dtype), np.empty(num_queries, cost.dtype)
    power_of_yes, power_of_no = np.empty(num_queries, cost.dtype), np.empty(num_queries, cost.dtype)
    memory, more_memory = np.empty(num_queries, cost.dtype), np.empty(num_queries, cost.dtype)
    for image in range(num_images):
        for target in range(num_targets):
            label = column_of_label(labels[image, target], logits)
            for query in range(num_queries):
                of_label[query] = logits[image, query, label]
            write_sigmoids(of_label, yes, no, surprise_of_yes, surprise_of_no, memory)
            write_powers(yes, surprise_of_yes, real(gamma), memory, more_memory, power_of_yes)
            write_powers(no, surprise_of_no, real(gamma), memory, more_memory, power_of_no)
            for probability in (yes, no):
                _write_sum(probability, real(epsilon), memory)
                write_logarithms(memory, more_memory, probability)
            log_yes, log_no = yes, no
            for query in range(num_queries):
                of_yes = real(alpha) * power_of_no[query] * -log_yes[query]
                of_no = real(1 - alpha) * power_of_yes[query] * -log_no[query]
                cost[image, target, query] += real(cost_class) * (of_yes - of_no)


@njit(nogil=True, cache=True)
def _write_sum(numbers: Array, summand: Any, written: Array) -> None:
    for i in range(len(numbers)):
        written[i] = numbers[i] + summand
