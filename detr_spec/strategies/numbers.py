"""Where a case's numbers come from: drawn by Hypothesis, so failures shrink, or from one seed, so cases can be large.

Both answer the same questions, so each regime is written once. Drawn numbers lie on a dyadic grid, where box
arithmetic is exact and ties are real; seeded numbers are arbitrary, so rounding is exercised too.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Protocol

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.values import Floats, Integers, round_to

GRID = 64
"""Drawn reals are multiples of 1/64 …"""

WIDE_GRID = 16
"""… and of 1/16 where the range is too wide for a byte."""

BYTE_VALUES = 256


class Numbers(Protocol):
    """A source of numbers for one case."""

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Integers:
        """Integers from low to high, both included."""

    def reals(self, low: float, high: float, shape: tuple[int, ...]) -> Floats:
        """Numbers from low to high that the case's dtype holds exactly."""


class Drawn:
    """Numbers drawn by Hypothesis; reals are multiples of 1/64, of 1/16 in wide ranges. They shrink towards 0.

    One draw gives a whole array, as a string of bytes, one for each number: Hypothesis shrinks each byte by itself, and
    is many times faster than with a draw for each number.
    """

    def __init__(self, draw: DrawFn) -> None:
        self._draw = draw

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Integers:
        """As `Numbers.integers`."""
        size = int(np.prod(shape))
        choices = _by_magnitude(low, high)
        if len(choices) == 1 or size == 0:
            return np.full(shape, low, dtype=np.int64)
        if len(choices) > BYTE_VALUES:
            return np.array(self._draw(st.tuples(*[st.integers(low, high)] * size)), dtype=np.int64).reshape(shape)
        drawn = np.frombuffer(self._draw(_byte_strings(size)), dtype=np.uint8).astype(np.int64)
        return choices[drawn % len(choices)].reshape(shape)

    def reals(self, low: float, high: float, shape: tuple[int, ...]) -> Floats:
        """As `Numbers.reals`."""
        grid = GRID if (high - low) * GRID < BYTE_VALUES else WIDE_GRID
        return self.integers(int(np.ceil(low * grid)), int(np.floor(high * grid)), shape) / grid


@cache
def _byte_strings(size: int) -> SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@lru_cache(maxsize=256)
def _by_magnitude(low: int, high: int) -> Integers:
    """The integers from low to high, the smallest in magnitude first and positive before negative."""
    return np.array(sorted(range(low, high + 1), key=lambda number: (abs(number), number < 0)), dtype=np.int64)


class Seeded:
    """Numbers from a random generator, rounded to the case's dtype."""

    def __init__(self, seed: int, dtype: str) -> None:
        self._generator = np.random.default_rng(seed)
        self._dtype = dtype

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Integers:
        """As `Numbers.integers`."""
        return self._generator.integers(low, high, size=shape, endpoint=True)

    def reals(self, low: float, high: float, shape: tuple[int, ...]) -> Floats:
        """As `Numbers.reals`."""
        return np.clip(round_to(self._generator.uniform(low, high, size=shape), self._dtype), low, high)
