"""Where the parts of a ledger are in its file: the line of each entry, and of each field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from detr_conformance.base.documents import parsed_toml


@dataclass(frozen=True)
class EntryLines:
    """The lines of an entry, from 1: its heading, and the first and the last of each of its fields."""

    heading: int
    fields: Mapping[str, tuple[int, int]]
    end: int
    """The line of the next heading, or the one after the file's last."""


def entry_lines(text: str) -> tuple[EntryLines, ...]:
    """The lines of each heading, and of the fields below it, in a text that is known to be TOML."""
    entries: list[tuple[int, dict[str, tuple[int, int]]]] = []
    line = 1
    for statement in _statements(text):
        after = line + statement.count("\n")
        told = statement.strip()
        if told.startswith("[["):
            entries.append((line, {}))
        elif entries and told and not told.startswith("#"):
            entries[-1][1].setdefault(_name(told), (line, after - 1))
        line = after
    ends = [*(heading for heading, _ in entries[1:]), line]
    return tuple(EntryLines(heading, fields, end) for (heading, fields), end in zip(entries, ends, strict=False))


def _name(statement: str) -> str:
    """The name of a field, or of what should be one and is a table."""
    if statement.startswith("["):
        return statement.strip("[]").rpartition(".")[2]
    (name,) = parsed_toml(statement, "a field")
    return name


_SIGN = re.compile(r"\"{3}|'{3}|[\"'#\n\[\]{}]")
"""What begins a text or a comment, or ends a line, or after which a statement goes on in the next line."""

_CLOSING = {
    '"': re.compile(r'\\.|"', re.DOTALL),
    "'": re.compile("'"),
    '"' * 3: re.compile(r'\\.|"{3,5}', re.DOTALL),
    "'" * 3: re.compile("'{3,5}"),
    "#": re.compile(r"(?=\n)"),
}
"""What ends a text or a comment, by how it begins; an escape does not."""


def _statements(text: str) -> Iterator[str]:
    """The statements of a text of TOML with the ends of their lines, comments and empty lines among them."""
    start = place = depth = 0
    while (sign := _SIGN.search(text, place)) is not None:
        place = sign.end()
        if sign[0] in _CLOSING:
            ends = _CLOSING[sign[0]].finditer(text, place)
            place = next(end.end() for end in ends if not end[0].startswith("\\"))
        elif sign[0] != "\n":
            depth += 1 if sign[0] in "[{" else -1
        elif depth == 0:
            yield text[start:place]
            start = place
