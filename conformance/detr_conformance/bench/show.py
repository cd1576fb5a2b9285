"""What a benchmark has found, as tables for a terminal."""

from __future__ import annotations

from rich.table import Table

from detr_conformance.base.consoles import Console
from detr_conformance.bench.results import Entry, Setting
from detr_conformance.bench.timing import PROCESSOR, STEP

MEBIBYTE = 2**20

Row = tuple[str, ...]


def show_setting(setting: Setting, base: str, console: Console) -> None:
    """Prints the table of one setting."""
    header, rows = _table(setting, base)
    table = Table(title=_title(setting), title_justify="left", header_style="bold")
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _title(setting: Setting) -> str:
    size = setting.size
    what = "match and criterion" if setting.kind == "criterion" else "assignment alone"
    made = "" if setting.heads is None else f", {setting.heads}"
    targets = f"{size.targets} targets" if size.targets else f"real targets, {setting.most_targets} at most"
    return (
        f"{what}, {setting.profile}, {setting.regime}{made}: {size.images} images, {size.queries} queries, "
        f"{size.columns} columns, {targets}, {size.layers} layers"
    )


def _table(setting: Setting, base: str) -> tuple[Row, list[Row]]:
    """The header and a row for each contestant: milliseconds, ratios, and memory where it was measured."""
    measured = any(entry.peak_bytes is not None for entry in setting.entries)
    header = ("contestant", "step ms", "processor ms", "runs", "ratio", "processor ratio", "peak MiB")
    rows = [(entry.name, *_times(entry), *_ratios(setting, entry, base), _memory(entry)) for entry in setting.entries]
    return (header, rows) if measured else (header[:-1], [row[:-1] for row in rows])


def _times(entry: Entry) -> Row:
    if entry.runs is None:
        note = entry.status if entry.note in ("", entry.status) else f"{entry.status}: {entry.note}"
        return "", note, ""
    medians = entry.runs.medians()
    return (*(f"{1e3 * medians[kind]:.3g}" for kind in (STEP, PROCESSOR)), str(entry.runs.count))


def _ratios(setting: Setting, entry: Entry, base: str) -> Row:
    ratios = [setting.ratio(entry, base, kind) for kind in (STEP, PROCESSOR)]
    return tuple("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)


def _memory(entry: Entry) -> str:
    if isinstance(entry.peak_bytes, int):
        return f"{entry.peak_bytes / MEBIBYTE:.0f}"
    return entry.peak_bytes or ""
