"""The softmax of `compiled.softmax`, compiled by numba: one pass over the logits."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from .functions import highest, nan_or, total, write_exponentials

Array: TypeAlias = np.ndarray[Any, Any]

ROWS = 16
"""Queries at a time, whose numbers stay in the first cache."""


@njit(nogil=True, cache=True, error_model="numpy")
def write_softmax(
    logits: Array, exponentials: Array, exponential_sum: Array, highest_but_last: Array, last_logit: Array
) -> None:
    """Write the parts of `Softmax` of logits [b, Q, C]: exponentials alike, and [b, Q] each of the others."""
    problems, queries, columns = logits.shape
    differences = np.empty(ROWS * columns, logits.dtype)
    power = np.empty(ROWS * columns, logits.dtype)
    for problem in range(problems):
        for start in range(0, queries, ROWS):
            rows = min(ROWS, queries - start)
            size = rows * columns
            for row in range(rows):
                query = start + row
                numbers = logits[problem, query]
                last = numbers[columns - 1]
                but_last = highest(numbers[: columns - 1]) if columns > 1 else -np.inf
                last_logit[problem, query], highest_but_last[problem, query] = last, but_last
                largest = max(but_last, last)
                own = differences[row * columns : (row + 1) * columns]
                for column in range(columns):
                    own[column] = numbers[column] - largest
            written = exponentials[problem, start : start + rows].reshape(size)
            write_exponentials(differences[:size], power[:size], written)
            for row in range(rows):
                sum_of_row = total(written[row * columns : (row + 1) * columns])
                exponential_sum[problem, start + row] = sum_of_row
                # It is NaN of nothing but -inf, too.
                if np.isnan(sum_of_row):
                    of_others = highest_but_last[problem, start + row]
                    highest_but_last[problem, start + row] = nan_or(logits[problem, start + row], of_others)
