"""How far apart two right answers may be: interval arithmetic that follows a formula through a dtype's rounding.

The definitions of this package are written with ordinary NumPy operations. Given float64 arrays they return the
exact value up to float64; given an `Interval` they also return the range in which every right evaluation in a
narrower dtype lies, so the allowance of a comparison is derived from the dtype, the magnitudes and the
operations, and from nothing else.

The model, per operation: the result is widened by one spacing of the dtype, 2⁻²³ of its magnitude in float32.
That is twice what IEEE 754 allows for + − × ÷ and enough for the exponentials and logarithms of the usual
libraries, which are accurate to one unit in the last place. A sum of n terms is widened by min(n, 6·√n) such
units of Σ|x|: the error of recursive summation, in the probabilistic form of Higham & Mary 2019, "A New
Approach to Probabilistic Rounding Error Analysis", so any order of summation fits. Results of + − × that the
dtype holds exactly are not widened: on a dyadic grid box arithmetic is exact, and the allowance is as narrow as
it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from detr_spec.values import DTYPES, MIXED_DTYPES, Floats, Index, InvalidValue, round_to

Operand: TypeAlias = "Interval | Floats | float"
"""What an operation on intervals is given: intervals, or constants of a formula."""

SPACING = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7, "autocast": 2.0**-7}
"""The relative spacing of each dtype's numbers (its machine epsilon); autocast may round anything to bfloat16."""
SPACING |= {name: SPACING[parts.logits] for name, parts in MIXED_DTYPES.items()}

SMALLEST = {
    "float64": 2.0**-1022,
    "float32": 2.0**-126,
    "float16": 2.0**-24,
    "bfloat16": 2.0**-126,
    "autocast": 2.0**-126,
}
"""What underflow may cost: the smallest normal number, since subnormals may be flushed (the subnormal in float16)."""
SMALLEST |= {name: SMALLEST[parts.logits] for name, parts in MIXED_DTYPES.items()}

LARGEST = {"float64": 2.0**1023, "float32": 2.0**127, "float16": 2.0**15, "bfloat16": 2.0**127, "autocast": 2.0**127}
"""The largest power of 2 that each dtype holds; what reaches twice that overflows."""
LARGEST |= {name: LARGEST[parts.logits] for name, parts in MIXED_DTYPES.items()}

_EXACT_DIGITS = "float32"
"""Numbers with at most 24 significant bits: their products are exact in float64, so exactness can be checked there."""


def summation_growth(terms: int) -> float:
    """By how many roundings of Σ|x| a sum of n terms may be off: min(n, 6·√n)."""
    return float(min(terms, 6.0 * np.sqrt(terms)))


class ArrayFunction(Protocol):
    """A function of NumPy that answers with an array."""

    def __call__(self, *args: object, **options: object) -> ArrayLike: ...  # noqa: D102


