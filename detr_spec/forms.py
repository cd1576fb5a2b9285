"""Checks an implementation's arguments and answers against the declared types.

Values are converted to their types: arrays of the declared dtype that nobody else can change, tuples, floats. An answer
of another form is a violation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache, partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal, get_args, get_origin

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.hints import (
    array_type,
    field_types,
    is_function,
    is_mapping,
    is_record,
    item_types,
    optional_type,
    record_type,
)
from detr_spec.values import AnyNumbers, Outputs, Target
from detr_spec.violation import NotProvided, Raised, RankFailure, Violation

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Sizes = dict[str, int]
"""The lengths of dimensions, by the letters that the shapes of one value have for them."""


def described(value: object) -> str:
    """A value in a few words: its type, and its dtype and shape, or its length."""
    name = type(value).__name__
    try:
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            return f"{name} of {str(value.dtype).removeprefix('torch.')} and shape {list(value.shape)}"
        return f"{name} of length {len(value)}" if hasattr(value, "__len__") else name
    except Exception:
        return name


@dataclass(frozen=True)
class Where:
    """Which part of the answer of which function, for a message: "matcher", "[0].queries"."""

    function: str
    part: str = ""

    def within(self, part: str) -> Where:
        """A part of this one."""
        return Where(self.function, self.part + part)

    def wrong(self, value: object, expected: str) -> Violation:
        """The violation that says what this part is, and what was expected."""
        part = self.part.removeprefix(".")
        what = f"{self.function} answered {described(value)}{part and f' as {part}'}"
        return Violation(what, expected=expected, got=described(value))


class _Wrong(Exception):
    """A value, or the part of one that lies at `part`, is not of the expected form."""

    def __init__(self, value: object, expected: str) -> None:
        super().__init__(expected)
        self.value, self.expected, self.part = value, expected, ""


Function = Callable[..., object]

Form = Callable[[object, Where, Sizes], object]
"""Gives a value as its type says, or raises `_Wrong`. The sizes are those of the value that it is a part of."""


def formed(value: object, hint: object, where: Where) -> object:
    """`value` converted to its type; raises `Violation` if it has another form.

    A function, or a component with several, is returned with its arguments and answers checked against its type; what
    it raises is raised as `Raised`.
    """
    return _in_form(_form(hint), value, where)


def _in_form(form: Form, value: object, where: Where) -> object:
    try:
        return form(value, where, {})
    except _Wrong as wrong:
        raise where.within(wrong.part).wrong(wrong.value, wrong.expected) from wrong.__cause__


CHECKED_WHEN_MADE = (Configuration, Outputs, Target)
"""Types of arguments that refuse and convert what they are made of; what an implementation answers may be forged."""


@cache
def _argument(hint: object) -> Form:
    return partial(_instance, hint) if hint in CHECKED_WHEN_MADE else _form(hint)


@cache
def _form(hint: object) -> Form:
    optional, array = optional_type(hint), array_type(hint)
    if optional is not None:
        some = _form(optional)
        return lambda value, where, sizes: None if value is None else some(value, where, sizes)
    if array is not None:
        return partial(_array, *array)
    if is_function(hint):
        return partial(_function, *get_args(hint))
    if is_record(hint):
        return partial(_record, hint, record_type(hint))
    if is_mapping(hint):
        return partial(_mapping, _form(get_args(hint)[1]))
    if item_types(hint, 0) is None:
        return _scalar_form(hint)
    if get_origin(hint) is tuple and Ellipsis not in get_args(hint):
        return partial(_tuple, tuple(map(_form, get_args(hint))))
    return partial(_set if get_origin(hint) is frozenset else _sequence, _form(get_args(hint)[0]))


def _function(
    takes: Sequence[object], gives: object, function: object, where: Where, _: Sizes
) -> Callable[..., object]:
    if not callable(function):
        raise _Wrong(function, "a function")
    where = Where(where.function + where.part)

    def call(*arguments: object) -> object:
        try:
            given = [_in_form(_argument(kind), value, where) for value, kind in zip(arguments, takes, strict=True)]
        except Violation as error:
            raise TypeError(f"{where.function} is asked with {error.got}; expected {error.expected}") from error
        try:
            answer = function(*given)
        except (Violation, NotProvided, Raised, RankFailure):
            raise
        except Exception as error:
            raise Raised(error) from error
        return formed(answer, gives, where)

    return call


@cache
def _field_forms(kind: object) -> Sequence[tuple[str, str, bool, Form]]:
    """The name of each field of a dataclass, how messages name it, whether it is a function, and its form."""
    return [
        (name, "" if name == "value" else f".{name}", is_function(optional_type(hint) or hint), _form(hint))
        for name, hint in field_types(kind).items()
    ]


def _record(hint: object, kind: type[DataclassInstance], value: object, where: Where, _: Sizes) -> object:
    if not isinstance(value, kind):
        raise _Wrong(value, f"a value of type {kind.__name__}")
    sizes: Sizes = {}
    changed: dict[str, object] = {}
    for name, place, named, form in _field_forms(hint):
        given = getattr(value, name)
        try:
            part = form(given, where.within(place) if named else where, sizes)
        except _Wrong as wrong:
            wrong.part = place + wrong.part
            raise
        if part is not given:
            changed[name] = part
    return replace(value, **changed) if changed else value


def _mapping(form: Form, value: object, where: Where, _: Sizes) -> dict[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _Wrong(value, "a dictionary by strings")
    return {key: _part(form, item, where, {}, repr(key)) for key, item in value.items()}


def _tuple(forms: tuple[Form, ...], value: object, where: Where, _: Sizes) -> object:
    """A tuple with a form for each item, whose arrays have lengths in common."""
    items = _listed(value)
    if len(items) != len(forms):
        raise _Wrong(value, f"a tuple of {len(forms)}")
    sizes: Sizes = {}
    return tuple(
        _part(form, item, where, sizes, place) for place, (form, item) in enumerate(zip(forms, items, strict=True))
    )


def _sequence(form: Form, value: object, where: Where, _: Sizes) -> object:
    """A tuple of any length, with one form for all items."""
    return tuple(_part(form, item, where, {}, place) for place, item in enumerate(_listed(value)))


def _listed(value: object) -> list[object] | tuple[object, ...]:
    if not isinstance(value, (list, tuple)):
        raise _Wrong(value, "a tuple")
    return value


def _set(form: Form, value: object, where: Where, _: Sizes) -> object:
    if not isinstance(value, (list, tuple, Set)):
        raise _Wrong(value, "a set")
    return frozenset(_part(form, item, where, {}, place) for place, item in enumerate(value))


def _part(form: Form, value: object, where: Where, sizes: Sizes, place: object) -> object:
    try:
        return form(value, where, sizes)
    except _Wrong as wrong:
        wrong.part = f"[{place}]{wrong.part}"
        raise


_KINDS: dict[type[np.generic] | None, tuple[str, str]] = {
    np.float64: ("biuf", "numbers"),
    np.int64: ("iu", "integers"),
    np.integer: ("biu", "integers"),
    np.bool_: ("b", "bool"),
    None: ("biuf", "numbers"),
}
"""The kinds of dtypes that stand for a declared one, and what they are in words."""

MOST_NUMBERS = 2**22
"""The most numbers of an array, which no right answer to a case comes near; an array need not hold what it repeats."""


def _array(scalar: type[np.generic] | None, shape: str, value: object, _: Where, sizes: Sizes) -> AnyNumbers:
    kinds, words = _KINDS[scalar]
    expected = f"{words} of shape {shape}" if shape else words
    try:
        array = np.asarray(value)
    except Exception as error:
        raise _Wrong(value, expected) from error
    if array.dtype.kind not in (kinds if array.size else "biuf"):
        raise _Wrong(value, expected)
    if shape and not _fits(array.shape, shape, sizes):
        known = ", ".join(f"{letter} = {length}" for letter, length in sizes.items() if letter in shape)
        raise _Wrong(value, f"{expected}, {known}" if known else expected)
    if array.size > MOST_NUMBERS:
        raise _Wrong(value, f"{expected}, and at most {MOST_NUMBERS} of them")
    return _own(array, array.dtype if scalar in (None, np.integer) else np.dtype(scalar))


def _fits(lengths: tuple[int, ...], shape: str, sizes: Sizes) -> bool:
    """Whether dimensions are those of a shape such as "[n, 4]"; the lengths of new letters are added to `sizes`."""
    dimensions = _dimensions(shape)
    return len(dimensions) == len(lengths) and all(
        length == (known if isinstance(known, int) else sizes.setdefault(known, length))
        for known, length in zip(dimensions, lengths, strict=True)
    )


@cache
def _dimensions(shape: str) -> tuple[int | str, ...]:
    """The lengths of a shape such as "[n, 4]", letters where they are any."""
    return tuple(int(name) if name.isdigit() else name for name in shape.strip("[]").split(", "))


def _own(array: AnyNumbers, dtype: np.dtype[np.generic]) -> AnyNumbers:
    """The array in C order and native bytes, at most 64 bits wide, that nobody else can change."""
    dtype = np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")
    flags = array.flags
    if array.dtype == dtype and flags.owndata and flags.c_contiguous and not flags.writeable:
        return array
    with np.errstate(over="ignore"):
        own = np.array(array, dtype=dtype, order="C")
    own.setflags(write=False)
    return own


def _scalar_form(hint: object) -> Form:
    if get_origin(hint) is Literal:
        return partial(_choice, hint, get_args(hint))
    numbers: dict[object, Form] = {float: _float, int: _integer}
    return numbers.get(hint) or partial(_instance, hint)


def _plain(value: object) -> object:
    """A number as Python's own; anything else as it is."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0 else value


def _float(value: object, _: Where, __: Sizes) -> float:
    """A number, with one NaN for all."""
    value = _plain(value)
    if not isinstance(value, Real):
        raise _Wrong(value, _WORDS[float])
    try:
        number = float(value)
    except OverflowError as error:
        raise _Wrong(value, "a number that float64 holds") from error
    return math.nan if math.isnan(number) else number


def _integer(value: object, _: Where, __: Sizes) -> int:
    value = _plain(value)
    if not isinstance(value, Integral) or isinstance(value, bool) or not -(2**63) <= int(value) < 2**63:
        raise _Wrong(value, _WORDS[int])
    return int(value)


def _choice(hint: object, known: Sequence[object], value: object, _: Where, __: Sizes) -> object:
    value = _plain(value)
    if value not in known:
        raise _Wrong(value, str(hint))
    return value


def _instance(hint: object, value: object, _: Where, __: Sizes) -> object:
    value = _plain(value)
    if not (isinstance(hint, type) and isinstance(value, hint)):
        raise _Wrong(value, _WORDS.get(hint, str(hint)))
    return value


_WORDS: dict[object, str] = {float: "a number", int: "an integer of 64 bits", bool: "true or false", str: "text"}
