"""Elementary functions of many numbers, for numba to compile to vector instructions.

In float32 exp(x) is 2^k · exp(r) with x = k · log 2 + r, |r| ≤ log 2 / 2, as in Cody and Waite 1980: a polynomial in
r, whose coefficients are those of Moshier's Cephes library, and k as bits of the exponent. A logarithm is the series of
2 artanh(s) = log((1 + s) / (1 - s)) for |s| ≤ 1/3. Loops are over many numbers and without a branch, which is what is
compiled to vector instructions. In float64 they are NumPy's.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, Any]

LOG2_E = np.float32(1.44269504)
LOG_2_HIGH = np.float32(0.693359375)
LOG_2_LOW = np.float32(-2.12194440e-4)
"""Their sum is log 2, and products of the first with a small integer are exact."""

ROUNDING = np.float32(1.5 * 2**23)
"""Added to a number of magnitude below 2^22 it leaves the nearest integer in the last bits."""

BIAS = np.int32(127 - 0x4B400000)
"""Added to these bits it leaves k + 127, the biased exponent of 2^k."""

MANTISSA_BITS = np.int32(23)
TWO_THIRDS = np.int32(0x3F2AAAAB)
"""The bits of 2/3: numbers from there to 4/3 are taken to have the exponent 0."""

LEAST = np.float32(-87.0)
"""Below it exp(x) is no normal number, and taken to be 0."""

C2, C3, C4, C5, C6, C7 = map(
    np.float32,
    (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4),
)
S1, S3, S5, S7, S9, S11, S13 = (np.float32(2 / k) for k in range(1, 14, 2))
"""Of the powers of s in 2 artanh(s); what is left out is less than 2e-8 of it."""

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)

SINGLE = 4
"""The bytes of a float32."""


# Eight numbers at a time become one vector. A loop over all of them would be compiled for 64 at a time, and of a row
# of 92 leave 28, each of which waits for the one before.
@njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def highest(numbers: Array) -> Any:
    """Return the highest of one or more numbers, none of which is NaN."""
    a = b = c = d = e = f = g = h = numbers[0]
    whole = len(numbers) // 8 * 8
    for i in range(0, whole, 8):
        a, b, c, d = max(a, numbers[i]), max(b, numbers[i + 1]), max(c, numbers[i + 2]), max(d, numbers[i + 3])
        e, f, g, h = max(e, numbers[i + 4]), max(f, numbers[i + 5]), max(g, numbers[i + 6]), max(h, numbers[i + 7])
    for number in numbers[whole:]:
        a = max(a, number)
    return max(a, b, c, d, e, f, g, h)


@njit(nogil=True, cache=True)
def total(numbers: Array) -> Any:
    """Return the sum of numbers, in their dtype."""
    a = b = c = d = e = f = g = h = ZERO
    whole = len(numbers) // 8 * 8
    for i in range(0, whole, 8):
        a, b, c, d = a + numbers[i], b + numbers[i + 1], c + numbers[i + 2], d + numbers[i + 3]
        e, f, g, h = e + numbers[i + 4], f + numbers[i + 5], g + numbers[i + 6], h + numbers[i + 7]
    for number in numbers[whole:]:
        a += number
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@njit(nogil=True, cache=True)
def nan_or(numbers: Array, otherwise: Any) -> Any:
    """Return NaN if any of the numbers is, which comparisons pass over, and else what is given."""
    for number in numbers:
        if np.isnan(number):
            return number
    return otherwise


@njit(nogil=True, cache=True)
def write_exponentials(x: Array, power: Array, written: Array) -> None:
    """Write exp(x) of numbers ≤ 0, NaN for NaN; power is memory for as many."""
    if x.itemsize == SINGLE:
        _write_exponentials(x, power, written)
    else:
        written[:] = np.exp(x)


@njit(nogil=True, cache=True)
def write_logarithms(x: Array, whole: Array, written: Array) -> None:
    """Write log(x) of normal numbers > 0, NaN for NaN; whole is memory for as many."""
    if x.itemsize == SINGLE:
        _write_logarithms(x, whole, written)
    else:
        written[:] = np.log(x)


@njit(nogil=True, cache=True)
def write_logarithms_of_more(x: Array, written: Array) -> None:
    """Write log(1 + x) of numbers from 0 to 1, NaN for NaN."""
    if x.itemsize == SINGLE:
        _write_logarithms_of_more(x, written)
    else:
        written[:] = np.log1p(x)


# Contracted, a product and a sum are rounded once, and not twice.
@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_exponentials(x: Array, power: Array, written: Array) -> None:
    bits = power.view(np.int32)
    for i in range(len(x)):
        number = LEAST if x[i] < LEAST else x[i]
        power[i] = number * LOG2_E + ROUNDING
        k = power[i] - ROUNDING
        r = number - k * LOG_2_HIGH - k * LOG_2_LOW
        polynomial = ((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2
        written[i] = polynomial * r * r + r + ONE
    for i in range(len(x)):
        bits[i] = (bits[i] + BIAS) << MANTISSA_BITS
    for i in range(len(x)):
        written[i] = ZERO if x[i] < LEAST else written[i] * power[i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_logarithms(x: Array, whole: Array, written: Array) -> None:
    bits, bits_of_rest = x.view(np.int32), written.view(np.int32)
    for i in range(len(x)):
        # x is 2^k times a rest from 2/3 to 4/3.
        k = (bits[i] - TWO_THIRDS) >> MANTISSA_BITS
        whole[i] = np.float32(k)
        bits_of_rest[i] = bits[i] - (k << MANTISSA_BITS)
    for i in range(len(x)):
        written[i] = whole[i] * LOG_2_LOW + _twice_artanh((written[i] - ONE) / (written[i] + ONE))
    for i in range(len(x)):
        written[i] = x[i] if np.isnan(x[i]) else written[i] + whole[i] * LOG_2_HIGH


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_logarithms_of_more(x: Array, written: Array) -> None:
    for i in range(len(x)):
        written[i] = _twice_artanh(x[i] / (TWO + x[i]))


@njit(nogil=True, cache=True, fastmath={"contract"})
def _twice_artanh(s: Any) -> Any:
    t = s * s
    return ((((((S13 * t + S11) * t + S9) * t + S7) * t + S5) * t + S3) * t + S1) * s
