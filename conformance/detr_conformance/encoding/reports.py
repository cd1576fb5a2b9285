"""Values in reports, for people and programs that look at them: arrays are lists of lists, a profile is its name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_conformance.encoding.encoder import Encoder
from detr_spec.profile import Profile

HUGE = 10**300
"""Integers from here on are written as text, as readers of JSON need not know any."""


class _Reports(Encoder):
    def encoded_number(self, number: Any) -> float | str:
        return float(number) if math.isfinite(number) else str(float(number))

    def encoded_array(self, array: NDArray[Any]) -> Any:
        return self.encoded(array.tolist(), Any)

    def encoded(self, value: Any, hint: Any) -> Any:
        """A value of the type `hint`, or, where that is `Any`, of the type that it has."""
        if hint is Profile:
            return value.name
        return super().encoded(value, hint) if hint is not Any else self._untyped(value)

    def _untyped(self, value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return self.encoded(value, type(value))
        if isinstance(value, Mapping):
            return {str(key): self._untyped(item) for key, item in value.items()}
        if isinstance(value, np.ndarray):
            return self.encoded_array(value)
        if isinstance(value, (float, np.floating)):
            return self.encoded_number(value)
        if isinstance(value, (set, frozenset)):
            return sorted(map(self._untyped, value), key=json.dumps)
        if isinstance(value, (list, tuple)):
            return [self._untyped(item) for item in value]
        item = value.item() if isinstance(value, np.generic) else value
        is_plain = item is None or isinstance(item, str) or (isinstance(item, int) and abs(item) < HUGE)
        return item if is_plain else _shown(item)


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"a {type(value).__name__}"


_REPORTS = _Reports()


def plain(value: Any) -> Any:
    """`value` in lists, dictionaries, strings and numbers alone, as JSON holds them; non-finite numbers as strings.

    A profile is given by its name, and what is none of these by its `repr`.
    """
    return _REPORTS.encoded(value, Any)
