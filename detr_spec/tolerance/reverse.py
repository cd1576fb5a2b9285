"""Gradients of the definitions: reverse mode over the interval arithmetic, so that a formula is written once.

A definition is called with a `Traced` in place of an `Interval`; its result records how it was computed, and `gradient`
goes back through that record in interval arithmetic: the range of a gradient holds the right evaluations in its dtype,
as the range of a value does. Results of `stop_gradient` are constants.

Where a formula has several right ways to be evaluated (`hull`), each has a way back, and the gradient's range is the
union of theirs. At a kink, and where rounding may decide on which side of one a number lies, a derivative is any number
between the two sides'. Source: Griewank and Walther 2008, "Evaluating Derivatives", section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from detr_spec.tolerance.functions import Numbers, broadcast_to, expand_dims, hull
from detr_spec.tolerance.intervals import (
    OPERATIONS,
    REARRANGEMENTS,
    SPACING,
    ArrayFunction,
    Interval,
    Operand,
    finest,
    in_dtype,
    intervals_in,
    lift,
    rearranged,
)
from detr_spec.values import AnyNumbers, Floats, Integers

Back = Callable[[Interval], Interval]
"""From the gradient with respect to a result to that with respect to an operand."""

Way = Sequence[tuple["Traced", Back]]
"""One right way in which a number was computed: its operands, and the way back to each."""


class Traced(Interval):
    """An `Interval` that records how it was computed, in one right way or in several."""

    def __init__(self, interval: Interval, ways: Sequence[Way] = ()) -> None:
        super().__init__(interval.value, interval.lower, interval.upper, interval.dtype, single=interval.single)
        self.ways = ways

    def constant(self) -> Interval:
        """The same numbers, without their history."""
        return Interval(self.value, self.lower, self.upper, self.dtype, single=self.single)

    @classmethod
    def of_ways(cls, ways: Sequence[Interval]) -> Traced:
        """The range of several right ways to evaluate one formula, each of which has its way back."""
        backs = [[(way, _stays())] if isinstance(way, Traced) else [] for way in ways]
        return Traced(Interval.of_ways([way.constant() for way in ways]), backs)

    def in_dtype(self, dtype: str) -> Traced:
        """The same numbers in another dtype; their gradient is rounded to this one."""
        return Traced(self.constant().in_dtype(dtype), [[(self, lambda slope: _rounded(slope, self.dtype))]])

    def sum(self, axis: int | None = None) -> Traced:
        """The sum over an axis, or over all."""

        def back(slope: Interval) -> Interval:
            spread = slope if axis is None else expand_dims(slope, axis)
            return broadcast_to(spread, self.shape)

        return Traced(self.constant().sum(axis), [[(self, back)]])

    def within(self, least: float, most: float) -> Traced:
        """These numbers, clamped to bounds that only rounding takes them out of, which is no kink."""
        return Traced(self.constant().within(least, most), [[(self, _stays())]])

    def with_slope(self, result: Interval, derivative: Callable[[], Interval]) -> Traced:
        """A function's value of these numbers, and its way back, which ends in the dtype of these."""
        factor = cache(derivative)

        def back(slope: Interval) -> Interval:
            found = slope * factor()
            return found if found.dtype == self.dtype else _rounded(found, self.dtype)

        return Traced(result, [[(self, back)]])

    def max(self, axis: int | None = None, keepdims: bool = False) -> Interval:  # noqa: ARG002
        """Raises `TypeError`: a definition whose largest number matters for its gradient has no kink there."""
        raise TypeError("the largest of traced numbers has no gradient; stop it, or write it with np.maximum")

    def _rearranged(self, move: Callable[[Floats], ArrayLike]) -> Traced:
        return _rearranged(self.constant()._rearranged(move), lambda parts: move(parts[0]), [self])

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Operand, **options: object) -> object:
        if method != "__call__" or options or ufunc not in _DERIVATIVES:
            return NotImplemented
        dtype = finest(inputs)
        operands = [in_dtype(operand, dtype) for operand in inputs]
        plain = [operand.constant() for operand in operands]
        with np.errstate(all="ignore"):
            result = OPERATIONS[ufunc](*plain)
            sides = zip(operands, plain, plain[::-1], _DERIVATIVES[ufunc], strict=True)
            way = [
                (operand, _summed(derivative(result, own, other), operand.shape, result.shape))
                for operand, own, other, derivative in sides
                if isinstance(operand, Traced)
            ]
        return Traced(result, [way])

    def __array_function__(
        self,
        function: ArrayFunction,
        types: Sequence[type],
        args: Sequence[object],
        options: Mapping[str, object],
    ) -> object:
        if function not in REARRANGEMENTS:
            return NotImplemented
        traced = [item for item in intervals_in(args) if isinstance(item, Traced)]

        def moved(parts: Sequence[AnyNumbers]) -> AnyNumbers:
            following = iter(parts)

            def pick(given: object) -> object:
                if isinstance(given, Traced):
                    return next(following)
                if isinstance(given, Interval):
                    return given.value
                return type(given)(map(pick, given)) if isinstance(given, (list, tuple)) else given

            return np.asarray(function(*map(pick, args), **options))

        def plain(given: object) -> object:
            if isinstance(given, Interval):
                return given.constant()
            return type(given)(map(plain, given)) if isinstance(given, (list, tuple)) else given

        return _rearranged(rearranged(function, list(map(plain, args)), options), moved, traced)


