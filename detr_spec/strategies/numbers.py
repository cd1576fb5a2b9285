"""Where a case's numbers come from: drawn one by one, so failures shrink, or from one seed, so cases can be large.

Both answer the same questions, so each regime is written once. Drawn numbers lie on a dyadic grid, where box arithmetic is
exact and ties are real; seeded numbers are arbitrary, so rounding is exercised too.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from detr_spec.values import Floats, Integers, round_to

GRID = 64
"""Drawn reals are multiples of 1/64."""


class Numbers(Protocol):
    """A source of numbers for one case."""

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Integers:
        """Integers from low to high, both included."""

    def reals(self, low: float, high: float, shape: tuple[int, ...]) -> Floats:
        """Numbers from low to high that the case's dtype holds exactly."""


class Drawn:
    """Numbers drawn one by one by Hypothesis; reals are multiples of 1/64, and shrink towards the lower end."""

    def __init__(self, draw: DrawFn) -> None:
        self._draw = draw

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Integers:
        size = int(np.prod(shape))
        if low == high or size == 0:
            return np.full(shape, low, dtype=np.int64)
        numbers = self._draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return np.array(numbers, dtype=np.int64).reshape(shape)

    def reals(self, low: float, high: float, shape: tuple[int, ...]) -> Floats:
        steps = self.integers(int(np.ceil(low * GRID)), int(np.floor(high * GRID)), shape)
        return steps / GRID


class Seeded:
    """Numbers from a random generator, rounded to the case's dtype."""

    def __init__(self, seed: int, dtype: str) -> None:
        self._generator = np.random.default_rng(seed)
        self._dtype = dtype

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> Integers:
        return self._generator.integers(low, high, size=shape, endpoint=True)

    def reals(self, low: float, high: float, shape: tuple[int, ...]) -> Floats:
        return np.clip(round_to(self._generator.uniform(low, high, size=shape), self._dtype), low, high)
