"""What definitions are held against: overlaps of boxes in exact arithmetic, and assignments tried one by one."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np

from detr_spec.values import Floats


def rational_giou(first: np.ndarray, second: np.ndarray) -> Fraction:
    """The GIoU of two boxes in xyxy, [4] each, in exact arithmetic. Raises `ZeroDivisionError` where it is 0/0."""
    a, b = ([Fraction(float(number)) for number in box] for box in (first, second))

    def size(low: list[Fraction], high: list[Fraction]) -> Fraction:
        width, height = (max(end - start, Fraction(0)) for start, end in zip(low, high, strict=True))
        return width * height

    intersection = size([max(a[0], b[0]), max(a[1], b[1])], [min(a[2], b[2]), min(a[3], b[3])])
    union = size(a[:2], a[2:]) + size(b[:2], b[2:]) - intersection
    enclosing = size([min(a[0], b[0]), min(a[1], b[1])], [max(a[2], b[2]), max(a[3], b[3])])
    return intersection / union - (enclosing - union) / enclosing


def exhaustive_minimum(cost: Floats) -> float:
    """The least total cost by trying every assignment; for matrices whose shorter side has a few members."""
    oriented = cost if cost.shape[0] <= cost.shape[1] else cost.T
    rows = np.arange(oriented.shape[0])
    return min(
        float(oriented[rows, list(columns)].sum()) for columns in permutations(range(oriented.shape[1]), len(rows))
    )