def _rearranged(
    result: Interval, move: Callable[[Sequence[AnyNumbers]], ArrayLike], operands: Sequence[Traced]
) -> Traced:
    """A result whose numbers are copies of the operands' or of constants, as `move` copies them in any dtype."""
    ends = np.cumsum([operand.value.size for operand in operands])
    # Imaginary, so that they are told from constants, which are real.
    places = [
        np.arange(end - operand.value.size + 1, end + 1).reshape(operand.shape) * 1j
        for operand, end in zip(operands, ends, strict=True)
    ]
    source = np.asarray(move(places)).imag.astype(np.int64).ravel() - 1

    def back_to(operand: Traced, end: int) -> Back:
        first = end - operand.value.size
        (copies,) = np.nonzero((source >= first) & (source < end))
        originals = source[copies] - first
        return lambda slope: _collected(slope.reshape(-1)[copies], originals, operand.shape)

    return Traced(
        result, [[(operand, back_to(operand, int(end))) for operand, end in zip(operands, ends, strict=True)]]
    )


def _collected(slopes: Interval, places: Integers, shape: tuple[int, ...]) -> Interval:
    """The sum of the slopes of copies by the number that each copies, whose place is given; 0 where none does."""
    size = int(np.prod(shape))
    counts = np.bincount(places, minlength=size)
    if counts.max(initial=0) <= 1:
        return slopes.placed((size,), places).reshape(*shape)

    def total(part: Floats) -> Floats:
        return np.bincount(places, part, size).astype(np.float64)

    magnitude = total(np.maximum(np.abs(slopes.lower), np.abs(slopes.upper)))
    growth = np.where(counts > 1, np.minimum(counts, 6.0 * np.sqrt(counts)), 0.0)
    slack = np.where(growth > 0, growth * SPACING[slopes.dtype] * magnitude, 0.0)
    ends = total(slopes.lower) - slack, total(slopes.upper) + slack
    return Interval(total(slopes.value), *ends, slopes.dtype).reshape(*shape)


def _rounded(slope: Interval, dtype: str) -> Interval:
    """The same, rounded to a dtype."""
    return slope.in_dtype(dtype) + 0.0


def _summed(back: Back, shape: tuple[int, ...], broadcast: tuple[int, ...]) -> Back:
    """The way back to an operand of a shape that was broadcast to another, over whose copies it sums."""
    if shape == broadcast:
        return back

    def summed(slope: Interval) -> Interval:
        found = back(slope)
        while found.ndim > len(shape):
            found = found.sum(axis=0)
        for axis, length in enumerate(shape):
            if length == 1 and found.shape[axis] != 1:
                found = expand_dims(found.sum(axis=axis), axis)
        return found

    return summed


def _of_greater(_: Interval, own: Interval, other: Interval) -> Back:
    lower, upper = np.where(own.lower > other.upper, 1.0, 0.0), np.where(own.upper >= other.lower, 1.0, 0.0)
    value = 0.5 + 0.5 * np.sign(own.value - other.value)
    return _times(Interval(value, lower, upper, own.dtype, single=bool((lower == upper).all())))


def _of_lesser(result: Interval, own: Interval, other: Interval) -> Back:
    return _of_greater(result, -own, -other)


