"""Finds implementations by name: `package.module:attribute`, `path/to/file.py:attribute`, or one that is registered.

`mutant:ID` is a mutant of the bank, and `declared:SEED` the reference built to a drawn profile.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from detr_conformance.base.errors import UsageError, close_names, one_line, place_of
from detr_conformance.base.interrupts import is_wanted
from detr_conformance.base.text import LONGEST_NAME, is_name
from detr_conformance.testee.client import testee_implementations
from detr_conformance.testee.names import is_testee
from detr_spec.implementation import Implementation

GROUP = "detr_spec.implementations"

DECLARED = "declared"
"""The reference built to a drawn profile, with a colon and the seed that draws it behind."""

BUILT = {
    "onnx:(.*)": ("detr_conformance.implementations.onnx_graphs", "graph_implementations"),
    "mutant:(.*)": ("detr_conformance.mutants.patch", "mutant_implementations"),
    f"({DECLARED}(?::[0-9]{{1,20}})?)": ("detr_conformance.implementations.declared.implementation", "drawn_reference"),
}
"""What builds the implementations of names like these from the part in brackets; it is imported when one is given, as
it takes every invariant, or torch."""

HOW_TO_WRAP = "wrap it with detr_conformance.torch_implementation(name=…, profile=…, …) or numpy_implementation"


def resolve(name: str) -> tuple[Implementation, ...]:
    """The implementations of that name.

    The attribute is an `Implementation`, a list or tuple of them, or a callable without arguments that
    returns either. A file's folder, or for a module the working directory, is put on `sys.path`, as for a
    script, and stays there for what the implementation imports later. `mutant:` and an id name a mutant of the
    bank, `declared:` and a seed the reference built to a drawn profile, `onnx:` and a file an ONNX graph, `process:`
    and a command a program that speaks for itself, and `isolated:` before any of the other names has that in a process
    of its own. Raises `UsageError` with one line that says what is wrong, whatever a module or an object raises when it
    is looked at.
    """
    with _explained(f"{name} cannot be found: ", UsageError):
        return _found(name)


def _found(name: str) -> tuple[Implementation, ...]:
    if is_testee(name):
        return testee_implementations(name)
    for pattern, (home, function) in BUILT.items():
        if named := re.fullmatch(pattern, name, re.DOTALL):
            built: tuple[Implementation, ...] = getattr(importlib.import_module(home), function)(named[1])
            return built
    place, colon, attribute = name.rpartition(":")
    if not colon:
        return _registered(name)
    if not place or not attribute:
        raise UsageError(
            f"{name!r} is no implementation; expected package.module:attribute or path/to/file.py:attribute"
        )
    module = _from_file(Path(place)) if _is_path(place) else _from_module(place)
    return implementations(_attribute(module, place, attribute), name)


def object_at(name: str) -> Any:
    """The object at `package.module:attribute`, or the module itself; raises `UsageError` where there is none."""
    place, colon, attribute = name.partition(":")
    module = _from_module(place)
    if not colon:
        return module
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [member for member in dir(found) if not member.startswith("_")]
            raise UsageError(f"{place} has no attribute {attribute!r}{close_names(part, known)}")
        found = getattr(found, part)
    return found


def implementations(value: Any, name: str) -> tuple[Implementation, ...]:
    """The implementations in `value`, which `name` names in messages.

    Raises `UsageError` for anything but an `Implementation`, a list or tuple of them, or a callable that
    returns either.
    """
    what = name
    if not isinstance(value, (Implementation, list, tuple)) and callable(value) and _needs_no_argument(value):
        with _explained(f"{name}() raised "):
            value, what = value(), f"{name}()"
    items = [value] if isinstance(value, Implementation) else value
    if not isinstance(items, (list, tuple)):
        raise UsageError(f"{what} is {_description(value)}, not an Implementation; {HOW_TO_WRAP}")
    if not items:
        raise UsageError(f"{what} is empty; expected at least one Implementation")
    for place, item in enumerate(items):
        if not isinstance(item, Implementation):
            raise UsageError(f"{what}[{place}] is {_description(item)}, not an Implementation; {HOW_TO_WRAP}")
        for kind, given in (("name", item.name), ("profile's name", item.profile.name)):
            if not is_name(given):
                raise UsageError(
                    f"an implementation of {what} has {given!a:.100} as its {kind}; "
                    f"expected text of 1 to {LONGEST_NAME} characters that are shown as they are"
                )
    return tuple(items)


def registered_names() -> dict[str, EntryPoint]:
    """The implementations that installed packages register, by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def _registered(name: str) -> tuple[Implementation, ...]:
    known = registered_names()
    if name in known:
        return resolve(known[name].value)
    if _is_path(name):
        attributes = _implementation_attributes(_from_file(Path(name)))
        hint = f"; it has {', '.join(attributes)}" if attributes else ""
        raise UsageError(f"{name} names no attribute; write {name}:ATTRIBUTE{hint}")
    listed = f"the registered names are {', '.join(known)}" if known else "no names are registered"
    raise UsageError(
        f"no implementation is registered as {name!r}{close_names(name, known)}; {listed}; "
        "others are given as package.module:attribute or path/to/file.py:attribute"
    )


