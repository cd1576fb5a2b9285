"""Values of `detr_spec` as plain data, and back: by the fields of their dataclasses, and nothing else.

A dataclass is an object of its fields, a tuple a list, an array what `numbers` says. A field that may be None is left
out where it is, if that is its default.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from detr_conformance.errors import UsageError
from detr_conformance.vectors.numbers import (
    decoded_array,
    decoded_float,
    decoded_integer,
    encoded_array,
    encoded_float,
)
from detr_conformance.vectors.places import Place
from detr_spec.values import InvalidValue


@cache
def field_types(kind: Any) -> Mapping[str, Any]:
    """The type of each field of a dataclass."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def default_of(field: Field[Any]) -> Any:
    """A field's default, `MISSING` where it has none."""
    return field.default_factory() if field.default_factory is not MISSING else field.default


def optional_type(hint: Any) -> Any | None:
    """What a field may be beside None; None for one that may not be None."""
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    (rest,) = (part for part in get_args(hint) if part is not type(None))
    return rest


def encoded(value: Any, hint: Any) -> Any:
    """A value of the type `hint` as plain data."""
    optional = optional_type(hint)
    if optional is not None:
        return None if value is None else encoded(value, optional)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return encoded_fields(value, hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is np.ndarray:
        return encoded_array(np.asarray(value))
    if origin is tuple:
        return [encoded(item, part) for item, part in zip(value, item_types(arguments, len(value)), strict=True)]
    if origin is Literal:
        return value
    if origin is not None and issubclass(origin, Mapping):
        return {key: encoded(item, arguments[1]) for key, item in sorted(value.items())}
    return _SCALARS[hint](value)


_SCALARS: dict[Any, Callable[[Any], Any]] = {float: encoded_float, int: int, bool: bool, str: str}


def encoded_fields(value: Any, kind: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a dataclass as plain data."""
    data = {}
    for field in fields(kind):
        item = getattr(value, field.name)
        if field.name not in without and not (item is None and default_of(field) is None):
            data[field.name] = encoded(item, field_types(kind)[field.name])
    return data


def item_types(arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The type of each of `count` items of a tuple type with these arguments."""
    return (arguments[0],) * count if arguments[-1] is Ellipsis else arguments


def decoded(hint: Any, data: Any, place: Place) -> Any:
    """The value of the type `hint` that `encoded` wrote, from data that its schema allows.

    Raises `UsageError` with the place where the parts of a value do not fit each other.
    """
    optional = optional_type(hint)
    if optional is not None:
        return None if data is None else decoded(optional, data, place)
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return decoded_fields(hint, data, place)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is np.ndarray:
        return decoded_array(data, place)
    if origin is tuple:
        parts = zip(data, item_types(arguments, len(data)), strict=True)
        return tuple(decoded(part, item, place.within(number)) for number, (item, part) in enumerate(parts))
    if origin is not None and origin is not Literal and issubclass(origin, Mapping):
        return {key: decoded(arguments[1], item, place.within(key)) for key, item in data.items()}
    if hint is float:
        return decoded_float(data, place)
    return decoded_integer(data, place) if hint is int else data


def decoded_fields(kind: Any, data: Mapping[str, Any], place: Place, **others: Any) -> Any:
    """A dataclass from its fields as plain data, and others as they are."""
    hints = field_types(kind)
    given = {name: decoded(hints[name], item, place.within(name)) for name, item in data.items()}
    try:
        return kind(**given, **others)
    except InvalidValue as error:
        raise UsageError(f"{place}: {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise place.wrong(found="parts that do not fit each other", expected=f"those of a {kind.__name__}") from error
