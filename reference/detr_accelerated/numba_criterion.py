"""The losses of one decoder layer in the softmax dialect, and their gradients, compiled by numba.

`criterion.py` and `class_losses.py` are the same in torch, and the place to read first; `criterion.cu` is the same on
CUDA. Here a loop goes over the queries and takes each matched pair on its way, so that nothing between is kept. Sums of
many terms, and what is computed of a pair, are in float64.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, Any]

CLASS_LOSS, CLASS_WEIGHT, L1_LOSS, GIOU_LOSS, COUNT_ERROR, MATCHED, CORRECT = range(7)
SUMS = 7


@njit(nogil=True, cache=True, error_model="numpy")
def write_losses(
    logits: Array,
    boxes: Array,
    labels: Array,
    target_boxes: Array,
    sizes: Array,
    query_of: Array,
    exponential_sum: Array,
    highest_but_last: Array,
    last_logit: Array,
    eos_coef: float,
    sums: Array,
) -> None:
    """Add up the terms of a layer's losses, float64 [SUMS], in the order of the names above.

    logits: [B, Q, C]. boxes: [B, Q, 4] as cxcywh. labels: int64 [B, T]. target_boxes: [B, T, 4]. sizes: int64 [B], n of
    each image. query_of: int64 [B, T], the query of each target, or -1. The next three: [B, Q], as in `Softmax`.
    """
    images, num_queries, num_columns = logits.shape
    for image in range(images):
        target_of = _target_of(query_of[image], sizes[image], num_queries)
        detected = 0
        for query in range(num_queries):
            row = logits[image, query]
            last = last_logit[image, query]
            but_last = highest_but_last[image, query]
            detected += but_last >= last
            target = target_of[query]
            yes = num_columns - 1 if target < 0 else _column(labels[image, target], num_columns)
            weight = eos_coef if target < 0 else 1.0
            # Most queries are without a target, and need not be read again for the one logit that is known.
            logit = last if target < 0 else row[yes]
            surprise = np.log(exponential_sum[image, query]) - (logit - max(but_last, last))
            sums[CLASS_LOSS] += weight * surprise
            sums[CLASS_WEIGHT] += weight
            if target >= 0:
                x, y, width, height = _differences(boxes[image, query], target_boxes[image, target])
                sums[L1_LOSS] += abs(x) + abs(y) + abs(width) + abs(height)
                sums[GIOU_LOSS] += 1 - _generalized_iou(boxes[image, query], target_boxes[image, target])
                sums[MATCHED] += 1
                sums[CORRECT] += _is_first_highest(row, yes)
        sums[COUNT_ERROR] += abs(detected - sizes[image])


@njit(nogil=True, cache=True, error_model="numpy")
def write_logit_gradients(
    exponentials: Array,
    exponential_sum: Array,
    labels: Array,
    sizes: Array,
    query_of: Array,
    eos_coef: float,
    class_share: float,
) -> None:
    """Write class_share times the gradient of a layer's weighted sum of surprises over its exponentials [B, Q, C].

    That of a query is (softmax(z) - one_hot(class)) times its weight. The other arrays are as in `write_losses`.
    """
    real = exponentials.dtype.type
    images, num_queries, num_columns = exponentials.shape
    for image in range(images):
        target_of = _target_of(query_of[image], sizes[image], num_queries)
        for query in range(num_queries):
            row = exponentials[image, query]
            target = target_of[query]
            share = class_share * (eos_coef if target < 0 else 1.0)
            scale = real(share / exponential_sum[image, query])
            for column in range(num_columns):
                row[column] *= scale
            yes = num_columns - 1 if target < 0 else _column(labels[image, target], num_columns)
            row[yes] -= real(share)


@njit(nogil=True, cache=True, error_model="numpy")
def write_box_gradients(
    boxes: Array,
    target_boxes: Array,
    sizes: Array,
    query_of: Array,
    l1_share: float,
    giou_share: float,
    touching: float,
    gradient: Array,
) -> None:
    """Write l1_share times the gradient of a layer's L1 distances plus giou_share times that of 1 - GIoU, [B, Q, 4].

    touching: what is passed on of the gradient of an overlap whose side is 0. The arrays are as in `write_losses`.
    """
    gradient[:] = 0
    for image in range(len(boxes)):
        for target in range(sizes[image]):
            query = query_of[image, target]
            if query < 0:
                continue
            box, other = boxes[image, query], target_boxes[image, target]
            x0, y0, x1, y1 = _giou_slopes(box, other, touching)
            of_giou = x0 + x1, y0 + y1, (x1 - x0) / 2, (y1 - y0) / 2
            of_l1 = _differences(box, other)
            for k in range(4):
                gradient[image, query, k] = l1_share * np.sign(of_l1[k]) - giou_share * of_giou[k]


@njit(nogil=True, cache=True)
def _target_of(query_of: Array, size: int, num_queries: int) -> Array:
    """Return the target of each query, or -1."""
    target_of = np.full(num_queries, -1)
    for target in range(size):
        if query_of[target] >= 0:
            target_of[query_of[target]] = target
    return target_of


@njit(nogil=True, cache=True)
def _column(label: int, num_columns: int) -> Any:
    """Return the column of a label; one beyond all columns is read, if nobody refused it, as the nearest."""
    return max(0, min(label, num_columns - 1))


@njit(nogil=True, cache=True)
def _is_first_highest(row: Array, column: int) -> bool:
    for other in range(len(row)):
        if row[other] > row[column] or (row[other] == row[column] and other < column):
            return False
    return True


@njit(nogil=True, cache=True)
def _differences(box: Array, target: Array) -> Any:
    return (
        np.float64(box[0]) - target[0],
        np.float64(box[1]) - target[1],
        np.float64(box[2]) - target[2],
        np.float64(box[3]) - target[3],
    )


@njit(nogil=True, cache=True)
def _corners(box: Array) -> Any:
    x, y, width, height = np.float64(box[0]), np.float64(box[1]), box[2] / 2, box[3] / 2
    return x - width, y - height, x + width, y + height


@njit(nogil=True, cache=True, error_model="numpy")
def _overlap(box: Any, target: Any) -> Any:
    """Return the sides of the overlap, negative where there is none, of the enclosing box, and the union's area."""
    x0, y0, x1, y1 = box
    target_x0, target_y0, target_x1, target_y1 = target
    width, height = min(x1, target_x1) - max(x0, target_x0), min(y1, target_y1) - max(y0, target_y0)
    enclosing = max(x1, target_x1) - min(x0, target_x0), max(y1, target_y1) - min(y0, target_y0)
    areas = (x1 - x0) * (y1 - y0) + (target_x1 - target_x0) * (target_y1 - target_y0)
    return (width, height), enclosing, areas - max(width, 0.0) * max(height, 0.0)


