"""Values from plain data, by their types; data of another form raises the error of its place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, get_args, get_origin

from numpy.typing import NDArray

from detr_conformance.encoding.checks import Place, boolean, choice, integer, items, record, table, text
from detr_spec.hints import (
    array_type,
    default_of,
    field_types,
    is_mapping,
    is_part,
    is_record,
    item_types,
    optional_type,
)
from detr_spec.parts import Part, named_part
from detr_spec.values import Answer, InvalidValue, Observation, Outputs, Target


class Decoder(ABC):
    """Reads the values that an `Encoder` wrote."""

    @abstractmethod
    def decoded_number(self, data: Any, place: Place) -> float:
        """A number."""

    @abstractmethod
    def decoded_array(self, data: Any, place: Place) -> NDArray[Any]:
        """An array, of whatever dtype and shape."""

    def absent(self, field: Field[Any], kind: type) -> Any:  # noqa: ARG002
        """What a field of a kind of dataclass is where it is not written, `MISSING` where it has to be."""
        return default_of(field)

    def decoded(self, hint: Any, data: Any, place: Place, base: Any = None) -> Any:
        """The value of the type `hint` that data stands for.

        base: a dataclass with the values of fields that are not written.
        """
        optional = optional_type(hint)
        if optional is not None:
            return None if data is None else self.decoded(optional, data, place, base)
        if is_part(hint):
            return self._decoded_part(hint, data, place)
        if is_record(hint):
            return self.decoded_fields(hint, data, place, base)
        if array_type(hint) is not None:
            return self.decoded_array(data, place)
        if is_mapping(hint):
            entries = table(data, place).items()
            return {key: self.decoded(get_args(hint)[1], item, place.within(key)) for key, item in entries}
        if item_types(hint, 0) is not None:
            return self._decoded_items(hint, data, place)
        if hint is Any:
            return data
        if isinstance(hint, type) and issubclass(hint, Enum):
            return hint(choice(data, [member.value for member in hint], place))
        if hint is float:
            return self.decoded_number(data, place)
        return _SCALARS[hint](data, place) if hint in _SCALARS else choice(data, get_args(hint), place)

    def _decoded_part(self, kind: type[Part], data: Any, place: Place) -> Any:
        """A part of a profile, by its name and its numbers; those that are not written are its own."""
        given = dict(table(data, place))
        name = text(given.pop("name", None), place.within("name"))
        numbers = {key: self.decoded_number(number, place.within(key)) for key, number in given.items()}
        try:
            return named_part(kind, name, numbers)
        except InvalidValue as error:
            raise place.refused(error) from error

    def _decoded_items(self, hint: Any, data: Any, place: Place) -> Any:
        kinds = item_types(hint, len(items(data, place))) or ()
        if len(kinds) != len(data):
            raise place.wrong(found=f"a list of {len(data)}", expected=f"a list of {len(kinds)}")
        pairs = enumerate(zip(kinds, data, strict=True))
        values = (self.decoded(kind, item, place.within(number)) for number, (kind, item) in pairs)
        return frozenset(values) if get_origin(hint) is frozenset else tuple(values)

    def decoded_fields(self, kind: Any, data: Any, place: Place, base: Any = None, **others: Any) -> Any:
        """A dataclass from its fields, and others as they are."""
        plain, types = get_origin(kind) or kind, field_types(kind)
        own = [field for field in fields(plain) if field.name not in others]
        absent = {field.name: self.absent(field, plain) if base is None else getattr(base, field.name) for field in own}
        required = [name for name, value in absent.items() if value is MISSING]
        given = record(data, place, required, [name for name in absent if name not in required])
        written = {
            name: self.decoded(types[name], item, place.within(name), None if base is None else absent[name])
            for name, item in given.items()
        }
        try:
            return plain(**{**absent, **written, **others})
        except InvalidValue as error:
            raise place.refused(error) from error
        except (ValueError, TypeError, IndexError) as error:
            raise place.wrong(found="parts that do not fit each other", expected=f"a {plain.__name__}") from error


_SCALARS: dict[Any, Any] = {int: integer, bool: boolean, str: text}


class AnswerDecoder(Decoder):
    """Reads what somebody answers: what is left out was not seen, and is not promised."""

    def absent(self, field: Field[Any], kind: type) -> Any:
        """What a field is that is left out, where that is not its default."""
        return _ABSENT.get((kind, field.name), super().absent(field, kind))


_ABSENT: Mapping[tuple[type, str], Any] = {
    (Answer, "observation"): Observation(mutated=None),
    (Observation, "mutated"): None,
    (Outputs, "broken"): True,
    (Target, "broken"): True,
}
"""What fields are that an answer leaves out, where that is not their default: nothing was seen, nothing is promised."""
