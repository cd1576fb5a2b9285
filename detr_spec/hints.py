"""Reading type annotations: the types of fields, items and functions, and the shapes of arrays."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeGuard, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from detr_spec.parts import Part

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@cache
def field_types(kind: object) -> Mapping[str, object]:
    """The type of each field of a dataclass, which may be generic, as `Answer[Losses]`; `Any` for missing arguments."""
    plain = record_type(kind)
    hints = get_type_hints(plain, include_extras=True)
    parameters = getattr(plain, "__parameters__", ())
    arguments = dict(zip(parameters, get_args(kind) or (Any,) * len(parameters), strict=True))
    return {field.name: arguments.get(hints[field.name], hints[field.name]) for field in fields(plain)}


def record_type(kind: object) -> type[DataclassInstance]:
    """The dataclass of a type, which may be generic."""
    return cast("type[DataclassInstance]", get_origin(kind) or kind)


def default_of(field: Field[object]) -> object:
    """A field's default, `MISSING` where it has none."""
    return field.default_factory() if field.default_factory is not MISSING else field.default


def optional_type(hint: object) -> object:
    """The type of an optional value when it is not None; None for a type that is not optional.

    Raises `TypeError` for any other choice of types.
    """
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    rest = [part for part in get_args(hint) if part is not type(None)]
    if len(rest) != 1:
        raise TypeError(f"{hint} is a choice of types; expected one type, or one and None")
    return rest[0]


def is_record(hint: object) -> bool:
    """Whether a type is a dataclass, generic or not, but not a part of a profile, which is encoded by its name."""
    return is_dataclass(record_type(hint)) and not is_part(hint)


def is_part(hint: object) -> TypeGuard[type[Part]]:
    """Whether a type is a part of a profile."""
    return isinstance(hint, type) and issubclass(hint, Part)


def is_function(hint: object) -> bool:
    """Whether a type is one of functions."""
    return get_origin(hint) is Callable


def is_mapping(hint: object) -> bool:
    """Whether a type is one of dictionaries."""
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def array_type(hint: object) -> tuple[type[np.generic] | None, str] | None:
    """The scalar type of an array's dtype, None for any, and its shape, "" for any; None for what is no array."""
    shape = ""
    if get_origin(hint) is Annotated:
        hint, shape = get_args(hint)
    if get_origin(hint) is not np.ndarray:
        return None
    (scalar,) = get_args(get_args(hint)[1])
    return None if scalar is Any else get_origin(scalar) or scalar, shape


def item_types(hint: object, count: int) -> tuple[object, ...] | None:
    """The type of each item of a tuple or sequence of `count`; None for what is neither."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return arguments
    return (arguments[0],) * count if origin in (tuple, frozenset, Sequence) else None
