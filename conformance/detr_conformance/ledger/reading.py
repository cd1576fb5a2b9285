"""Reads ledgers, strictly: whatever is not as it should be is refused with the file and the line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import parsed_toml, read_text
from detr_conformance.base.errors import UsageError, close_names
from detr_conformance.encoding.places import Place
from detr_conformance.ledger.entries import FIELDS, LISTS, REQUIRED, Entry
from detr_conformance.ledger.lines import EntryLines, entry_lines
from detr_conformance.vectors.checks import invariants_by_id
from detr_conformance.vectors.reading import vector_of
from detr_conformance.vectors.vector import Vector
from detr_spec.values import DTYPES

HOW_TO_FILL = "`detr-spec check … --ledger FILE --accept` writes it"


@dataclass(frozen=True, eq=False)
class Ledger:
    """A ledger's file, as it is written, and its entries with the lines they are on."""

    path: Path
    text: str
    entries: tuple[Entry, ...]
    lines: tuple[EntryLines, ...]


def read_ledger(path: Path, *, draft: bool = False) -> Ledger:
    """The ledger of a file; raises `UsageError` with file and line for each entry that is not as it should be.

    draft: the ledger is about to be written, so reasons may be empty and vectors missing.
    """
    return parsed_ledger(read_text(path), path, draft=draft)


def parsed_ledger(text: str, path: Path, *, draft: bool = False) -> Ledger:
    """The ledger that a text says; raises `UsageError` as `read_ledger` does."""
    if text and not text.endswith("\n"):
        text += "\n"
    document = parsed_toml(text, path)
    tables = document.get("violation", [])
    unknown = sorted(set(document) - {"violation"})
    if unknown or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path} holds {', '.join(map(repr, unknown)) or 'no such tables'}; {_ONLY}")
    lines = entry_lines(text)
    if len(lines) != len(tables):
        raise UsageError(f"{path} holds tables that are not written as such; {_ONLY}")
    entries: list[Entry] = []
    wrong: list[str] = []
    for number, (table, own) in enumerate(zip(tables, lines, strict=True)):
        try:
            entries.append(_entry(table, _Where(path, own), number, draft))
        except UsageError as error:
            wrong.extend(error.args)
    if wrong:
        raise UsageError(*wrong)
    return Ledger(path, text, tuple(entries), lines)


_ONLY = "expected only [[violation]] tables"


@dataclass(frozen=True)
class _Where:
    """Where an entry and its fields are."""

    path: Path
    lines: EntryLines

    @property
    def entry(self) -> str:
        return f"{self.path}, line {self.lines.heading}"

    def field(self, name: str) -> str:
        first, _ = self.lines.fields.get(name, (self.lines.heading, None))
        return f"{self.path}, line {first}"


def _entry(table: Mapping[str, Any], where: _Where, number: int, draft: bool) -> Entry:
    for name, value in table.items():
        if name not in FIELDS:
            hint = close_names(name, FIELDS)
            raise UsageError(f"{where.field(name)}: no field is called {name!r}{hint}; the fields are {_told(FIELDS)}")
        _require_type(name, value, where, draft)
    for name in REQUIRED:
        if name not in table and not (draft and name in ("reason", "vector")):
            hint = f"; {HOW_TO_FILL}" if name == "vector" else ""
            raise UsageError(f"{where.entry}: {name} is missing{hint}")
    _require_known(table, where)
    texts = {name: " ".join(value.split()) for name, value in table.items() if name not in (*LISTS, "vector")}
    lists = {name: tuple(table.get(name, ())) for name in LISTS}
    return Entry(
        place=where.entry,
        number=number,
        vector=_vector(table, where) if "vector" in table else None,
        **{"reason": ""} | texts | lists,  # type: ignore[arg-type]
    )


def _told(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _require_type(name: str, value: Any, where: _Where, draft: bool) -> None:
    if name in LISTS:
        texts = isinstance(value, list) and value and all(isinstance(item, str) and item.strip() for item in value)
        if not texts or len(set(value)) < len(value):
            raise UsageError(f"{where.field(name)}: {name} is {value!r:.60}; expected a list of different names")
        return
    if not isinstance(value, str):
        raise UsageError(f"{where.field(name)}: {name} is {value!r:.60}; expected text")
    if not value.strip() and name == "reason" and not draft:
        raise UsageError(f"{where.field(name)}: the reason is not filled in; expected why this violation is accepted")
    if not value.strip() and name != "reason":
        raise UsageError(f"{where.field(name)}: {name} is {value!r:.60}; expected text")


def _require_known(table: Mapping[str, Any], where: _Where) -> None:
    name, ids = table["invariant"], invariants_by_id()
    if name not in ids:
        raise UsageError(f"{where.field('invariant')}: no invariant is called {name!r}{close_names(name, ids)}")
    for dtype in table.get("dtypes", ()):
        if dtype not in DTYPES:
            raise UsageError(f"{where.field('dtypes')}: no dtype is called {dtype!r}; they are {', '.join(DTYPES)}")


def _vector(table: Mapping[str, Any], where: _Where) -> Vector:
    place = Place(where.field("vector"))
    vector = vector_of(table["vector"], place)
    if vector.invariants != (table["invariant"],):
        raise place.within("invariants").wrong(
            found=", ".join(vector.invariants), expected=f"{table['invariant']} alone, the entry's invariant"
        )
    own = vector.case.configuration
    if own.dtype not in table.get("dtypes", (own.dtype,)):
        raise place.within("configuration", "dtype").wrong(
            found=own.dtype, expected=f"one of the entry's dtypes, {', '.join(table['dtypes'])}"
        )
    if own.profile.name != table.get("profile", own.profile.name):
        raise place.within("profile", "name").wrong(
            found=own.profile.name, expected=f"the entry's profile, {table['profile']}"
        )
    return vector
