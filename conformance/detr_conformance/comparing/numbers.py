"""The numbers of a value by their places in it, and the value with some of them changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from detr_spec.values import AnyNumbers

Change = Callable[[AnyNumbers], AnyNumbers]


def numbers_of(value: Any, place: str = "") -> Iterator[tuple[str, AnyNumbers]]:
    """Each array or number of a value, as an array, with its place, such as `[0].queries` or `.values.loss_ce`."""
    if isinstance(value, np.ndarray):
        yield place, value
    elif isinstance(value, (bool, int, float)):
        yield place, np.asarray(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from numbers_of(item, f"{place}.{key}")
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from numbers_of(item, f"{place}[{index}]")
    elif is_dataclass(value):
        for field in fields(value):
            yield from numbers_of(getattr(value, field.name), f"{place}.{field.name}")


def part_of(place: str) -> str:
    """What a place is called, whichever layer or image it is of: `loss_ce`, `loss_ce_i`, `queries`, `layers.logits`."""
    name = re.sub(r"\[\d+\]", "", place).replace(".values.", ".").strip(".") or "answer"
    return re.sub(r"\d+$", "i", name)


def with_part(value: Any, part: str, change: Change, place: str = "") -> Any:
    """The value with all numbers of a part changed."""
    if isinstance(value, (np.ndarray, bool, int, float)):
        if part_of(place) != part:
            return value
        changed = change(np.asarray(value))
        return changed if isinstance(value, np.ndarray) else changed.item()
    if isinstance(value, Mapping):
        return {key: with_part(item, part, change, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(with_part(item, part, change, f"{place}[{index}]") for index, item in enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        changes = {name: with_part(item, part, change, f"{place}.{name}") for name, item in own.items()}
        return replace(value, **{name: item for name, item in changes.items() if item is not own[name]})
    return value


def digest(value: Any) -> bytes:
    """What tells a value from others by its numbers and their places."""
    found = hashlib.sha256()
    for place, numbers in numbers_of(value):
        found.update(f"{place} {numbers.dtype} {numbers.shape}".encode())
        found.update(np.ascontiguousarray(numbers).tobytes())
    return found.digest()


def size_of(value: Any) -> int:
    """How many numbers a value has."""
    return sum(numbers.size for _, numbers in numbers_of(value))
