"""The losses of the boxes of one decoder layer, and their gradients, compiled by numba.

`criterion.py` is the same in torch, and the place to read first; `criterion.cu` is the same on CUDA. What is computed
of a matched pair, and its sums, are in float64.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from .class_losses import column_of_label

Array: TypeAlias = np.ndarray[Any, Any]

L1_LOSS, GIOU_LOSS, MATCHED, CORRECT = range(4)
SUMS = 4


@njit(nogil=True, cache=True, error_model="numpy")
def write_sums_of_pairs(
    logits: Array, boxes: Array, labels: Array, target_boxes: Array, sizes: Array, query_of: Array, sums: Array
) -> None:
    """Add up what a layer's matched pairs give, float64 [SUMS], in the order of the names above.

    logits: [B, Q, C]. boxes: [B, Q, 4] as cxcywh. labels: int64 [B, T]. target_boxes: [B, T, 4]. sizes: int64 [B], n of
    each image. query_of: int64 [B, T], the query of each target, or -1.
    """
    for image in range(len(boxes)):
        for target in range(sizes[image]):
            query = query_of[image, target]
            if query < 0:
                continue
            x, y, width, height = _differences(boxes[image, query], target_boxes[image, target])
            sums[L1_LOSS] += abs(x) + abs(y) + abs(width) + abs(height)
            sums[GIOU_LOSS] += 1 - _generalized_iou(boxes[image, query], target_boxes[image, target])
            sums[MATCHED] += 1
            sums[CORRECT] += _is_first_highest(logits[image, query], column_of_label(labels[image, target], logits))


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

    touching: what is passed on of the gradient of an overlap whose side is 0. The arrays are as in
    `write_sums_of_pairs`.
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
