"""Turns a mutant into implementations: the patched sources, imported under names of their own.

The reference itself stays as it is. The patched package is a package like any other, with its own module objects, so a
mutant that keeps state between calls keeps it to itself.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

from detr_conformance.base.errors import UsageError, one_line
from detr_conformance.mutants.bank import Mutant, find_mutant
from detr_conformance.mutants.sources import PACKAGE, SOLVER_ADAPTER, adapter_of
from detr_spec.implementation import Implementation

SCHEME = "mutant"


@lru_cache(maxsize=16)
def mutant_implementations(id: str) -> tuple[Implementation, ...]:
    """The mutant of that id as implementations, one for each of its profiles; raises `UsageError` if there is none."""
    return built(find_mutant(id))


def built(mutant: Mutant) -> tuple[Implementation, ...]:
    """The mutant as implementations, one for each of its profiles.

    Raises `UsageError` where an edit cannot be applied, or the patched sources cannot be imported.
    """
    if any(edit.file == SOLVER_ADAPTER for edit in mutant.edits):
        found: list[Implementation] = [_adapter(mutant, SOLVER_ADAPTER).SOLVER]
    else:
        files = dict.fromkeys(map(adapter_of, mutant.profiles))
        found = [item for file in files for item in _adapter(mutant, file).IMPLEMENTATIONS]
    named = (replace(item, name=f"{SCHEME}:{mutant.id}") for item in found)
    return tuple(item for item in named if item.profile.name in mutant.profiles)


def _adapter(mutant: Mutant, file: str) -> ModuleType:
    """The module of that file, which puts the patched package in place of the reference."""
    package = _package_name(mutant)
    name = f"{package}_{PurePosixPath(file).stem}"
    source = re.sub(rf"^(import|from) {PACKAGE}\b", rf"\1 {package}", mutant.sources()[file], flags=re.MULTILINE)
    return _imported(name, {**_package_modules(mutant), name: source}, mutant)


def _package_name(mutant: Mutant) -> str:
    return f"{PACKAGE}_{SCHEME}_{mutant.id.replace('-', '_')}"


def _package_modules(mutant: Mutant) -> dict[str, str]:
    """The patched sources of the reference, by the names of their modules."""
    package = _package_name(mutant)
    return {
        _module_name(package, file): text for file, text in mutant.sources().items() if file.startswith(f"{PACKAGE}/")
    }


def _module_name(package: str, file: str) -> str:
    parts = PurePosixPath(file).with_suffix("").parts[1:]
    return ".".join([package, *(part for part in parts if part != "__init__")])


def _imported(name: str, modules: Mapping[str, str], mutant: Mutant) -> ModuleType:
    """The module of that name, imported afresh from these sources."""
    for module in modules:
        sys.modules.pop(module, None)
    finder = _Finder(modules)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageError(f"mutant {mutant.id} cannot be imported: {one_line(error)}") from error
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds modules whose sources are given by name."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        """How a module is loaded, where its source is here."""
        if fullname not in self._sources:
            return None
        within = any(name.startswith(f"{fullname}.") for name in self._sources)
        return spec_from_loader(fullname, _Loader(self._sources[fullname]), is_package=within)


class _Loader(SourceLoader):
    """Loads one module from a text."""

    def __init__(self, source: str) -> None:
        self._source = source

    def get_filename(self, fullname: str) -> str:
        """A name for tracebacks; there is no such file."""
        return f"<{fullname}>"

    def get_data(self, path: str | bytes) -> bytes:  # noqa: ARG002
        """The text."""
        return self._source.encode()