@njit(nogil=True, cache=True, error_model="numpy")
def _generalized_iou(box: Array, target: Array) -> Any:
    (width, height), (enclosing_width, enclosing_height), union = _overlap(_corners(box), _corners(target))
    enclosure = enclosing_width * enclosing_height
    return max(width, 0.0) * max(height, 0.0) / union - (enclosure - union) / enclosure


@njit(nogil=True, cache=True)
def _of_larger(own: float, other: float) -> float:
    """Of the derivative of max(own, other), or of min, what own has: half of it where they are equal, as in torch."""
    return 1.0 if own > other else 0.5 if own == other else 0.0


@njit(nogil=True, cache=True)
def _of_cut(side: float, touching: float) -> float:
    """The derivative of max(side, 0)."""
    return 1.0 if side > 0 else touching if side == 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def _giou_slopes(box: Array, target: Array, touching: float) -> Any:
    """Return the derivatives of the GIoU of two boxes by x0, y0, x1 and y1 of the first."""
    own, other = _corners(box), _corners(target)
    (x0, y0, x1, y1), (target_x0, target_y0, target_x1, target_y1) = own, other
    (width, height), (enclosing_width, enclosing_height), union = _overlap(own, other)
    enclosure = enclosing_width * enclosing_height
    intersection = max(width, 0.0) * max(height, 0.0)
    # GIoU = I / U + U / E - 1 with U = A + A' - I: of_area is its derivative by A, of_intersection by I, with both U.
    of_area = 1 / enclosure - intersection / union / union
    of_intersection = 1 / union - of_area
    of_enclosure = -union / enclosure / enclosure
    # Sides that do not overlap are cut at 0, and move nothing.
    of_width = _of_cut(width, touching) * of_intersection * max(height, 0.0)
    of_height = _of_cut(height, touching) * of_intersection * max(width, 0.0)
    of_enclosing_width, of_enclosing_height = of_enclosure * enclosing_height, of_enclosure * enclosing_width
    return (
        -of_area * (y1 - y0) - of_width * _of_larger(x0, target_x0) - of_enclosing_width * _of_larger(target_x0, x0),
        -of_area * (x1 - x0) - of_height * _of_larger(y0, target_y0) - of_enclosing_height * _of_larger(target_y0, y0),
        of_area * (y1 - y0) + of_width * _of_larger(target_x1, x1) + of_enclosing_width * _of_larger(x1, target_x1),
        of_area * (x1 - x0) + of_height * _of_larger(target_y1, y1) + of_enclosing_height * _of_larger(y1, target_y1),
    )