class Interval(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of numbers, each with the range in which a right evaluation in `dtype` lies.

    `value` is the formula in float64, `lower` and `upper` the range. `single` says that every range is one
    number, which the dtype holds with few enough digits that exactness can be checked in float64. Supports the
    operations that the definitions use: + − × ÷, power by a constant, abs, exp, log, log1p, minimum, maximum,
    where, sums, and rearrangements.
    """

    def __init__(self, value: Floats, lower: Floats, upper: Floats, dtype: str, *, single: bool = False) -> None:
        self.value, self.dtype, self.single = value, dtype, single
        self.lower, self.upper = (value, value) if single else (lower, upper)

    if TYPE_CHECKING:  # the mixin has no types

        def __neg__(self) -> Interval: ...
        def __add__(self, other: Operand) -> Interval: ...
        def __radd__(self, other: Operand) -> Interval: ...
        def __sub__(self, other: Operand) -> Interval: ...
        def __rsub__(self, other: Operand) -> Interval: ...
        def __mul__(self, other: Operand) -> Interval: ...
        def __rmul__(self, other: Operand) -> Interval: ...
        def __truediv__(self, other: Operand) -> Interval: ...
        def __rtruediv__(self, other: Operand) -> Interval: ...
        def __pow__(self, other: Operand) -> Interval: ...

    def __repr__(self) -> str:
        return f"Interval({self.value!r}, from {self.lower!r} to {self.upper!r}, {self.dtype})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the dimensions."""
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.value.ndim

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        """Whether a single number is not 0; raises `ValueError` for several, as arrays do."""
        return bool(self.value)

    def __getitem__(self, index: Index) -> Interval:
        return self._rearranged(lambda part: part[index])

    def reshape(self, *shape: int) -> Interval:
        """The same numbers in another shape."""
        return self._rearranged(lambda part: part.reshape(shape))

    @property
    def T(self) -> Interval:  # noqa: N802
        """The transposed array."""
        return self._rearranged(lambda part: part.T)

    def _rearranged(self, move: Callable[[Floats], ArrayLike]) -> Interval:
        value = np.asarray(move(self.value))
        if self.is_point:
            return Interval(value, value, value, self.dtype, single=self.single)
        return Interval(value, np.asarray(move(self.lower)), np.asarray(move(self.upper)), self.dtype)

    @property
    def is_point(self) -> bool:
        """Whether each range is known to be one number, which the dtype may or may not hold with few digits."""
        return self.value is self.lower is self.upper

    def in_dtype(self, dtype: str) -> Interval:
        """The same numbers, for what is computed from them to be rounded to another dtype; [...] → [...]."""
        single = self.single and _held(self.value, dtype)
        return Interval(self.value, self.lower, self.upper, dtype, single=single)

    def within(self, least: float, most: float) -> Interval:
        """These numbers, clamped to bounds that only rounding takes them out of."""
        return self._rearranged(lambda part: np.clip(part, least, most))

    def placed(self, shape: tuple[int, ...], index: Index) -> Interval:
        """These numbers at an index of an array of a shape, with zeros elsewhere."""

        def move(part: Floats) -> Floats:
            whole: Floats = np.zeros(shape, part.dtype)
            whole[index] = part
            return whole

        return self._rearranged(move)

    def with_slope(self, result: Interval, derivative: Callable[[], Interval]) -> Interval:  # noqa: ARG002
        """A function's value of these numbers, computed as constants.

        derivative: returns the derivative of the value by each of these numbers; called only if a gradient is asked
        for.
        """
        return result

    def constant(self) -> Interval:
        """These numbers as constants, which have no gradient."""
        return self

    @classmethod
    def of_ways(cls, ways: Sequence[Interval]) -> Interval:
        """The `hull` of several right ways to evaluate a formula."""
        first = ways[0]
        if all(way.single and (way.value == first.value).all() for way in ways):
            return first
        lower, upper = np.min([way.lower for way in ways], axis=0), np.max([way.upper for way in ways], axis=0)
        return Interval(first.value, np.asarray(lower), np.asarray(upper), first.dtype)

    def sum(self, axis: int | None = None) -> Interval:
        """The sum over an axis (or all), widened for any order of summation."""
        terms = self.value.size if axis is None else self.value.shape[axis]
        magnitude = np.maximum(np.abs(self.lower), np.abs(self.upper)).sum(axis=axis)
        slack = summation_growth(terms) * SPACING[self.dtype] * magnitude
        return Interval(
            np.asarray(self.value.sum(axis=axis)),
            np.asarray(self.lower.sum(axis=axis) - slack),
            np.asarray(self.upper.sum(axis=axis) + slack),
            self.dtype,
        )

    def max(self, axis: int | None = None, keepdims: bool = False) -> Interval:
        """The largest along an axis; exact, as comparisons are."""
        return self._rearranged(lambda part: part.max(axis=axis, keepdims=keepdims))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Operand, **options: object) -> object:
        if method != "__call__" or options or ufunc not in OPERATIONS:
            return NotImplemented
        dtype = finest(inputs)
        operands = [in_dtype(operand, dtype) for operand in inputs]
        with np.errstate(all="ignore"):
            return OPERATIONS[ufunc](*operands)

    def __array_function__(
        self,
        function: ArrayFunction,
        types: Sequence[type],
        args: Sequence[object],
        options: Mapping[str, object],
    ) -> object:
        return rearranged(function, args, options) if function in REARRANGEMENTS else NotImplemented


