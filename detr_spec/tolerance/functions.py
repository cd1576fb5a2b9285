"""What the definitions compute with, and the functions they use: typed for float64 arrays and for intervals alike.

NumPy's own functions do the work, but have no types for intervals; what both kinds of numbers can do is stated here.
"""

# ruff: noqa: D102  # NumPy documents what `Numbers` has
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, cast, overload

import numpy as np

from detr_spec.tolerance.intervals import SPACING, Interval, lift
from detr_spec.values import Booleans, Floats, Index, Integers

if TYPE_CHECKING:
    from typing_extensions import Self


class Numbers(Protocol):
    """Float64 arrays, or intervals: what a definition may do with either."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Index, /) -> Self: ...
    def reshape(self, length: int, /, *more: int) -> Self: ...
    def sum(self, axis: int | None = None) -> Self: ...
    def max(self, axis: int | None = None, *, keepdims: bool = False) -> Self: ...
    def __neg__(self) -> Self: ...
    def __add__(self, other: Self | Floats | float, /) -> Self: ...
    def __radd__(self, other: Self | Floats | float, /) -> Self: ...
    def __sub__(self, other: Self | Floats | float, /) -> Self: ...
    def __rsub__(self, other: Self | Floats | float, /) -> Self: ...
    def __mul__(self, other: Self | Floats | float, /) -> Self: ...
    def __rmul__(self, other: Self | Floats | float, /) -> Self: ...
    def __truediv__(self, other: Self | Floats | float, /) -> Self: ...
    def __rtruediv__(self, other: Self | Floats | float, /) -> Self: ...
    def __pow__(self, other: Self | Floats | float, /) -> Self: ...


SameNumbers = TypeVar("SameNumbers", bound=Numbers)
"""Either kind of numbers, where a function answers the kind that it is given."""


class _Choose(Protocol):
    def __call__(self, numbers: SameNumbers, other: SameNumbers | Floats | float, /) -> SameNumbers: ...


class _Concatenate(Protocol):
    def __call__(self, parts: Sequence[SameNumbers], /, axis: int = 0) -> SameNumbers: ...


class _Where(Protocol):
    @overload
    def __call__(
        self, condition: Booleans, then: SameNumbers, other: SameNumbers | Floats | float, /
    ) -> SameNumbers: ...
    @overload
    def __call__(self, condition: Booleans, then: float, other: float, /) -> Floats: ...


class _Take(Protocol):
    def __call__(self, numbers: SameNumbers, places: Integers, /, axis: int) -> SameNumbers: ...


class _Expand(Protocol):
    def __call__(self, numbers: SameNumbers, /, axis: int) -> SameNumbers: ...


absolute = cast(Callable[[SameNumbers], SameNumbers], np.absolute)
arctan = cast(Callable[[SameNumbers], SameNumbers], np.arctan)
exp = cast(Callable[[SameNumbers], SameNumbers], np.exp)
log = cast(Callable[[SameNumbers], SameNumbers], np.log)
log1p = cast(Callable[[SameNumbers], SameNumbers], np.log1p)
maximum = cast(_Choose, np.maximum)
minimum = cast(_Choose, np.minimum)
where = cast(_Where, np.where)
broadcast_to = cast(Callable[[SameNumbers, tuple[int, ...]], SameNumbers], np.broadcast_to)
concatenate = cast(_Concatenate, np.concatenate)
expand_dims = cast(_Expand, np.expand_dims)
take_along_axis = cast(_Take, np.take_along_axis)


def is_interval(numbers: Numbers) -> bool:
    """Whether numbers are intervals, which hold all usual ways to evaluate a formula."""
    return isinstance(numbers, Interval)


def dtype_of(numbers: Numbers) -> str | None:
    """The dtype whose rounding intervals follow; None for arrays."""
    return numbers.dtype if isinstance(numbers, Interval) else None


def is_coarser(numbers: Numbers, dtype: str) -> bool:
    """Whether numbers are intervals in a dtype of fewer digits."""
    return isinstance(numbers, Interval) and SPACING[numbers.dtype] > SPACING[dtype]


def interval(numbers: Numbers) -> Interval:
    """The numbers, which a definition returns for intervals, as an interval; raises `TypeError` for an array."""
    if isinstance(numbers, Interval):
        return numbers
    raise TypeError("an array where an interval is expected; lift the numbers that the definition is given")


def values(numbers: Numbers) -> Floats:
    """The numbers in float64, without their ranges."""
    return numbers.value if isinstance(numbers, Interval) else cast(Floats, numbers)


def surely_at_most(first: Numbers, second: Numbers) -> Booleans:
    """Where one number is at most another, wherever they lie in their ranges; with broadcasting."""
    upper = first.upper if isinstance(first, Interval) else cast(Floats, first)
    lower = second.lower if isinstance(second, Interval) else cast(Floats, second)
    return np.asarray(upper <= lower)


def hull(first: SameNumbers, *others: SameNumbers) -> SameNumbers:
    """The range of several right ways to evaluate one formula: the first's value, and the union of the ranges.

    It is a single number if every way gives exactly that number. For arrays it is the first.
    """
    if all(isinstance(way, np.ndarray) for way in (first, *others)):
        return first
    ways = cast(Sequence[Interval], (first, *others))
    kind = next((type(way) for way in ways if type(way) is not Interval), Interval)
    return cast(SameNumbers, kind.of_ways(ways))


def with_slope(numbers: SameNumbers, result: SameNumbers, derivative: Callable[[], SameNumbers]) -> SameNumbers:
    """A function's value of numbers, computed as constants; derivative: as in `Interval.with_slope`."""
    if isinstance(numbers, Interval):
        return cast(SameNumbers, numbers.with_slope(interval(result), cast(Callable[[], Interval], derivative)))
    return result


