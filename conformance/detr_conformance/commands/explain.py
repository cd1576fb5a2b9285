"""The command `detr-spec explain`."""

from __future__ import annotations

import click
from rich.padding import Padding

from detr_conformance.base.consoles import Console, output_console, styled
from detr_conformance.running.selection import Selection, chosen_invariants
from detr_spec.invariant import Invariant
from detr_spec.profiles import PROFILES


@click.command()
@click.argument("invariant")
def command(invariant: str) -> None:
    """Explain an invariant, by its id or its number in the norm."""
    console = output_console()
    for place, item in enumerate(chosen_invariants(Selection(invariants=(invariant,)))):
        if place:
            console.rule()
        show_explanation(item, console)


def profiles_of(invariant: Invariant) -> list[str]:
    """The names of the named profiles that an invariant applies to."""
    return [profile.name for profile in PROFILES.values() if invariant.applies(profile)]


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
