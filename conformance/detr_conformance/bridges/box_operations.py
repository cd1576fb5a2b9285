"""Box operations from functions by their names, in any framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from detr_conformance.base.errors import UsageError, close_names
from detr_spec.configuration import Configuration
from detr_spec.implementation import BoxOperations


def box_operations(
    functions: Mapping[str, Callable[..., Any]], operation: Callable[[str, Callable[..., Any], Configuration], Any]
) -> Callable[[Configuration], BoxOperations]:
    """What builds box operations from functions by their names, each made by `operation`.

    Raises `UsageError` for a name that is none, or what cannot be called.
    """
    names = [field.name for field in fields(BoxOperations)]
    for name, function in functions.items():
        if name not in names:
            raise UsageError(f"{name!r} is no box operation{close_names(name, names)}; expected {', '.join(names)}")
        if not callable(function):
            raise UsageError(f"boxes[{name!r}] is {type(function).__name__}; expected a function")
    return lambda configuration: BoxOperations(
        **{name: operation(name, function, configuration) for name, function in functions.items()}
    )
