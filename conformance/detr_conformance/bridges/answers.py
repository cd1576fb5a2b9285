"""Reading what an implementation returned in any framework: pairs of indices, dictionaries, wrong types by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_spec.values import Matching
from detr_spec.violation import Violation

ToNumpy = Callable[[Any], NDArray[Any]]


def describe(value: Any) -> str:
    """A short description of a wrong answer, for a message: its type, and its length or shape."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {list(shape)}"
    return f"{type(value).__name__} of length {len(value)}" if hasattr(value, "__len__") else type(value).__name__


def wrong_type(what: str, got: Any, expected: str) -> Violation:
    """The violation that says that an answer is not of the expected form."""
    return Violation(f"{what} returned {describe(got)}", expected=expected, got=describe(got))


def sequence(what: str, answer: Any, expected: str, length: int) -> Sequence[Any]:
    """`answer` if it is a list or tuple of that length; raises `Violation` otherwise."""
    if not isinstance(answer, (list, tuple)) or len(answer) != length:
        raise wrong_type(what, answer, f"{expected}, {length} of them")
    return answer


def matching(what: str, answer: Any, to_numpy: ToNumpy) -> Matching:
    """One image's matching from a pair of index vectors; raises `Violation` for anything else."""
    expected = "a pair (row or query indices, column or target indices) of vectors of one length"
    if not isinstance(answer, (list, tuple)) or len(answer) != 2:
        raise wrong_type(what, answer, expected)
    try:
        first, second = (to_numpy(part) for part in answer)
    except Exception as error:
        raise wrong_type(what, answer, expected) from error
    if first.ndim != 1 or first.shape != second.shape:
        raise Violation(
            f"{what} returned index vectors of shapes {list(first.shape)} and {list(second.shape)}",
            expected=expected,
            got=[list(first.shape), list(second.shape)],
        )
    return Matching(first, second)


def mapping(what: str, answer: Any, expected: str) -> Mapping[str, Any]:
    """`answer` if it is a dictionary; raises `Violation` otherwise."""
    if not isinstance(answer, Mapping):
        raise wrong_type(what, answer, expected)
    return answer


def entry(what: str, answer: Any, key: str) -> Any:
    """`answer[key]` of a dictionary; raises `Violation` where it is no dictionary or lacks the key."""
    entries = mapping(what, answer, f"a dictionary with key {key!r}")
    if key not in entries:
        raise Violation(f"{what} returned no key {key!r}", expected=key, got=sorted(map(str, entries)))
    return entries[key]


def same(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether two arrays hold the same values, NaN being the same as NaN."""
    return first.shape == second.shape and bool(np.array_equal(first, second, equal_nan=first.dtype.kind == "f"))
