"""The numbers that an implementation is built with, as the ranges in which right ones may hold them.

A weight, an epsilon or a threshold may lie in a buffer of float32, whatever the dtype of the call, or be rounded to the
call's. Numbers that every dtype holds exactly stay what they are, so nothing is given up for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from detr_spec.tolerance import Interval
from detr_spec.values import round_to

HELD_BY_ALL = "bfloat16"
"""The dtype whose few digits every other one has too."""


@lru_cache(maxsize=1024)
def parameter(number: float, dtype: str) -> Interval:
    """The range, [], of a number in calls of `dtype`: itself, or rounded to float32 or to that dtype.

    What is computed from parameters alone, such as 1 − α, may be rounded to float32 as well, or to a narrower `dtype`.
    """
    ways = np.array([number, *(float(round_to(number, held)) for held in ("float32", dtype))])
    exact, own = np.asarray(number, dtype=np.float64), "float32" if dtype == "float64" else dtype
    return Interval(exact, ways.min(), ways.max(), own, single=bool((ways == number).all()))


def product(numbers: Sequence[float], dtype: str) -> Any:
    """The product of numbers as calls of a dtype may hold and round it, []; exactly 1 of none."""
    ranges = [parameter(number, dtype) for number in numbers]
    return prod(ranges[1:], start=ranges[0]) if ranges else 1.0


def is_held_by_all(number: Any) -> bool:
    """Whether every dtype holds a number exactly; so it does what is none."""
    return not isinstance(number, float) or float(round_to(number, HELD_BY_ALL)) == number


class Held:
    """Stands where a configuration or a profile does in a definition: each number that rounds is its range.

    What is no number is as it was given, and its parts are held likewise.
    """

    def __init__(self, given: Any, dtype: str) -> None:
        self._given, self._dtype = given, dtype

    def __getattr__(self, name: str) -> Any:
        return _held(getattr(self._given, name), self._dtype)


def _held(value: Any, dtype: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_held(item, dtype) for item in value)
    if isinstance(value, dict):
        return {key: _held(item, dtype) for key, item in value.items()}
    if hasattr(value, "held"):
        return value.held(dtype)
    if is_dataclass(value):
        return Held(value, dtype)
    return value if is_held_by_all(value) else parameter(value, dtype)


def held(configuration: Any) -> Any:
    """A configuration with its numbers, and those of its profile, as ranges for calls of its dtype."""
    return Held(configuration, configuration.dtype)
