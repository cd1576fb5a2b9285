"""Writes ledgers: entries in one order, with what a person wrote in them, comments included, as it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from detr_conformance.ledger.entries import FIELDS, Entry
from detr_conformance.ledger.lines import EntryLines
from detr_conformance.ledger.reading import Ledger
from detr_conformance.vectors.checks import invariants_by_id
from detr_conformance.vectors.reading import one_member_a_line
from detr_conformance.vectors.vector import to_document

HEADING = "[[violation]]"

PREAMBLE = """\
# Expected violations, each with the case that shows it. `detr-spec check … --ledger FILE --accept` renews this file;
# the reasons are for a person to write.
"""


def ledger_text(ledger: Ledger, entries: Sequence[Entry]) -> str:
    """The text of a ledger with these entries; those that the ledger had keep what was written in them.

    An entry is one that the ledger had by its number; a negative number is a new one's.
    """
    lines = ledger.text.split("\n")
    starts = _starts(ledger.lines, lines)
    preamble = lines[: starts[0]] if starts else lines
    text = "\n".join(preamble).strip("\n") or PREAMBLE.strip("\n")
    blocks = []
    for entry in sorted(entries, key=_order):
        old = ledger.lines[entry.number] if entry.number >= 0 else None
        above = lines[starts[entry.number] : old.heading - 1] if old else []
        end = _end(entry.number, starts, lines) if old else 0
        blocks.append("\n".join([*above, *_block(entry, old, lines, end)]))
    return "\n\n".join([text, *blocks]) + "\n"


def vector_text(entry: Entry) -> str:
    """An entry's vector as the text of its field, one member a line, in signs that a literal text of TOML may hold."""
    assert entry.vector is not None
    return one_member_a_line(to_document(entry.vector)).replace("'", "\\u0027").replace("\x7f", "\\u007f")


def _order(entry: Entry) -> tuple[Any, ...]:
    place = list(invariants_by_id()).index(entry.invariant)
    return entry.implementation, entry.profile or "", place, entry.dtypes, entry.devices


def _starts(entries: Sequence[EntryLines], lines: Sequence[str]) -> list[int]:
    """Where each entry begins, the comments right above its heading included; indices from 0."""
    starts = []
    for entry in entries:
        start = entry.heading - 1
        while start > 0 and lines[start - 1].lstrip().startswith("#"):
            start -= 1
        starts.append(start)
    return starts


def _end(number: int, starts: Sequence[int], lines: Sequence[str]) -> int:
    return starts[number + 1] if number + 1 < len(starts) else len(lines)


def _block(entry: Entry, old: EntryLines | None, lines: Sequence[str], end: int) -> Iterable[str]:
    """The lines of an entry from its heading on: fields in order, each below the comments that stood above it."""
    written = {} if old is None else _written(old, lines)
    yield HEADING if old is None else lines[old.heading - 1]
    for name in FIELDS:
        above, own = written.get(name, ([], []))
        yield from above
        yield from _field(entry, name, own)
    if old is not None:
        last = max((last for _, last in old.fields.values()), default=old.heading)
        yield from _without_blank_ends(lines[last:end])


def _written(old: EntryLines, lines: Sequence[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Each field of an entry as it is written: what stands above it, and its own lines."""
    written = {}
    before = old.heading
    for name, (first, last) in sorted(old.fields.items(), key=lambda field: field[1]):
        above = [line for line in lines[before : first - 1] if line.strip()]
        written[name] = above, list(lines[first - 1 : last])
        before = last
    return written


def _without_blank_ends(lines: Sequence[str]) -> Sequence[str]:
    kept = [place for place, line in enumerate(lines) if line.strip()]
    return lines[kept[0] : kept[-1] + 1] if kept else []


def _field(entry: Entry, name: str, own: Sequence[str]) -> Sequence[str]:
    """A field as it was written, or anew: vectors always, and conditions, which may have changed."""
    if name == "vector":
        return f"vector = '''\n{vector_text(entry)}\n'''".split("\n")
    value = getattr(entry, name)
    if own and name not in ("profile", "dtypes", "devices"):
        return own
    if name == "reason":
        return ['reason = ""']
    if not value:
        return []
    # A text of JSON is one of TOML too, save one sign that TOML wants as an escape.
    return [f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")]
