"""Whether expected values in a file are those of the norm, as it is now: a vector of another norm says nothing.

Where several matchings are optimal, another machine may come to another one of them, with other losses: there, only
what is the same for all of them is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from detr_conformance.encoding.places import Place
from detr_conformance.vectors.vector import Expected, LayerExpected, Optimum

RELATIVE = 1e-9
"""How far apart, in proportion, definitions may be that were evaluated on two machines: their libraries of
mathematical functions differ in the last bits, and differences cancel some more."""

ABSOLUTE = 1e-12


def require_current(given: Expected, defined: Expected, place: Place) -> None:
    """Raises `UsageError` with the place of the first expected value that is not the norm's."""
    for path, found, expected in _pairs(given, defined, ("expected",)):
        if not _agree(found, expected):
            raise place.within(*path).wrong(
                found=_told(found), expected=f"{_told(expected)}, as the norm says; export the vector anew"
            )


def _pairs(given: Any, defined: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """The parts of two values that hold the same things, with their places; what differs in kind comes as a whole."""
    given, defined = _without_choices(given), _without_choices(defined)
    if is_dataclass(given) and type(given) is type(defined):
        for field in fields(given):
            yield from _pairs(getattr(given, field.name), getattr(defined, field.name), (*path, field.name))
    elif isinstance(given, Mapping) and isinstance(defined, Mapping) and set(given) == set(defined):
        for name in sorted(given):
            yield from _pairs(given[name], defined[name], (*path, name))
    elif isinstance(given, tuple) and isinstance(defined, tuple) and len(given) == len(defined):
        for number, (first, second) in enumerate(zip(given, defined, strict=True)):
            yield from _pairs(first, second, (*path, number))
    else:
        yield path, given, defined


def _without_choices(value: Any) -> Any:
    """A value without what follows from the choice of one among several optimal matchings."""
    if isinstance(value, Optimum) and not value.unique:
        none = np.zeros(0, dtype=np.int64)
        return replace(value, queries=none, targets=none)
    if isinstance(value, LayerExpected) and not all(optimum.unique for optimum in value.optima):
        return replace(value, losses={}, logits_gradient=None, boxes_gradient=None)
    return value


def _agree(found: Any, expected: Any) -> bool:
    if isinstance(found, np.ndarray) and isinstance(expected, np.ndarray):
        if found.shape != expected.shape:
            return False
        return bool(np.allclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True))
    if isinstance(found, float) and isinstance(expected, float):
        return bool(np.isclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True))
    return type(found) is type(expected) and found == expected


def _told(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        value = sorted(value)
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
