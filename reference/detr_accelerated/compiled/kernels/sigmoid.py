"""The sigmoids of logits, and the highest logit of each query, compiled by numba."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from .functions import ONE, TWO, ZERO, highest, nan_or, total, write_exponentials, write_logarithms_of_more

Array: TypeAlias = np.ndarray[Any, Any]

HIGHEST = np.finfo(np.float32).max


@njit(nogil=True, cache=True)
def write_highest(logits: Array, found: Array) -> None:
    """Write the highest logit of each query, [B, Q], NaN if any is, of logits [B, Q, C]."""
    for image in range(len(logits)):
        for query in range(logits.shape[1]):
            numbers = logits[image, query]
            found[image, query] = highest(numbers)
            # The sum is NaN of both infinities, too.
            if np.isnan(total(numbers)):
                found[image, query] = nan_or(numbers, found[image, query])


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def write_sigmoids(
    logits: Array, yes: Array, no: Array, surprise_of_yes: Array, surprise_of_no: Array, memory: Array
) -> None:
    """Write p, 1 - p, -log(p) and -log(1 - p), p = sigmoid(z), of logits; memory is for as many numbers, or more.

    Each is as exact where it is next to nothing as elsewhere.
    """
    for i in range(len(logits)):
        no[i] = -abs(logits[i])
    write_exponentials(no, memory, yes)
    write_logarithms_of_more(yes, memory)
    for i in range(len(logits)):
        # Of one that is next to nothing, here exp(-|z|), the other's surprise is as small.
        positive = logits[i] > ZERO
        larger = ONE / (ONE + yes[i])
        smaller = yes[i] * larger
        yes[i] = larger if positive else smaller
        no[i] = smaller if positive else larger
        surprise_of_yes[i] = memory[i] - (ZERO if positive else logits[i])
        surprise_of_no[i] = memory[i] + (logits[i] if positive else ZERO)


@njit(nogil=True, cache=True, error_model="numpy")
def write_powers(p: Array, surprise: Array, gamma: Any, memory: Array, power: Array, written: Array) -> None:
    """Write p^gamma, gamma ≥ 0, of probabilities and their -log(p); memory and power are for as many numbers."""
    if gamma == TWO:
        for i in range(len(p)):
            written[i] = p[i] * p[i]
    else:
        for i in range(len(p)):
            # The power of 0 is 1 if gamma is 0, which a product with infinity would not give.
            memory[i] = -gamma * (HIGHEST if surprise[i] > HIGHEST else surprise[i])
        write_exponentials(memory, power, written)
