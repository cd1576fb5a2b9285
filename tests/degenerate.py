"""Implementations that raise, answer nothing, or always answer the same: nearly no law may hold for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.implementation import COMPONENTS, Implementation, around
from detr_spec.values import Answer, LayerGradient, Losses, LossGradients, Outputs

Call = Callable[..., Any]
Respond = Callable[[Call, tuple[Any, ...]], Any]
"""What is answered, given the right call and the arguments."""


def degenerate(right: Implementation, respond: Respond) -> Implementation:
    """The implementation with every call answered another way; its components are built as they are."""

    def change(call: Call) -> Call:
        def answer(*arguments: Any) -> Any:
            builds = bool(arguments) and isinstance(arguments[0], Configuration)
            return call(*arguments) if builds else respond(call, arguments)

        return answer

    provided = {name: getattr(right, name) for name in COMPONENTS if getattr(right, name) is not None}
    return replace(right, **{name: around(factory, change) for name, factory in provided.items()})


def boldly(right: Implementation) -> Implementation:
    """The implementation, but where it raises it answers what it last answered, or is what was last built."""
    last: dict[str, Any] = {}

    def change(call: Call) -> Call:
        def answer(*arguments: Any) -> Any:
            kind = type(arguments[0]).__name__ if arguments else ""
            try:
                last[kind] = call(*arguments)
            except Exception:
                if kind not in last:
                    raise
            return last[kind]

        return answer

    provided = {name: getattr(right, name) for name in COMPONENTS if getattr(right, name) is not None}
    return replace(right, **{name: around(factory, change) for name, factory in provided.items()})


def raising(_: Call, __: tuple[Any, ...]) -> Any:
    """Raises whatever it is asked."""
    raise KeyError("nothing works")


def raising_from_then_on() -> Respond:
    """Raises in every call but the first."""
    calls: list[None] = []

    def respond(call: Call, arguments: tuple[Any, ...]) -> Any:
        calls.append(None)
        return call(*arguments) if len(calls) == 1 else raising(call, arguments)

    return respond


def alike() -> Respond:
    """Gives its first answer for ever."""
    first: dict[type, Any] = {}

    def respond(call: Call, arguments: tuple[Any, ...]) -> Any:
        answer = call(*arguments)
        return first.setdefault(type(getattr(answer, "value", answer)), answer)

    return respond


def altering(alter: Callable[[Any], Any]) -> Respond:
    """Alters every right answer."""

    def respond(call: Call, arguments: tuple[Any, ...]) -> Any:
        answer = call(*arguments)
        return replace(answer, value=alter(answer.value)) if isinstance(answer, Answer) else alter(answer)

    return respond


def filled(number: float) -> Callable[[Any], Any]:
    """Every number becomes this one; a criterion's matchings and weights stay."""

    def fill(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            kept = value.dtype if value.dtype.kind == "f" or np.isfinite(number) else np.float64
            return np.full(value.shape, number).astype(kept)
        if isinstance(value, Losses):
            return replace(value, values=fill(value.values))
        if isinstance(value, Mapping):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(fill(item) for item in value)
        if isinstance(value, Outputs):
            value = replace(value, broken=True)
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{part.name: fill(getattr(value, part.name)) for part in fields(value)})
        return float(number) if isinstance(value, float) else value

    return fill


def emptied(value: Any) -> Any:
    """Arrays of length 0, no losses, and gradients of nothing."""
    if isinstance(value, np.ndarray):
        return value[:0]
    if isinstance(value, Losses):
        return replace(value, values={})
    if isinstance(value, LayerGradient):
        return LayerGradient(None, None)
    if isinstance(value, tuple):
        return tuple(emptied(item) for item in value)
    if isinstance(value, Outputs):
        return value.take(images=[])
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: emptied(getattr(value, part.name)) for part in fields(value)})
    return value


def detached(value: Any) -> Any:
    """Right losses that no prediction is connected to."""
    if isinstance(value, LayerGradient):
        return LayerGradient(None, None)
    if isinstance(value, tuple):
        return tuple(detached(item) for item in value)
    if isinstance(value, LossGradients):
        apart = {part: detached(getattr(value, part)) for part in ("layers", *value.apart)}
        return replace(value, **apart)
    return value
