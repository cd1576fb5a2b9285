"""Whether expected values in a file are those of the norm, as it is now: a vector of another norm says nothing.

Where several matchings are optimal, another machine may come to another one of them, with other losses: there, only
what is the same for all of them is compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from detr_conformance.encoding.places import Place, leaves
from detr_conformance.vectors.vector import Expected, LayerExpected, Optimum

RELATIVE = 1e-9
"""How far apart, in proportion, definitions may be that were evaluated on two machines: their libraries of
mathematical functions differ in the last bits, and differences cancel some more."""

ABSOLUTE = 1e-12


def require_current(given: Expected, defined: Expected, place: Place) -> None:
    """Raises `UsageError` with the place of the first expected value that is not the norm's."""
    found, norm = (dict(leaves(value, _without_choices)) for value in (given, defined))
    for path in norm | found:
        if not _agree(found.get(path), norm.get(path)):
            raise place.within("expected", *path).wrong(
                found=_told(found.get(path)),
                expected=f"{_told(norm.get(path))}, as the norm says; export the vector anew",
            )


def _without_choices(value: Any) -> Any:
    """A value without what follows from the choice of one among several optimal matchings."""
    if isinstance(value, Optimum) and not value.unique:
        none = np.zeros(0, dtype=np.int64)
        return replace(value, queries=none, targets=none)
    if isinstance(value, LayerExpected) and not all(optimum.unique for optimum in value.optima):
        return replace(value, losses={}, logits_gradient=None, boxes_gradient=None)
    return value


def _agree(found: Any, expected: Any) -> bool:
    if type(found) is not type(expected) or np.shape(found) != np.shape(expected):
        return False
    if isinstance(found, (float, np.ndarray)):
        return bool(np.allclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True))
    return bool(found == expected)


def _told(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
