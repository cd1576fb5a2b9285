"""Finite differences, with an estimate of their error: what the gradients of the definitions are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detr_spec.values import Floats

STEP = 2.0**-12
"""The step, in units of the length over which the function bends: small boxes bend theirs sooner.

What is cut off is of the order of its square, 6·10⁻⁸, and of its fourth power after extrapolation; what float64
rounds away is of the order of 2⁻⁵² / STEP, 10⁻¹².
"""


@dataclass(frozen=True)
class Quotient:
    """A directional derivative from differences, and how far off it may be."""

    value: float
    error: float


def difference_quotient(
    function: Callable[[Floats], float], point: Floats, direction: Floats, step: float, noise: float
) -> Quotient:
    """The derivative of `function` along `direction`, from central differences with `step` and half of it.

    Richardson extrapolation cancels the error in step². noise: how far off the function's values may be, the
    rounding of its argument included. The error is what extrapolation moved, plus what noise may amount to.
    """

    def central(length: float) -> float:
        return (function(point + length * direction) - function(point - length * direction)) / (2 * length)

    whole, half = central(step), central(step / 2)
    best = (4 * half - whole) / 3
    return Quotient(best, abs(best - half) + 3 * noise / step)