def rearranged(function: ArrayFunction, args: Sequence[object], options: Mapping[str, object]) -> Interval:
    """The result of one of `REARRANGEMENTS` for arguments of which some are intervals."""

    def part(name: str) -> Floats:
        def pick(given: object) -> object:
            if isinstance(given, Interval):
                return getattr(given, name)
            return type(given)(map(pick, given)) if isinstance(given, (list, tuple)) else given

        return np.asarray(function(*map(pick, args), **options))

    items = list(intervals_in(args))
    value, dtype = part("value"), finest(items)
    if all(item.is_point for item in items):
        single = all(item.single for item in items) and _held(value, dtype)
        return Interval(value, value, value, dtype, single=single)
    return Interval(value, part("lower"), part("upper"), dtype)


def intervals_in(given: object) -> Iterator[Interval]:
    """The intervals among arguments, in lists and tuples too."""
    if isinstance(given, Interval):
        yield given
    elif isinstance(given, (list, tuple)):
        for item in given:
            yield from intervals_in(item)


def finest(given: Iterable[object]) -> str:
    """The dtype of an operation: the finest of its intervals' dtypes, as in frameworks."""
    dtypes = {item.dtype for item in given if isinstance(item, Interval)}
    return dtypes.pop() if len(dtypes) == 1 else min(dtypes, key=SPACING.__getitem__)


def in_dtype(operand: Operand, dtype: str) -> Interval:
    """An operand of an operation in `dtype`, to which an interval of a coarser one is widened exactly."""
    if not isinstance(operand, Interval):
        return _known_constant(operand, dtype) if isinstance(operand, float) else _constant(operand, dtype)
    return operand if operand.dtype == dtype else operand.in_dtype(dtype)


REARRANGEMENTS: set[object] = {
    np.broadcast_to,
    np.concatenate,
    np.expand_dims,
    np.moveaxis,
    np.reshape,
    np.stack,
    np.take_along_axis,
    np.transpose,
    np.where,
}


