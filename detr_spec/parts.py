"""The parts of a profile: values with a name, numbers of their own, and laws that invariants ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import ClassVar, NoReturn, TypeVar

from detr_spec.declarations import require_number
from detr_spec.parameters import is_held_by_all, parameter
from detr_spec.values import InvalidValue

Kind = TypeVar("Kind", bound="Part")

TRAITS = ("activation", "drawn", "laws")
"""What is asked of a part beside its numbers, where it is not known itself."""

EMPTY: Mapping[str, object] = {}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a profile, whose fields are its numbers: a dialect's, a case's, or the ranges of these.

    name: its name among the parts of its kind, also in files. activation: the activation of logits that it needs,
    "softmax" with a no-object class or "sigmoid" without; None where it takes either. drawn: the values that cases draw
    for a number that they vary. laws: what is true of it beyond its formula. Raises `InvalidValue` for a number that is
    negative or not finite.
    """

    name: ClassVar[str]
    activation: ClassVar[str | None] = None
    drawn: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    laws: ClassVar[frozenset[str]] = frozenset()
    is_stand_in: ClassVar[bool] = False
    """Whether it stands for a part of that name that is not known in this process."""

    def __reduce__(self) -> tuple[object, ...]:
        kind = next(base for base in type(self).__mro__ if "name" not in vars(base))
        traits = {name: getattr(self, name) for name in TRAITS}
        return named_part, (kind, self.name, self.numbers, traits)

    def __post_init__(self) -> None:
        for name, number in self.numbers.items():
            if isinstance(number, (int, float)):
                require_number(f"{name} of {self.name}", number)

    def __str__(self) -> str:
        numbers = ", ".join(f"{name}={number:g}" for name, number in self.numbers.items())
        return f"{self.name}({numbers})" if numbers else self.name

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def held(self: Kind, dtype: str) -> Kind:
        """The same with the range in which a right implementation may hold each number, for calls of a dtype."""
        rounded = {name: number for name, number in self.numbers.items() if not is_held_by_all(number)}
        if not rounded:
            return self
        return replace(self, **{name: parameter(number, dtype) for name, number in rounded.items()})

    def exact(self: Kind) -> Kind:
        """The same, with each number that cases vary and dtypes round replaced by the nearest power of 2."""
        numbers = self.numbers
        rounded = {name: numbers[name] for name in self.drawn if not is_held_by_all(numbers[name])}
        if not rounded:
            return self
        return replace(self, **{name: _nearest_power(number) for name, number in rounded.items()})


def _nearest_power(number: float) -> float:
    below = 2.0 ** math.floor(math.log2(number))
    return below if number - below <= 2 * below - number else 2 * below


def known_parts(kind: type[Kind]) -> dict[str, type[Kind]]:
    """All parts of a kind that have a name, by name: those of this package, and those imported from elsewhere."""
    found: dict[str, type[Kind]] = {}
    waiting = list(kind.__subclasses__())
    while waiting:
        part = waiting.pop(0)
        waiting += part.__subclasses__()
        if "name" in vars(part) and not part.is_stand_in:
            found[part.name] = part
    return found


def named_part(kind: type[Kind], name: str, numbers: Mapping[str, float], traits: Mapping[str, object] = EMPTY) -> Kind:
    """The part of a kind with that name and these numbers; numbers that are not given have its defaults.

    A part that has not been imported in this process is represented by a stand-in with its name, numbers and traits,
    but without a formula. Raises `InvalidValue` for numbers that the part does not have.
    """
    part = known_parts(kind).get(name)
    if part is None:
        own = {number: (float, field(default=value)) for number, value in numbers.items()}
        part = make_dataclass(
            name,
            [(number, *how) for number, how in own.items()],
            bases=(kind,),
            namespace={"name": name, "is_stand_in": True, "value": _unknown, **traits},
            frozen=True,
            kw_only=True,
        )
    others = numbers.keys() - {item.name for item in fields(part)}
    if others:
        raise InvalidValue(f"{name} has no number called {min(others)!r}; its numbers are {', '.join(part().numbers)}")
    return part(**numbers)


def _unknown(part: Part, *_: object) -> NoReturn:
    raise InvalidValue(f"{part.name!r} is not known here; import the file that defines it")
