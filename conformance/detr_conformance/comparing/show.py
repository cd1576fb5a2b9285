"""A comparison for people and for programs: tables, JSON, Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from detr_conformance.base.consoles import Console
from detr_conformance.base.text import line_of
from detr_conformance.base.version import installed_version
from detr_conformance.comparing.comparison import Change, Comparison, Distance, Moved

Row = tuple[str, ...]

CHANGES = ("change", "invariant", "level", "what the second or the first one did")
MOVED = ("numbers", "who is right", "accused by", "differing calls, by how much at most")


def show_comparison(found: Comparison, console: Console) -> None:
    """Prints what became of the invariants, the numbers that moved, and a last line that says it all."""
    for title, rows in ((CHANGES, _changes(found)), (MOVED, _moved(found))):
        if rows:
            table = Table(*title, box=None, pad_edge=False, header_style="bold")
            for row in rows:
                table.add_row(*row)
            console.print(table)
            console.print()
    console.show(summary(found), "red" if found.is_worse else "")


def summary(found: Comparison) -> str:
    """One line: what is compared, how much of it is alike, and what changed."""
    counts = {change: sum(item.change is change for item in found.invariants) for change in Change}
    told = ", ".join(f"{count} {change}" for change, count in counts.items() if count and change is not Change.NONE)
    alike = "all numbers alike bit for bit" if not found.moved else f"{len(found.moved)} kinds of numbers moved"
    return f"{found.first} and {found.second} ({found.profile}): {found.calls} calls, {alike}; {told or 'as before'}"


def _changes(found: Comparison) -> list[Row]:
    return [
        (
            str(item.change),
            item.first.id,
            item.first.level,
            (item.second if item.second.verdict.fails else item.first).message or str(item.second.verdict),
        )
        for change in Change
        for item in found.invariants
        if item.change is change is not Change.NONE
    ]


def _moved(found: Comparison) -> list[Row]:
    return [
        (
            f"{item.component}: {item.part}",
            str(item.right),
            " ".join(sorted(item.accused)) or "none",
            "; ".join(f"{dtype} {_told(apart)}" for dtype, apart in _differing(item)),
        )
        for item in found.moved
    ]


def _differing(item: Moved) -> list[tuple[str, Distance]]:
    return [(dtype, apart) for dtype, apart in sorted(item.dtypes.items()) if apart.differing]


def _told(apart: Distance) -> str:
    far = "shape or finiteness" if math.isnan(apart.absolute) else f"{apart.absolute:.2g}"
    return f"{apart.differing} of {apart.calls}, {far}"


def as_json(comparisons: Sequence[Comparison]) -> str:
    """Everything that is known, as JSON; where shapes or finiteness differ, the largest difference is null."""
    document = {
        "version": installed_version(),
        "comparisons": [
            {
                "first": found.first,
                "second": found.second,
                "profile": found.profile,
                "is_worse": found.is_worse,
                "calls": found.calls,
                "invariants": [
                    {
                        "id": item.first.id,
                        "change": str(item.change),
                        "first": {"verdict": str(item.first.verdict), "message": item.first.message},
                        "second": {"verdict": str(item.second.verdict), "message": item.second.message},
                    }
                    for item in found.invariants
                ],
                "moved": [_document(item) for item in found.moved],
            }
            for found in comparisons
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _document(item: Moved) -> dict[str, Any]:
    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        "component": item.component,
        "part": item.part,
        "right": str(item.right),
        "accused_by": sorted(item.accused),
        "dtypes": {
            dtype: {
                "calls": apart.calls,
                "differing": apart.differing,
                "absolute": known(apart.absolute),
                "relative": known(apart.relative),
            }
            for dtype, apart in sorted(item.dtypes.items())
        },
        "vector": item.case,
    }


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    """The tables of all comparisons, each below its summary."""
    lines: list[str] = []
    for found in comparisons:
        lines += [f"**{_cell(summary(found))}**", ""]
        for title, rows in ((CHANGES, _changes(found)), (MOVED, _moved(found))):
            if rows:
                lines += [_line(title), f"|{'---|' * len(title)}", *map(_line, rows), ""]
    return "\n".join(lines)


def _line(cells: Row) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return line_of(text).replace("|", "\\|")
