"""What the functions of each component take and answer, by their types in `detr_spec.implementation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin

from detr_conformance.encoding.checks import Place
from detr_conformance.encoding.decoder import Decoder
from detr_conformance.encoding.encoder import Encoder
from detr_conformance.testee.messages import MESSAGES, AnswerPart, Part
from detr_spec.hints import field_types, is_function, optional_type
from detr_spec.implementation import component_type
from detr_spec.values import Answer

_MESSAGE = AnswerPart("")

ALONE = "call"
"""The name of the function of a component that is one."""


@dataclass(frozen=True)
class Signature:
    """The types of a function's arguments and of its answer, and whether its component must have it."""

    arguments: tuple[Any, ...]
    answer: Any
    required: bool

    @property
    def is_observed(self) -> bool:
        """Whether something is seen beside the answer's value."""
        return get_origin(self.answer) is Answer

    def encoded_arguments(self, arguments: Sequence[Any], encoder: Encoder = MESSAGES) -> list[Any]:
        """Arguments, for a message, or as another encoder writes them."""
        return [encoder.encoded(value, hint) for value, hint in zip(arguments, self.arguments, strict=True)]

    def decoded_arguments(self, data: Sequence[Any]) -> list[Any]:
        """The arguments that a message has; raises `Malformed`."""
        parts = enumerate(zip(self.arguments, data, strict=True))
        return [MESSAGES.decoded(hint, item, Part(f"arguments[{number}]")) for number, (hint, item) in parts]

    def encoded_answer(self, answer: Any) -> dict[str, Any]:
        """An answer as the fields of a message."""
        encoded = MESSAGES.encoded(answer, self.answer)
        return encoded if self.is_observed else {"value": encoded}

    def decoded_answer(self, data: Mapping[str, Any], place: Place = _MESSAGE, decoder: Decoder = MESSAGES) -> Any:
        """The answer that the fields of a message are, or those that another decoder reads at a place.

        Raises `Malformed`, or what the place says, and `Violation` for an answer of wrong shapes.
        """
        if self.is_observed:
            return decoder.decoded(self.answer, data, place)
        return decoder.decoded(self.answer, data["value"], place.within("value"))


def _built(component: str) -> Any:
    _, built = get_args(component_type(component))
    return built


@cache
def signatures(component: str) -> Mapping[str, Signature]:
    """The functions that a component may have, by name."""
    built = _built(component)
    types = {ALONE: built} if is_function(built) else field_types(built)

    def signature(hint: Any) -> Signature:
        arguments, answer = get_args(optional_type(hint) or hint)
        return Signature(tuple(arguments), answer, optional_type(hint) is None)

    return {name: signature(hint) for name, hint in types.items()}


def functions_of(component: str, built: Any) -> dict[str, Callable[..., Any]]:
    """The functions that a component has, by name."""
    if is_function(_built(component)):
        return {ALONE: built}
    return {name: getattr(built, name) for name in signatures(component) if getattr(built, name) is not None}


def component_of(component: str, functions: Mapping[str, Callable[..., Any]]) -> Any:
    """The component that has these functions."""
    built = _built(component)
    return functions[ALONE] if is_function(built) else built(**functions)
