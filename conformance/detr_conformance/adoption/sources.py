"""The objects that a project's adapter can name: the one that is given, and what lies beside it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from detr_conformance.base.errors import UsageError
from detr_conformance.implementations.resolve import object_at

BESIDE = ("match", "post", "box", "criterion", "loss")
"""What the names of modules hold that are looked into beside the given object's own."""


@dataclass(frozen=True)
class Source:
    """An object, and the module and name by which Python code refers to it."""

    module: str
    name: str
    value: Any

    @property
    def expression(self) -> str:
        """How code refers to it, once the module is imported."""
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def last_name(self) -> str:
        """Its own name, without the classes that it is in."""
        return self.name.rpartition(".")[2]


def source_of(value: Any) -> Source | None:
    """Where a class or function can be imported from; None where it cannot, such as one made in a function."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return Source(module, name, value) if found is value else None


def members(module: ModuleType) -> Iterator[Source]:
    """The public classes and functions in a module's namespace, each named by where it is defined.

    Its own classes come first, then its own functions, then what it imports, each in their order.
    """
    public = [(name, value) for name, value in vars(module).items() if not name.startswith("_")]
    found = [pair for pair in public if inspect.isclass(pair[1]) or inspect.isfunction(pair[1])]
    found.sort(key=lambda pair: (not is_own(pair[1], module.__name__), not inspect.isclass(pair[1])))
    for name, value in found:
        yield source_of(value) or Source(module.__name__, name, value)


def is_own(value: Any, module: str) -> bool:
    """Whether a class or function is defined in a module, or, where that is a package, in one of its modules."""
    home = f"{getattr(value, '__module__', '')}."
    return home.startswith(f"{module}.")


def beside(module_name: str) -> Iterator[Source]:
    """The members of a module, then those of the modules of its package whose names say that they may be of use."""
    module = importlib.import_module(module_name)
    yield from members(module)
    package = module_name if hasattr(module, "__path__") else module_name.rpartition(".")[0]
    if not package:
        return
    for item in pkgutil.iter_modules(importlib.import_module(package).__path__):
        other = f"{package}.{item.name}"
        if other != module_name and not item.ispkg and any(part in item.name.lower() for part in BESIDE):
            # A neighbour that cannot be imported is none.
            with contextlib.suppress(Exception, SystemExit):
                yield from members(importlib.import_module(other))


def given_source(address: str) -> Source:
    """The object at `module:object`, or the module; raises `UsageError` where an adapter could not import it."""
    module, _, name = address.partition(":")
    if module.endswith(".py") or "/" in module:
        raise UsageError(
            f"{address!r} names a file; expected package.module:object, as the adapter imports it from there"
        )
    return Source(module, name, object_at(address))
