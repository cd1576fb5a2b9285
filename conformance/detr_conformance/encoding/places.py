"""Places in a file: where something is, so that an error can say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from detr_conformance.base.errors import UsageError
from detr_spec.values import InvalidValue


@dataclass(frozen=True)
class Place:
    """A place in a document: the file, with a line where it has several documents, and the path inside."""

    file: str
    path: tuple[str | int, ...] = ()

    def within(self, *parts: str | int) -> Place:
        """The place of a part."""
        return Place(self.file, (*self.path, *parts))

    def __str__(self) -> str:
        path = "/".join(map(str, self.path))
        return f"{self.file}, at /{path}" if path else self.file

    def wrong(self, *, found: str, expected: str) -> UsageError:
        """The error that says what is found here, and what is expected."""
        return UsageError(f"{self}: found {found}; expected {expected}")

    def refused(self, error: InvalidValue) -> UsageError:
        """The error that says why what is found here is no value of its kind."""
        return UsageError(f"{self}: {error}")


def leaves(
    value: Any, seen_as: Callable[[Any], Any] = lambda value: value, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """What a value holds that has no parts itself, with its path inside. seen_as: what stands for a value anywhere."""
    value = seen_as(value)
    if is_dataclass(value):
        parts: Any = [(field.name, getattr(value, field.name)) for field in fields(value)]
    elif isinstance(value, Mapping):
        parts = sorted(value.items())
    elif isinstance(value, tuple):
        parts = enumerate(value)
    else:
        yield path, value
        return
    for name, part in parts:
        yield from leaves(part, seen_as, (*path, name))