def _is_path(place: str) -> bool:
    return place.endswith(".py") or os.sep in place or "/" in place


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path} {found}; expected a Python file")
    full = path.resolve()
    name = f"_detr_spec_{full.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, full)
    if specification is None or specification.loader is None:
        raise UsageError(f"{path} is no Python file; expected a name that ends in .py")
    module = importlib.util.module_from_spec(specification)
    loader = specification.loader
    _put_on_path(str(full.parent))
    sys.modules[name] = module
    try:
        with _explained(f"{path} cannot be imported: "):
            loader.exec_module(module)
    except UsageError:
        del sys.modules[name]
        raise
    return module


def _from_module(place: str) -> ModuleType:
    if not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(f"{place!r} is no module name; expected package.module:attribute or path/to/file.py:attribute")
    _put_on_path(str(Path.cwd()))
    try:
        with _explained(f"{place} cannot be imported: "):
            importlib.import_module(place)
        return sys.modules[place]
    except UsageError as error:
        missing = getattr(error.__cause__, "name", None)
        if isinstance(error.__cause__, ModuleNotFoundError) and missing and f"{place}.".startswith(f"{missing}."):
            raise UsageError(
                f"no module is called {missing!r}; expected one that is installed or in {Path.cwd()}"
            ) from error
        raise


def _put_on_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


@contextlib.contextmanager
def _explained(said: str, *passed_on: type[Exception]) -> Iterator[None]:
    """What is raised in it, `SystemExit` included, comes as a `UsageError` that begins with `said` and says where."""
    try:
        yield
    except passed_on:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and is_wanted(error):
            raise
        raise UsageError(f"{said}{_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What was raised, and where."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    return f"{one_line(error)}{place_of(error, __file__, importlib.__file__)}"


def _attribute(module: ModuleType, place: str, attribute: str) -> Any:
    if hasattr(module, attribute):
        return getattr(module, attribute)
    attributes = _implementation_attributes(module)
    hint = close_names(attribute, attributes or [name for name in vars(module) if not name.startswith("_")])
    if attributes:
        hint += f"; its implementations are {', '.join(attributes)}"
    raise UsageError(f"{place} has no attribute {attribute!r}{hint}")


def _implementation_attributes(module: ModuleType) -> list[str]:
    def fits(value: Any) -> bool:
        items: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
        return bool(items) and all(isinstance(item, Implementation) for item in items)

    return [name for name, value in vars(module).items() if not name.startswith("_") and fits(value)]


def _needs_no_argument(function: Callable[..., Any]) -> bool:
    """Whether it is called without arguments; what takes any arguments at all, like a module, is not."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return all(parameter.default is not parameter.empty for parameter in parameters)


def _description(value: Any) -> str:
    """What a wrong attribute is, for a message."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"a function with arguments {inspect.signature(value)}"
    return f"of type {type(value).__name__}"
