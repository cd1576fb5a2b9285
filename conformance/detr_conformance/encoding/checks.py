"""Checks of plain data; wrong data raises the error of its place, such as `UsageError` for a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from detr_conformance.base.errors import close_names
from detr_conformance.base.text import cut
from detr_spec.values import InvalidValue


class Place(Protocol):
    """Where data was found, for error messages."""

    def within(self, *parts: str | int) -> Any:
        """The place of a part."""

    def wrong(self, *, found: str, expected: str) -> Exception:
        """The error that says what is found here, and what is expected."""

    def refused(self, error: InvalidValue) -> Exception:
        """The error that says why what is found here is no value of its kind."""


def shown(data: Any) -> str:
    """Plain data for an error: cut where it is long; an object or a list is only named."""
    if isinstance(data, (dict, list)):
        return f"{'an object' if isinstance(data, dict) else 'a list'} of {len(data)}"
    return cut(ascii(data), 60)


def table(data: Any, place: Place) -> Mapping[str, Any]:
    """`data` if it is an object; raises what the place says otherwise."""
    if not isinstance(data, dict):
        raise place.wrong(found=shown(data), expected="an object")
    return data


def record(data: Any, place: Place, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, Any]:
    """`data` if it is an object with these fields; raises what the place says for a missing and for an unknown one."""
    given, known = table(data, place), (*required, *optional)
    expected = f"the fields {', '.join(known)}" if known else "no fields"
    for name in required:
        if name not in given:
            raise place.wrong(found=f"an object without the field {name!r}", expected=expected)
    for name in given:
        if name not in known:
            raise place.wrong(
                found=f"an object with the field {shown(name)}{close_names(name, known)}", expected=expected
            )
    return given


def items(data: Any, place: Place) -> list[Any]:
    """`data` if it is a list; raises what the place says otherwise."""
    if not isinstance(data, list):
        raise place.wrong(found=shown(data), expected="a list")
    return data


def text(data: Any, place: Place) -> str:
    """`data` if it is a string; raises what the place says otherwise."""
    if not isinstance(data, str):
        raise place.wrong(found=shown(data), expected="a string")
    return data


def boolean(data: Any, place: Place) -> bool:
    """`data` if it is true or false; raises what the place says otherwise."""
    if not isinstance(data, bool):
        raise place.wrong(found=shown(data), expected="true or false")
    return data


def integer(data: Any, place: Place) -> int:
    """A JSON number without fraction as an int64; raises what the place says for anything else."""
    if isinstance(data, bool) or not (isinstance(data, int) or (isinstance(data, float) and data.is_integer())):
        raise place.wrong(found=shown(data), expected="an integer")
    if not -(2**63) <= data < 2**63:
        raise place.wrong(found="a number beyond those of int64", expected="an int64")
    return int(data)


def choice(data: Any, known: Sequence[str], place: Place) -> str:
    """`data` if it is one of the known strings; raises what the place says otherwise."""
    name = text(data, place)
    if name not in known:
        raise place.wrong(found=f"{shown(name)}{close_names(name, known)}", expected=f"one of {', '.join(known)}")
    return name