def _of_absolute(_: Interval, a: Interval, __: Interval) -> Back:
    lower, upper = np.where(a.lower > 0, 1.0, -1.0), np.where(a.upper < 0, -1.0, 1.0)
    return _times(Interval(np.sign(a.value), lower, upper, a.dtype, single=bool((lower == upper).all())))


def _of_power(_: Interval, a: Interval, exponent: Interval) -> Back:
    if exponent.single and not exponent.value.any():
        return _times(a * 0.0)
    return _times(exponent * a ** (exponent - 1.0))


def _of_exponent(*_: Interval) -> Back:
    raise TypeError("an exponent has no gradient; stop it")


def _times(factor: Interval) -> Back:
    return lambda slope: slope * factor


def _over(divisor: Interval) -> Back:
    return lambda slope: slope / divisor


def _stays(*_: Interval) -> Back:
    return lambda slope: slope


def _turns(*_: Interval) -> Back:
    return lambda slope: -slope


def _of_product(_: Interval, __: Interval, other: Interval) -> Back:
    return _times(other)


_DERIVATIVES: dict[np.ufunc, tuple[Callable[[Interval, Interval, Interval], Back], ...]] = {
    np.add: (_stays, _stays),
    np.subtract: (_stays, _turns),
    np.multiply: (_of_product, _of_product),
    np.divide: (lambda _, __, divisor: _over(divisor), lambda result, divisor, _: _times(-(result / divisor))),
    np.negative: (_turns,),
    np.absolute: (_of_absolute,),
    np.power: (_of_power, _of_exponent),
    np.exp: (lambda result, *_: _times(result),),
    np.log: (lambda _, a, __: _over(a),),
    np.log1p: (lambda _, a, __: _over(a + 1.0),),
    np.arctan: (lambda _, a, __: _over(np.absolute(a) * np.absolute(a) + 1.0),),
    np.minimum: (_of_lesser, _of_lesser),
    np.maximum: (_of_greater, _of_greater),
}
"""For each operand, the way back to it: from the result, that operand, and the other, which may be the same."""


def gradient(function: Callable[[Interval], Numbers], numbers: Interval) -> Interval:
    """The gradient of a definition at these numbers; the definition returns one number, [].

    Where the value may not be finite the gradient is unbounded: one 0/0 among many pairs is NaN for all of them if they
    are computed together.
    """
    traced, zero = Traced(numbers), lift(np.zeros(numbers.shape), numbers.dtype)
    result = function(traced)
    if not isinstance(result, Traced):
        return zero
    if not np.isfinite([result.lower, result.upper]).all():
        return anything(numbers)
    order = _results_first(result)
    several = max(len(item.ways) for item in order)
    with np.errstate(all="ignore"):
        return hull(*(_slopes(order, way).get(id(traced), zero) for way in range(max(several, 1))))


def anything(numbers: Interval) -> Interval:
    """A gradient of which nothing is known, by these numbers."""
    nowhere = np.zeros(numbers.shape)
    return Interval(nowhere, nowhere - np.inf, nowhere + np.inf, numbers.dtype)


def _results_first(result: Traced) -> list[Traced]:
    """Everything that a result was computed from, each before its operands."""
    order: list[Traced] = []
    seen: set[int] = set()
    waiting: list[tuple[Traced, bool]] = [(result, False)]
    while waiting:
        item, finished = waiting.pop()
        if finished:
            order.append(item)
        elif id(item) not in seen:
            seen.add(id(item))
            waiting.append((item, True))
            waiting.extend((operand, False) for operand in _operands(item))
    return order[::-1]


def _operands(item: Traced) -> Iterable[Traced]:
    return (operand for way in item.ways for operand, _ in way)


def _slopes(order: Sequence[Traced], way: int) -> dict[int, Interval]:
    """The gradient with respect to each number, along the first, second … of its right ways, or the last."""
    slopes: dict[int, Interval] = {id(order[0]): lift(np.ones(order[0].shape), order[0].dtype)}
    for item in order:
        slope = slopes.get(id(item))
        if slope is None or not item.ways:
            continue
        for operand, back in item.ways[min(way, len(item.ways) - 1)]:
            part, known = back(slope), slopes.get(id(operand))
            slopes[id(operand)] = part if known is None else known + part
    return slopes
