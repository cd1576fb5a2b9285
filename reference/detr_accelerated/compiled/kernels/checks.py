"""The looks at a batch's values, of `packing` and `matcher`, compiled by numba: one pass over what there is to see."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, Any]


@njit(nogil=True, cache=True)
def all_sound(highest: Array, labels: Array, num_labels: int, boxes: Array, target_boxes: Array) -> Any:
    """Return whether all values are such as set prediction is defined for.

    highest: [P, Q], the highest logit of each query, NaN if any is. labels: int64 [B, T]. boxes: [P, Q, 4].
    target_boxes: [B, T, 4].
    """
    sound = _all_proper(boxes) and _all_proper(target_boxes)
    for problem in range(len(highest)):
        for query in range(highest.shape[1]):
            sound &= highest[problem, query] < np.inf
    for image in range(len(labels)):
        for target in range(labels.shape[1]):
            sound &= 0 <= labels[image, target] < num_labels
    return sound


@njit(nogil=True, cache=True)
def _all_proper(boxes: Array) -> Any:
    """Return whether all boxes [n, m, 4] are finite, with sides of 0 or more."""
    proper = True
    for first in range(len(boxes)):
        for second in range(boxes.shape[1]):
            box = boxes[first, second]
            # Comparisons with NaN are false.
            proper &= -np.inf < box[0] < np.inf
            proper &= -np.inf < box[1] < np.inf
            proper &= 0 <= box[2] < np.inf
            proper &= 0 <= box[3] < np.inf
    return proper


@njit(nogil=True, cache=True)
def all_finite(costs: Array) -> Any:
    """Return whether all costs [P, T, Q] are finite."""
    # A number is finite if it is 0 when taken from itself; integers of 32 bits are what is compiled to vectors.
    broken = np.int32(0)
    numbers = costs.ravel()
    for i in range(len(numbers)):
        broken |= np.int32(numbers[i] - numbers[i] != 0)
    return broken == 0
