"""What is asked of methods: whether a subclass has its own, and that they stay out of compiled graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def overrides(instance: object, base: type, *names: str) -> bool:
    """Return whether the class of the instance defines any of the named methods otherwise than the base does."""
    return any(getattr(type(instance), name) is not getattr(base, name) for name in names)


def uncompiled(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return the method such that `torch.compile` breaks the graph at its call and runs it as it is.

    Targets change their number with every batch, and the assignment is no tensor program. `torch.compiler.disable` as a
    decorator would do the same, but import the compiler for everyone, which takes longer than to import torch.
    """

    @wraps(method)
    def call(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        if torch.compiler.is_compiling():
            result: Result = torch.compiler.disable(method)(*arguments, **named)  # type: ignore[no-untyped-call]
            return result
        return method(*arguments, **named)

    return call
