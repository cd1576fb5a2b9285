"""What an implementation was called with that is not the case itself: an invariant may break, permute or scale it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np

from detr_conformance.encoding.plain_data import plain_data
from detr_conformance.judging.search import Component, search_case
from detr_conformance.testee.ended import Ended
from detr_spec.cases import Case
from detr_spec.configuration import Configuration
from detr_spec.deciding import deciding_numbers
from detr_spec.implementation import with_functions
from detr_spec.invariant import Invariant
from detr_spec.values import FeatureMap, Outputs, Target

LAST = 50
"""How many of the last calls are looked at."""


class _Calls:
    """The last calls of the components that it watches: what each was built with, which part it is, the arguments."""

    def __init__(self) -> None:
        self.calls: deque[tuple[Configuration, str | None, tuple[Any, ...]]] = deque(maxlen=LAST)

    def watched(self, build: Component) -> Component:
        """The factory, whose components' calls are noted."""

        def build_watched(configuration: Configuration) -> Any:
            return with_functions(build(configuration), partial(self._noted, configuration))

        return build_watched

    def _noted(self, configuration: Configuration, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append((configuration, part or None, arguments))
            return function(*arguments)

        return call


def numbers_built_with(invariant: Invariant, configuration: Configuration) -> Mapping[str, float]:
    """The numbers that decide what an invariant sees of a component that is built with a configuration."""
    return deciding_numbers(invariant.component, configuration, weighted=invariant.number == "C16")


def other_call(invariant: Invariant, component: Component, case: Case) -> Mapping[str, Any] | None:
    """What the last call that was not the case itself was given, where it differs from the case, in plain data.

    "function" is the part of the component that was called, where it has parts, and "case_too" whether another call was
    given the case itself. The check is run once more, as its failure says nothing of its calls. None where every call
    was the case, or where the check does not fail again.
    """
    calls = _Calls()
    with contextlib.suppress(Ended):
        if search_case(invariant, calls.watched(component), case).failure is None:
            return None
    drawn = {field.name: plain_data(getattr(case, field.name)) for field in fields(case)}
    built = numbers_built_with(invariant, case.configuration)
    found: dict[str, Any] | None = None
    case_too = False
    for configuration, part, arguments in reversed(calls.calls):
        others = numbers_built_with(invariant, configuration)
        changed = {name: value for name, value in others.items() if value != built.get(name)}
        parts = {name: plain_data(value) for name, value in _named(arguments, drawn).items()}
        different = {name: value for name, value in parts.items() if not _is_drawn(name, value, drawn)}
        case_too |= not changed and not different
        if found is None and (changed or different):
            found = {"built_with": changed, "function": part, **different}
    return found and {**found, "case_too": case_too}


def _is_drawn(name: str, value: Any, drawn: Mapping[str, Any]) -> bool:
    """Whether a part of a call is that of the case, or one of its cost matrices."""
    if name == "costs" and len(value) == 1:
        return value[0] in drawn["costs"]
    return bool(value == drawn.get(name))


def _named(arguments: Sequence[Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names of the parts of a case that they stand for."""
    arrays = [name for name in ("first", "second", "hidden", "sizes") if name in drawn]
    named: dict[str, Any] = {}
    for value in arguments:
        if isinstance(value, Outputs):
            named["outputs"] = value
        elif isinstance(value, FeatureMap):
            named["features"] = value
        elif isinstance(value, np.ndarray) and "costs" in drawn:
            named["costs"] = (value,)
        elif isinstance(value, np.ndarray) and arrays:
            named[arrays.pop(0)] = value
        elif isinstance(value, (tuple, list)):
            named[_name_of_items(value, drawn)] = value
    return named


def _name_of_items(items: Sequence[Any], drawn: Mapping[str, Any]) -> str:
    if "targets" in drawn and all(isinstance(item, Target) for item in items):
        return "targets"
    return next(name for name in ("batches", "costs", "images", "targets") if name in drawn)
