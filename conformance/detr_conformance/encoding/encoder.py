"""Values as plain data, by their types: a dataclass is an object of its fields, a tuple a list."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Any, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from detr_spec.hints import array_type, field_types, is_mapping, is_part, is_record, item_types, optional_type


class Encoder(ABC):
    """Writes values of declared types for JSON; encoders differ in how they write numbers and arrays."""

    @abstractmethod
    def encoded_number(self, number: float) -> Any:
        """A number."""

    @abstractmethod
    def encoded_array(self, array: NDArray[Any]) -> Any:
        """An array."""

    def is_written(self, field: Field[Any], value: Any) -> bool:  # noqa: ARG002
        """Whether a field that has this value is written."""
        return True

    def entries(self, table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        """The entries of a dictionary in the order in which they are written."""
        return table.items()

    def encoded(self, value: Any, hint: Any) -> Any:
        """A value of the type `hint`."""
        optional = optional_type(hint)
        if optional is not None:
            return None if value is None else self.encoded(value, optional)
        if is_part(hint):
            return {"name": value.name, **self.encoded_fields(value, type(value))}
        if is_record(hint):
            return self.encoded_fields(value, hint)
        if array_type(hint) is not None:
            return self.encoded_array(np.asarray(value))
        if is_mapping(hint):
            return {key: self.encoded(item, get_args(hint)[1]) for key, item in self.entries(value)}
        if get_origin(hint) is frozenset:
            return sorted(value)
        if item_types(hint, 0) is not None:
            kinds = item_types(hint, len(value)) or ()
            return [self.encoded(item, kind) for item, kind in zip(value, kinds, strict=True)]
        return self.encoded_number(value) if hint is float else hint(value) if hint in (int, bool, str) else value

    def encoded_fields(self, value: Any, kind: Any, without: Sequence[str] = ()) -> dict[str, Any]:
        """The fields of a dataclass."""
        given = [(field, getattr(value, field.name)) for field in fields(get_origin(kind) or kind)]
        return {
            field.name: self.encoded(item, field_types(kind)[field.name])
            for field, item in given
            if field.name not in without and self.is_written(field, item)
        }
