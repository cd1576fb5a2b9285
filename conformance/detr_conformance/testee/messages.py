"""Values in messages to testees and back, as docs/testee.md has them: arrays are their bytes in base64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from detr_conformance.encoding.checks import Place, shown
from detr_conformance.encoding.decoder import AnswerDecoder
from detr_conformance.encoding.encoder import Encoder
from detr_conformance.encoding.reports import plain
from detr_conformance.testee.detr_testee import Malformed, decode_array, encode_array, encode_number
from detr_spec.values import InvalidValue
from detr_spec.violation import Violation

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Part:
    """Where something stands in a message."""

    name: str

    def within(self, *parts: str | int) -> Part:
        """The place of a part."""
        name = self.name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
        return replace(self, name=name.removeprefix("."))

    def wrong(self, *, found: str, expected: str) -> Exception:
        """What breaks the protocol."""
        return Malformed(f"{self.name} is {found}; expected {expected}")

    def refused(self, error: InvalidValue) -> Exception:
        """What is no value of its kind."""
        return Malformed(f"{self.name}: {error}")


class AnswerPart(Part):
    """Where something stands in an answer."""

    def refused(self, error: InvalidValue) -> Exception:
        """What keeps to the protocol, and violates what is asked of every answer."""
        return Violation(f"{self.name}: {error}")


class _Messages(Encoder, AnswerDecoder):
    def encoded_number(self, number: float) -> float | str:
        encoded: float | str = encode_number(number)
        return encoded

    def encoded_array(self, array: NDArray[Any]) -> dict[str, Any]:
        return encode_array(array)

    def decoded_number(self, data: Any, place: Place) -> float:
        if isinstance(data, str) and data in NON_FINITE:
            return NON_FINITE[data]
        if isinstance(data, bool) or not isinstance(data, (int, float)) or not abs(data) < 2**1024:
            expected = f"a number of float64, or one of the strings {', '.join(NON_FINITE)}"
            raise place.wrong(found=shown(data), expected=expected)
        return float(data)

    def decoded_array(self, data: Any, place: Any) -> NDArray[Any]:
        return decode_array(data, place.name)


MESSAGES = _Messages()
"""The encoding of what a testee is told and answers."""


@dataclass(frozen=True)
class Told:
    """What a message says that has nothing but a text."""

    text: str


@dataclass(frozen=True)
class Violated:
    """A violation that was found where the implementation is."""

    text: str
    expected: Any = None
    got: Any = None
    allowance: Any = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(violation: Violation) -> Violated:
        """What a message says of a violation; its numbers as a report has them."""
        numbers = (plain(getattr(violation, name)) for name in ("expected", "got", "allowance", "details"))
        return Violated(violation.message, *numbers)

    @property
    def violation(self) -> Violation:
        """The violation that the message says."""
        violation = Violation(self.text, expected=self.expected, got=self.got, allowance=self.allowance)
        violation.details = self.details
        return violation


@dataclass(frozen=True)
class RaisedThere:
    """What an implementation raised where it is: the name of the type, the text, the traceback."""

    type: str
    text: str
    traceback: str = ""

    @property
    def error(self) -> Exception:
        """An exception of a type of that name, with that text."""
        kind = type(self.type if self.type.isprintable() else "Exception", (Exception,), {})
        error: Exception = kind(self.text)
        return error
