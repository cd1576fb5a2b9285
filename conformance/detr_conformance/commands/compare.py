"""The command `detr-spec compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from detr_conformance.base.consoles import error_console, output_console, progress_bar
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import OutputPath, require_writable, write_whole
from detr_conformance.commands.options import selection_options
from detr_conformance.comparing.comparison import Comparison, compared
from detr_conformance.comparing.show import as_json, as_markdown, show_comparison
from detr_conformance.running.judges import ThisProcess
from detr_conformance.running.run import parsed_seed, request
from detr_conformance.running.selection import Selection
from detr_conformance.testee.names import is_testee, isolated_name
from detr_spec.implementation import Implementation

EXAMPLES = 10

_FILE = OutputPath()


@click.command()
@click.argument("first")
@click.argument("second")
@selection_options
@click.option("--examples", type=int, default=EXAMPLES, show_default=True, help="Cases for each invariant.")
@click.option("--seed", default="0", show_default=True, help="An integer, or 'random' for fresh cases.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute, such as cuda.")
@click.option("--isolate", is_flag=True, help="Run each implementation in a process of its own.")
@click.option("--json", "json_path", type=_FILE, help="Write everything to this file.")
@click.option("--markdown", "markdown_path", type=_FILE, help="Write the tables to this file.")
def command(
    first: str,
    second: str,
    selection: Selection,
    examples: int,
    seed: str,
    device: str,
    isolate: bool,
    json_path: Path | None,
    markdown_path: Path | None,
) -> int:
    """Ask two implementations the same, and say what moved and who is right.

    FIRST and SECOND are names of implementations as `detr-spec check` takes them, such as an old loss and a new one.
    Those of one dialect are compared: each invariant is judged for both on the same cases, and what both answer to a
    call is compared bit for bit. Where invariants accuse one of the two alone, the other is right; where they accuse
    neither, both are, unless no invariant would notice any error in those numbers, where the norm is silent.

    Exit code 0: whatever held for FIRST holds for SECOND. 1: an invariant is broken, or no longer judged. 2: usage.
    """
    for path in (json_path, markdown_path):
        if path is not None:
            require_writable(path)
    names = [isolated_name(name) if isolate else name for name in (first, second)]
    found = _compared(names, selection, examples, parsed_seed(seed), device)
    for comparison in found:
        show_comparison(comparison, output_console())
    if json_path is not None:
        write_whole(as_json(found), json_path)
    if markdown_path is not None:
        write_whole(as_markdown(found), markdown_path)
    return 1 if any(comparison.is_worse for comparison in found) else 0


def _compared(names: Sequence[str], selection: Selection, examples: int, seed: int, device: str) -> list[Comparison]:
    asked = request(selection, examples=examples, seed=seed, device=device)
    with ThisProcess() as judges:
        plans = [asked.plan(name, judges.find) for name in names]
        first, second = ([subject.implementation for subject in plan.subjects] for plan in plans)
        pairs = _pairs(first, second, names)
        found = []
        with progress_bar(error_console()) as bar:
            shown = bar.add_task("", total=2 * len(pairs) * len(asked.invariants))
            for pair in pairs:
                found.append(
                    compared(
                        *pair,
                        asked.invariants,
                        examples=examples,
                        seed=seed,
                        device=device,
                        smallest=not any(map(is_testee, names)),
                        progress=lambda: bar.update(shown, advance=1),
                    )
                )
    return found


def _pairs(
    first: Sequence[Implementation], second: Sequence[Implementation], names: Sequence[str]
) -> list[tuple[Implementation, Implementation]]:
    """The implementations of each dialect, of both; raises `UsageError` where there are none, or several of one."""
    pairs = []
    for one in first:
        others = [item for item in second if item.profile.name == one.profile.name]
        if len(others) > 1 or sum(item.profile.name == one.profile.name for item in first) > 1:
            raise UsageError(
                f"{' or '.join(names)} has several implementations of {one.profile.name}; name one of them"
            )
        pairs += [(one, other) for other in others]
    if not pairs:
        own = [" and ".join(dict.fromkeys(item.profile.name for item in items)) for items in (first, second)]
        raise UsageError(f"{names[0]} is of {own[0]} and {names[1]} of {own[1]}; expected two of one dialect")
    return pairs
