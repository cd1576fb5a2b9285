"""The outcomes of a check other than holding, as exceptions, and the comparisons that raise them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from detr_spec.tolerance import Interval


class Violation(AssertionError):
    """An invariant does not hold for a case: what was expected, what came instead, and how far apart they may be."""

    def __init__(
        self, message: str, *, expected: object = None, got: object = None, allowance: object = None, **details: object
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.got = got
        self.allowance = allowance
        self.details: Mapping[str, object] = details


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

    def __reduce__(self) -> tuple[object, ...]:
        return Raised, (RuntimeError(str(self)),)


class RankFailure(Exception):
    """A rank of a distributed call did not answer in bounded time, or died; the message says which and how."""


def premise(condition: bool, reason: str) -> None:
    """Ends the check of a case to which the invariant does not apply; these cases are counted, and are no evidence."""
    if not condition:
        raise PremiseFailed(reason)


def require(condition: bool, message: str, **numbers: object) -> None:
    """Raises `Violation` with the message and numbers unless the condition is true."""
    if not condition:
        raise Violation(message, **numbers)


def require_equal(message: str, got: object, expected: object) -> None:
    """Raises `Violation` with the message unless the two are equal."""
    require(got == expected, message, expected=expected, got=got)


def require_shape(what: str, got: ArrayLike, shape: tuple[int, ...]) -> None:
    """Raises `Violation` unless an array has exactly that shape."""
    actual = np.shape(got)
    require(actual == shape, f"{what} has shape {list(actual)}", expected=list(shape), got=list(actual))


def require_within(what: str, got: ArrayLike, expected: Interval, **details: object) -> None:
    """Raises `Violation`, with the details, unless every number lies in the range in which a right evaluation lies.

    The message names the number that lies farthest outside, and how many do. NaN is never inside, and farthest.
    """
    numbers = np.asarray(got, dtype=np.float64)
    require_shape(what, numbers, expected.shape)
    with np.errstate(invalid="ignore"):
        inside = (numbers >= expected.lower) & (numbers <= expected.upper)
        beyond = np.fmax(expected.lower - numbers, numbers - expected.upper)
    if not np.all(inside):
        where = _farthest(beyond, inside)
        value = float(expected.value[where])
        raise Violation(
            f"{what}{_place(where)} differs from its definition{_among(inside)}",
            expected=value,
            got=float(numbers[where]),
            allowance=(float(expected.lower[where] - value), float(expected.upper[where] - value)),
            **details,
        )


def require_close(what: str, got: ArrayLike, expected: ArrayLike, allowance: ArrayLike) -> None:
    """Raises `Violation` unless |got − expected| ≤ allowance for every number; for two answers of one implementation.

    Equal non-finite numbers agree, and NaN agrees with NaN: that both answers are wrong is another invariant's matter.
    The message names the number that has changed most, beyond what it may, and how many have.
    """
    left, right = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    require_shape(what, left, right.shape)
    margin = np.broadcast_to(np.asarray(allowance, dtype=np.float64), right.shape)
    with np.errstate(invalid="ignore"):
        distance = np.abs(left - right)
        agree = (distance <= margin) | (left == right) | (np.isnan(left) & np.isnan(right))
        beyond = distance - margin
    if not np.all(agree):
        where = _farthest(beyond, agree)
        raise Violation(
            f"{what}{_place(where)} changed{_among(agree)}",
            expected=float(right[where]),
            got=float(left[where]),
            allowance=float(margin[where]),
        )


def _farthest(beyond: ArrayLike, right: ArrayLike) -> tuple[int, ...]:
    """Where, among the numbers that are not right, one is farthest beyond its bound; NaN is farther than any."""
    distance = np.where(right, -np.inf, np.nan_to_num(beyond, nan=np.inf, posinf=np.inf, neginf=-np.inf))
    return tuple(int(index) for index in np.unravel_index(np.argmax(distance), distance.shape))


def _place(where: tuple[int, ...]) -> str:
    return str(list(where)) if where else ""


FARTHEST = ", the farthest of"
"""How a message goes on that names one of several numbers."""

_NUMBERS = re.compile(r"\[[-+\d\s.,e]*\]|[-+]?\d[\d.]*(?:e[-+]?\d+)?")
_REPEATED = re.compile(r"(\b[\w-]+)(?:, \1)+(?!\w)")


def without_numbers(message: str) -> str:
    """A message without its numbers, their count, and the index of the farthest."""
    said = _NUMBERS.sub("", message.partition(FARTHEST)[0])
    return _REPEATED.sub(r"\1", said)


def _among(right: ArrayLike) -> str:
    """How many numbers are not right, where there are several: the one that is named is the farthest of them."""
    count = int(np.size(right))
    wrong = count - int(np.sum(right))
    return f"{FARTHEST} {wrong} such numbers among {count}" if wrong > 1 else ""
