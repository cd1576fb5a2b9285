"""The softmax of `compiled_softmax`, compiled by numba: one pass over the logits.

In float32 exp(x) is 2^k · exp(r) with x = k · log 2 + r, |r| ≤ log 2 / 2, as in Cody and Waite 1980: a polynomial in
r, whose coefficients are those of Moshier's Cephes library, and k as bits of the exponent. Loops are over many numbers
and without a branch, which is what is compiled to vector instructions.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, Any]

ROWS = 16
"""Queries at a time, whose numbers stay in the first cache."""

LOG2_E = np.float32(1.44269504)
LOG_2_HIGH = np.float32(0.693359375)
LOG_2_LOW = np.float32(-2.12194440e-4)
"""Their sum is log 2, and products of the first with a small integer are exact."""

ROUNDING = np.float32(1.5 * 2**23)
"""Added to a number of magnitude below 2^22 it leaves the nearest integer in the last bits."""

EXPONENT = np.int32(127 - 0x4B400000)
"""Added to these bits it leaves k + 127, the biased exponent of 2^k."""

LEAST = np.float32(-87.0)
"""Below it exp(x) is no normal number, and taken to be 0."""

C2, C3, C4, C5, C6, C7 = map(
    np.float32,
    (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4),
)
ONE, ZERO = np.float32(1), np.float32(0)

SINGLE = 4
"""The bytes of a float32."""


# Eight numbers at a time become one vector. A loop over all of them would be compiled for 64 at a time, and of a row
# of 92 leave 28, each of which waits for the one before.
@njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def _highest(numbers: Array) -> Any:
    a = b = c = d = e = f = g = h = numbers[0]
    whole = len(numbers) // 8 * 8
    for i in range(0, whole, 8):
        a, b, c, d = max(a, numbers[i]), max(b, numbers[i + 1]), max(c, numbers[i + 2]), max(d, numbers[i + 3])
        e, f, g, h = max(e, numbers[i + 4]), max(f, numbers[i + 5]), max(g, numbers[i + 6]), max(h, numbers[i + 7])
    for number in numbers[whole:]:
        a = max(a, number)
    return max(a, b, c, d, e, f, g, h)


@njit(nogil=True, cache=True)
def _sum(numbers: Array) -> Any:
    a = b = c = d = e = f = g = h = ZERO
    whole = len(numbers) // 8 * 8
    for i in range(0, whole, 8):
        a, b, c, d = a + numbers[i], b + numbers[i + 1], c + numbers[i + 2], d + numbers[i + 3]
        e, f, g, h = e + numbers[i + 4], f + numbers[i + 5], g + numbers[i + 6], h + numbers[i + 7]
    for number in numbers[whole:]:
        a += number
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


# Contracted, a product and a sum are rounded once, and not twice.
@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_exponentials(x: Array, power: Array, written: Array) -> None:
    """Write exp(x) of numbers ≤ 0, NaN for NaN; power is memory for as many."""
    bits = power.view(np.int32)
    for i in range(len(x)):
        number = LEAST if x[i] < LEAST else x[i]
        power[i] = number * LOG2_E + ROUNDING
        k = power[i] - ROUNDING
        r = number - k * LOG_2_HIGH - k * LOG_2_LOW
        polynomial = ((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2
        written[i] = polynomial * r * r + r + ONE
    for i in range(len(x)):
        bits[i] = (bits[i] + EXPONENT) << np.int32(23)
    for i in range(len(x)):
        written[i] = ZERO if x[i] < LEAST else written[i] * power[i]


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
                but_last = _highest(numbers[: columns - 1]) if columns > 1 else -np.inf
                last_logit[problem, query], highest_but_last[problem, query] = last, but_last
                highest = max(but_last, last)
                own = differences[row * columns : (row + 1) * columns]
                for column in range(columns):
                    own[column] = numbers[column] - highest
            written = exponentials[problem, start : start + rows].reshape(size)
            if logits.itemsize == SINGLE:
                _write_exponentials(differences[:size], power[:size], written)
            else:
                written[:] = np.exp(differences[:size])
            for row in range(rows):
                total = _sum(written[row * columns : (row + 1) * columns])
                exponential_sum[problem, start + row] = total
                # Comparisons pass over NaN; the sum does not, and is NaN of nothing but -inf, too.
                if np.isnan(total):
                    for number in logits[problem, start + row]:
                        if np.isnan(number):
                            highest_but_last[problem, start + row] = number
