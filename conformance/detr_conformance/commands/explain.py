"""What the terminal shows of the invariants themselves: the list, and one explained."""

from __future__ import annotations

from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Table

from detr_conformance.base.consoles import Console, styled
from detr_spec.invariant import Invariant
from detr_spec.profiles import PROFILES


def profiles_of(invariant: Invariant) -> list[str]:
    """The names of the named profiles that an invariant applies to."""
    return [profile.name for profile in PROFILES.values() if invariant.applies(profile)]


def show_list(invariants: Sequence[Invariant], console: Console) -> None:
    """Prints a table of the invariants: id, number, level, component, profiles and statement."""
    table = Table(box=None, pad_edge=False)
    for heading in ("invariant", "", "level", "component", "profiles"):
        table.add_column(heading, no_wrap=True)
    table.add_column("statement", min_width=30)
    for item in invariants:
        profiles = profiles_of(item)
        told = "all" if len(profiles) == len(PROFILES) else ", ".join(profiles)
        cells = (item.id, item.number, item.level.value, item.component, told, item.statement)
        table.add_row(*cells)
    console.print(table)


def show_explanation(invariant: Invariant, console: Console) -> None:
    """Prints an invariant's statement, why it matters, its formula, its source and what breaks it."""
    console.print(styled(invariant.id, "bold") + styled(f"  ({invariant.number}, {invariant.level.value})", ""))
    parts = {
        "states": invariant.statement,
        "why it matters": invariant.why,
        "formula": invariant.formula,
        "source": invariant.source,
        "what breaks it": invariant.breaks,
        "component": invariant.component,
        "profiles": ", ".join(profiles_of(invariant)),
    }
    for name, text in parts.items():
        console.print()
        console.show(name, "bright_black")
        console.print(Padding(text, (0, 0, 0, 2)))
