"""Which definitions of a package's modules use which others, near or far, by reading their sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeAlias

Definition: TypeAlias = tuple[str, str]
"""A module, such as "boxes.py", and the name of a function, class or constant of it."""


@dataclass(frozen=True)
class Outline:
    """A module: the names that it imports from others, and of each of its own definitions the lines and what it uses.

    imported: the definition that a name stands for. spans: first and last line, from 1. uses: names, by definition.
    """

    imported: Mapping[str, Definition]
    spans: Mapping[str, tuple[int, int]]
    uses: Mapping[str, frozenset[str]]

    def at(self, line: int) -> str | None:
        """The definition that a line belongs to; None for imports and what else stands between definitions."""
        return next((name for name, (first, last) in self.spans.items() if first <= line <= last), None)


def outline(module: str, source: str) -> Outline:
    """The outline of a module of a package, given its path in it."""
    imported: dict[str, Definition] = {}
    spans: dict[str, tuple[int, int]] = {}
    uses: dict[str, frozenset[str]] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom) and statement.level and statement.module:
            folder = PurePosixPath(module).parents[statement.level - 1]
            path = str(folder / f"{statement.module.replace('.', '/')}.py")
            imported |= {(alias.asname or alias.name): (path, alias.name) for alias in statement.names}
        used = frozenset(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
        for name in _defined(statement):
            spans[name] = first, statement.end_lineno or first
            uses[name] = used
    return Outline(imported, spans, uses)


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        yield statement.name
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def definitions_used(module: str, outlines: Mapping[str, Outline]) -> frozenset[Definition]:
    """The definitions of a module, and those that they use, near or far; outlines: of all modules, by path."""
    found: set[Definition] = set()
    waiting = [(module, name) for name in outlines[module].spans]
    while waiting:
        path, name = own = waiting.pop()
        if own in found or path not in outlines:
            continue
        found.add(own)
        whole = outlines[path]
        for used in whole.uses.get(name, ()):
            if used in whole.spans:
                waiting.append((path, used))
            elif used in whole.imported:
                waiting.append(whole.imported[used])
    return frozenset(found)
