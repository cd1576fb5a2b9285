"""The numbers that an implementation is built with, as the ranges in which right implementations may hold them.

A weight, an epsilon or a threshold may lie in a buffer of float32, whatever the dtype of the call, or be rounded to the
call's. Numbers that every dtype holds exactly stay as they are, so their checks are no weaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from detr_spec.tolerance import Interval
from detr_spec.values import round_to

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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


def product(numbers: Sequence[float | Interval], dtype: str) -> float | Interval:
    """The product of numbers, or of their ranges, as calls of a dtype may hold and round it, []; exactly 1 of none."""
    ranges = [number if isinstance(number, Interval) else parameter(number, dtype) for number in numbers]
    return prod(ranges[1:], start=ranges[0]) if ranges else 1.0


@lru_cache(maxsize=1024, typed=True)
def is_held_by_all(number: object) -> bool:
    """Whether every dtype holds a number exactly; true for what is no float."""
    return not isinstance(number, float) or float(round_to(number, HELD_BY_ALL)) == number


Record = TypeVar("Record", bound="DataclassInstance")


def held(record: Record, dtype: str) -> Record:
    """A record such as a configuration, with the range of each of its numbers that calls of a dtype may round.

    Records inside it are treated likewise; everything else is unchanged. A range does in a formula what a number does,
    so type checkers see a number.
    """
    return cast(Record, _Held(record, dtype))


class _Held:
    """A record whose numbers are read as ranges."""

    def __init__(self, given: object, dtype: str) -> None:
        self._given, self._dtype = given, dtype

    def __getattr__(self, name: str) -> object:
        return _held(getattr(self._given, name), self._dtype)


def _held(value: object, dtype: str) -> object:
    if isinstance(value, tuple):
        return tuple(_held(item, dtype) for item in value)
    if isinstance(value, dict):
        return {key: _held(item, dtype) for key, item in value.items()}
    if hasattr(value, "held"):
        return value.held(dtype)
    if is_dataclass(value):
        return _Held(value, dtype)
    return parameter(value, dtype) if isinstance(value, float) and not is_held_by_all(value) else value