def lift_like(numbers: Floats, other: SameNumbers) -> SameNumbers:
    """Constants of a formula, of the kind of `other` and in its dtype."""
    return cast(SameNumbers, lift(numbers, other.dtype) if isinstance(other, Interval) else numbers)


def rounded_like(numbers: SameNumbers, other: Numbers) -> SameNumbers:
    """The same numbers in the dtype of `other`, to which what is computed from them is rounded."""
    return in_dtype(numbers, other.dtype) if isinstance(other, Interval) else numbers


def in_dtype(numbers: SameNumbers, dtype: str) -> SameNumbers:
    """The same numbers, for what is computed from them to be rounded to a dtype."""
    return cast(SameNumbers, numbers.in_dtype(dtype)) if isinstance(numbers, Interval) else numbers


def within(numbers: SameNumbers, least: float = -np.inf, most: float = np.inf) -> SameNumbers:
    """Numbers that only rounding takes out of these bounds, clamped to them; the gradient has no kink there."""
    kept = numbers.within(least, most) if isinstance(numbers, Interval) else np.clip(cast(Floats, numbers), least, most)
    return cast(SameNumbers, kept)


def placed(numbers: SameNumbers, shape: tuple[int, ...], index: Index) -> SameNumbers:
    """Numbers at an index of an array of a shape, with zeros elsewhere."""
    if isinstance(numbers, Interval):
        return cast(SameNumbers, numbers.placed(shape, index))
    whole: Floats = np.zeros(shape)
    whole[index] = cast(Floats, numbers)
    return cast(SameNumbers, whole)


def phrase_means(
    logits: SameNumbers, phrases: Booleans, of_logits: Callable[[SameNumbers], SameNumbers]
) -> SameNumbers:
    """The mean of what a function says of the logits of each phrase; [Q, C] and which columns it has, [K, C] → [Q, K].

    An interval holds what is divided before it is added, and after. Phrases of equal length are taken together.
    """
    lengths = phrases.sum(axis=1)
    parts, order = [], []
    for length in np.unique(lengths):
        own = np.flatnonzero(lengths == length)
        columns = np.nonzero(phrases[own])[1].reshape(len(own), length)
        said, count = of_logits(logits[:, columns]), float(length)
        parts.append(hull(said.sum(axis=-1) / count, (said * (1.0 / count)).sum(axis=-1)))
        order.append(own)
    return concatenate(parts, axis=1)[:, np.argsort(np.concatenate(order))]


def stop_gradient(numbers: SameNumbers) -> SameNumbers:
    """The same numbers as constants: a gradient does not follow how they were computed."""
    return cast(SameNumbers, numbers.constant()) if isinstance(numbers, Interval) else numbers
