"""Where the parts of a ledger are in its file: the line of each entry, and of each field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tomlkit
from tomlkit.items import AoT, Item, Key, Table


@dataclass(frozen=True)
class EntryLines:
    """The lines of an entry, from 1: its heading, and the first and the last of each of its fields."""

    heading: int
    fields: Mapping[str, tuple[int, int]]
    end: int
    """The line of the next heading, or the one after the file's last."""


def entry_lines(document: tomlkit.TOMLDocument) -> tuple[EntryLines, ...]:
    """The lines of each `[[violation]]` of a document that holds nothing else.

    The parser keeps every sign of the text, so lines are counted from what stands before a part.
    """
    found: list[EntryLines] = []
    line = 1
    for key, item in document.body:
        if not isinstance(item, AoT):
            line += _breaks(key, item)
            continue
        for table in item.body:
            fields, end = _field_lines(table, line + 1)
            found.append(EntryLines(line, fields, end))
            line = end
    return tuple(found)


def _field_lines(table: Table, first: int) -> tuple[dict[str, tuple[int, int]], int]:
    fields: dict[str, tuple[int, int]] = {}
    line = first
    for key, item in table.value.body:
        breaks = _breaks(key, item)
        if key is not None:
            fields[key.key] = line, line + max(breaks - 1, 0)
        line += breaks
    return fields, line


def _breaks(key: Key | None, item: Any) -> int:
    """How many lines end in a part of a document."""
    text = item.as_string()
    if key is None or not isinstance(item, Item):
        return int(text.count("\n"))
    trivia = item.trivia
    return int((trivia.indent + text + trivia.comment_ws + trivia.comment + trivia.trail).count("\n"))