def lift(numbers: ArrayLike, dtype: str) -> Interval:
    """`numbers` as intervals that evaluate in `dtype`; each is a single point, because inputs are known exactly."""
    if dtype not in DTYPES:
        raise InvalidValue(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    wide = np.asarray(numbers, dtype=np.float64)
    return Interval(wide, wide, wide, dtype, single=_held(wide, dtype))


def _constant(number: Floats | float, dtype: str) -> Interval:
    """A constant of a formula, which an implementation may hold in its dtype: widened where that rounds it."""
    wide = np.asarray(number, dtype=np.float64)
    return _single(wide, dtype) if _held(wide, dtype) else _widened(wide, wide, wide, dtype)


_known_constant = lru_cache(maxsize=1024)(_constant)
"""The same of single numbers, the few of which formulas have again and again."""


def _held(numbers: Floats, dtype: str) -> bool:
    """Whether `dtype` holds every number exactly, with no more digits than can be checked in float64."""
    narrow = _EXACT_DIGITS if dtype in ("float64", "float32") else dtype
    return bool((round_to(numbers, narrow) == numbers).all())


def _single(numbers: Floats, dtype: str) -> Interval:
    return Interval(numbers, numbers, numbers, dtype, single=True)


def _widened(value: Floats, lower: Floats, upper: Floats, dtype: str) -> Interval:
    spacing, smallest = SPACING[dtype], SMALLEST[dtype]
    below = lower - spacing * np.abs(lower) - smallest
    above = upper + spacing * np.abs(upper) + smallest
    if dtype != "float64":  # whose own overflow is infinite already
        most = 2 * LARGEST[dtype]
        below, above = np.where(below <= -most, -np.inf, below), np.where(above >= most, np.inf, above)
    return Interval(value, np.asarray(below), np.asarray(above), dtype)


def _add(a: Interval, b: Interval) -> Interval:
    value = np.asarray(a.value + b.value)
    if a.single and b.single and _held(value, a.dtype):
        return _single(value, a.dtype)
    return _widened(value, a.lower + b.lower, a.upper + b.upper, a.dtype)


def _negative(a: Interval) -> Interval:
    return _single(-a.value, a.dtype) if a.single else Interval(-a.value, -a.upper, -a.lower, a.dtype)


def _subtract(a: Interval, b: Interval) -> Interval:
    return _add(a, _negative(b))


def _extremes(function: Callable[[Floats, Floats], ArrayLike], a: Interval, b: Interval) -> tuple[Floats, Floats]:
    """The least and greatest of a function at the ends of two ranges; 0 × ∞ is left out, as such a range has 0 too.

    Where nothing else is left, as for 0 times an unbounded range, the result is unbounded.
    """
    found = [function(one, other) for one in _ends(a) for other in _ends(b)]
    # These leave out NaN.
    return np.fmax(reduce(np.fmin, found), -np.inf), np.fmin(reduce(np.fmax, found), np.inf)


def _ends(numbers: Interval) -> tuple[Floats, ...]:
    """Both ends of the ranges, or one where they are single numbers."""
    return (numbers.value,) if numbers.is_point else (numbers.lower, numbers.upper)


def _multiply(a: Interval, b: Interval) -> Interval:
    value = np.asarray(a.value * b.value)
    if a.single and b.single and _held(value, a.dtype):
        return _single(value, a.dtype)
    return _widened(value, *_extremes(np.multiply, a, b), a.dtype)


def _divide(a: Interval, b: Interval) -> Interval:
    lower, upper = _extremes(np.divide, a, b)
    across_zero = (b.lower <= 0) & (b.upper >= 0)
    return _widened(
        np.asarray(a.value / b.value),
        np.where(across_zero, -np.inf, lower),
        np.where(across_zero, np.inf, upper),
        a.dtype,
    )


def _absolute(a: Interval) -> Interval:
    if a.single:
        return _single(np.abs(a.value), a.dtype)
    ends = np.abs(a.lower), np.abs(a.upper)
    lower = np.where((a.lower <= 0) & (a.upper >= 0), 0.0, np.minimum(*ends))
    return Interval(np.abs(a.value), lower, np.maximum(*ends), a.dtype)


def _power(a: Interval, exponent: Interval) -> Interval:
    """Powers of non-negative numbers, which are extreme at ends of the ranges of the base and of the exponent."""
    value = np.power(np.maximum(a.value, 0.0), exponent.value)
    return _widened(np.asarray(value), *_extremes(np.power, a.within(0.0, np.inf), exponent), a.dtype)


def _increasing(function: Callable[[Floats], ArrayLike], domain: float = -np.inf) -> Callable[[Interval], Interval]:
    def apply(a: Interval) -> Interval:
        parts = [np.asarray(function(np.maximum(part, domain))) for part in (a.value, a.lower, a.upper)]
        return _widened(parts[0], parts[1], parts[2], a.dtype)

    return apply


def _exact(function: Callable[[Floats, Floats], ArrayLike]) -> Callable[[Interval, Interval], Interval]:
    def apply(a: Interval, b: Interval) -> Interval:
        value = np.asarray(function(a.value, b.value))
        if a.single and b.single:
            return _single(value, a.dtype)
        ends = [np.asarray(function(*pair)) for pair in ((a.lower, b.lower), (a.upper, b.upper))]
        return Interval(value, ends[0], ends[1], a.dtype)

    return apply


OPERATIONS: dict[np.ufunc, Callable[[Interval], Interval] | Callable[[Interval, Interval], Interval]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.divide: _divide,
    np.negative: _negative,
    np.absolute: _absolute,
    np.power: _power,
    np.exp: _increasing(np.exp),
    np.log: _increasing(np.log, 0.0),
    np.log1p: _increasing(np.log1p, -1.0),
    np.arctan: _increasing(np.arctan),
    np.minimum: _exact(np.minimum),
    np.maximum: _exact(np.maximum),
}


def solver_allowance(largest_cost: float, matched: int, dtype: str) -> float:
    """How far, per matched pair, rounding inside a solver that works in `dtype` may move the costs it sees.

    A dual price is a sum of at most 2k differences of costs for k matched pairs, each rounded, so an entry's
    reduced cost is off by at most (2k + 3) roundings of the largest magnitude.
    """
    return (2 * matched + 3) * SPACING[dtype] * largest_cost
