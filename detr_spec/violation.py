"""What a check can end with besides holding, as exceptions, and the comparisons that raise them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from detr_spec.tolerance import Interval


class Violation(AssertionError):
    """An invariant does not hold for a case: what was expected, what came instead, and how far apart they may be."""

    def __init__(
        self, message: str, *, expected: Any = None, got: Any = None, allowance: Any = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.got = got
        self.allowance = allowance
        self.details: Mapping[str, Any] = details


class NotProvided(Exception):
    """The implementation lacks the part that an invariant is about."""


class PremiseFailed(Exception):
    """The case does not meet the premise of the invariant, which therefore says nothing about it."""


class Raised(Exception):
    """The implementation raised where it should answer. `error` is what it raised."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        """The type and the text, if it has one; what others raise may raise again when it is asked."""
        try:
            return f"{type(self.error).__name__}: {self.error}"
        except Exception:
            return type(self.error).__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return Raised, (RuntimeError(str(self)),)


class RankFailure(Exception):
    """A rank of a distributed call did not answer in bounded time, or died; the message says which and how."""


def premise(condition: bool, reason: str) -> None:
    """Ends the check of a case to which the invariant does not apply; such cases are counted, and are no evidence."""
    if not condition:
        raise PremiseFailed(reason)


def require(condition: bool, message: str, **numbers: Any) -> None:
    """Raises `Violation` with the message and numbers unless the condition is true."""
    if not condition:
        raise Violation(message, **numbers)


def require_shape(what: str, got: ArrayLike, shape: tuple[int, ...]) -> None:
    """Raises `Violation` unless an array has exactly that shape."""
    actual = np.shape(got)
    require(actual == shape, f"{what} has shape {list(actual)}", expected=list(shape), got=list(actual))


def require_within(what: str, got: ArrayLike, expected: Interval) -> None:
    """Raises `Violation` unless every number lies in the range in which a right evaluation lies.

    The message names the first number outside. NaN is never inside.
    """
    numbers = np.asarray(got, dtype=np.float64)
    require_shape(what, numbers, expected.shape)
    with np.errstate(invalid="ignore"):
        outside = np.argwhere(~((numbers >= expected.lower) & (numbers <= expected.upper)))
    if len(outside):
        where = tuple(int(index) for index in outside[0])
        value = float(expected.value[where])
        place = str(list(where)) if where else ""
        raise Violation(
            f"{what}{place} differs from its definition",
            expected=value,
            got=float(numbers[where]),
            allowance=(float(expected.lower[where] - value), float(expected.upper[where] - value)),
        )


def require_close(what: str, got: ArrayLike, expected: ArrayLike, allowance: ArrayLike) -> None:
    """Raises `Violation` unless |got − expected| ≤ allowance for every number; for two answers of one implementation.

    Equal non-finite numbers agree, and NaN agrees with NaN: that both answers are wrong is another invariant's matter.
    """
    left, right = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    require_shape(what, left, right.shape)
    margin = np.broadcast_to(np.asarray(allowance, dtype=np.float64), right.shape)
    with np.errstate(invalid="ignore"):
        agree = (np.abs(left - right) <= margin) | (left == right) | (np.isnan(left) & np.isnan(right))
    apart = np.argwhere(~agree)
    if len(apart):
        where = tuple(int(index) for index in apart[0])
        place = str(list(where)) if where else ""
        raise Violation(
            f"{what}{place} changed",
            expected=float(right[where]),
            got=float(left[where]),
            allowance=float(margin[where]),
        )
