"""The numbers that an implementation is built with, as the ranges in which right ones may hold them.

A weight, an epsilon or a threshold may lie in a buffer of float32, whatever the dtype of the call, or be rounded to the
call's. Numbers that every dtype holds exactly stay what they are, so nothing is given up for them.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.profile import BoxRules
from detr_spec.tolerance import Interval
from detr_spec.values import NARROW_DTYPES, part_dtypes, round_to

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


class Held:
    """Stands where a configuration, a profile or rules do in a definition: each number that rounds is its range.

    What is no number is as it was given, and its parts are held likewise.
    """

    def __init__(self, given: Any, dtype: str) -> None:
        self._given, self._dtype = given, dtype

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._given, name)
        if isinstance(value, BoxRules):
            return held_rules(value, self._dtype)
        if is_dataclass(value):
            return Held(value, self._dtype)
        if not isinstance(value, float) or float(round_to(value, HELD_BY_ALL)) == value:
            return value
        return parameter(value, self._dtype)


def held(configuration: Configuration) -> Any:
    """The configuration with its numbers, and those of its profile, as ranges for calls of its dtype."""
    return Held(configuration, configuration.dtype)


def held_rules(rules: BoxRules, dtype: str) -> Any:
    """The rules of boxes with their numbers as ranges; overlaps of narrow dtypes are in float32, and so are these."""
    boxes = part_dtypes(dtype).boxes
    return Held(rules, "float32" if boxes in NARROW_DTYPES else boxes)
