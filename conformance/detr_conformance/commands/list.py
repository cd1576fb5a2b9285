"""The command `detr-spec list`."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.table import Table

from detr_conformance.base.consoles import Console, output_console
from detr_conformance.commands.explain import profiles_of
from detr_conformance.commands.options import selection_options
from detr_conformance.running.selection import Selection, chosen_invariants, known_profile
from detr_spec.invariant import Invariant
from detr_spec.profiles import PROFILES


@click.command()
@selection_options
def command(selection: Selection) -> None:
    """List the invariants."""
    chosen = chosen_invariants(selection)
    if selection.profile is not None:
        chosen = tuple(item for item in chosen if item.applies(known_profile(selection.profile)))
    show_list(chosen, output_console())


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
