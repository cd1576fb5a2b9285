"""The command `detr-spec mutants`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from detr_conformance.base.consoles import Console, error_console, output_console, progress_bar
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import OutputPath, require_writable, write_whole
from detr_conformance.base.interrupts import INTERRUPTED
from detr_conformance.campaign.campaign import expected_tasks, hunts, survey_tasks
from detr_conformance.campaign.fingerprints import renewed
from detr_conformance.campaign.hunt import Hunt
from detr_conformance.campaign.matrix import matrix_of
from detr_conformance.campaign.show import as_json, as_markdown, interrupted_lines, show_bank, show_matrix
from detr_conformance.commands.options import scheduler_option
from detr_conformance.judging.judge import DEFAULT_EXAMPLES
from detr_conformance.mutants.bank import chosen_mutants

SURVEY_EXAMPLES = 5
"""With so many the whole bank takes about forty minutes on two cores; without, ten."""

LINES = 20
"""How many lines of progress there are where no terminal shows a bar."""

_FILE = OutputPath(dir_okay=False)


@click.command()
@click.argument("mutants", nargs=-1)
@click.option("--list", "listed", is_flag=True, help="Print the bank and run nothing.")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Seeds for expected invariants.")
@click.option(
    "--examples",
    type=click.IntRange(1),
    default=DEFAULT_EXAMPLES,
    show_default=True,
    help="Cases of those on each seed; more of the rare.",
)
@click.option(
    "--survey-examples",
    type=click.IntRange(0),
    default=SURVEY_EXAMPLES,
    show_default=True,
    help="Cases of every other invariant; 0 leaves them out.",
)
@click.option("--own", is_flag=True, help="Only in each mutant's first profile, not in those that inherit it.")
@click.option("-n", "--workers", type=click.IntRange(0), default=1, show_default=True, help="Processes; 0 for none.")
@scheduler_option
@click.option("--json", "json_path", type=_FILE, help="Write everything to this file.")
@click.option("--markdown", "markdown_path", type=_FILE, help="Write a table of the mutants.")
@click.option(
    "--fingerprints", "prints_path", type=_FILE, help="Renew what this file says of which invariants find the mutants."
)
def command(
    mutants: tuple[str, ...],
    listed: bool,
    seeds: int,
    examples: int,
    survey_examples: int,
    own: bool,
    workers: int,
    scheduler: str | None,
    json_path: Path | None,
    markdown_path: Path | None,
    prints_path: Path | None,
) -> int:
    """Plant defects in the reference and see which invariants find them.

    MUTANTS are ids or groups of the bank; without any, all are run. Each is searched for by the invariants that are
    expected to find it, on every seed, and surveyed by every other invariant that its change can reach.

    Exit code 0: every mutant was found on every seed. 1: one survived, or an equivalent one was killed. 2: usage.
    """
    chosen = chosen_mutants(mutants)
    paths = [path for path in (json_path, markdown_path, prints_path) if path is not None]
    if paths and listed:
        raise UsageError("--list runs no campaign, so there is no matrix to write to a file")
    for path in paths:
        require_writable(path)
    if listed:
        show_bank(chosen, output_console())
        return 0
    tasks = expected_tasks(chosen, range(seeds), examples, own=own) + survey_tasks(chosen, 0, survey_examples)
    searches = _shown(hunts(tasks, workers, scheduler), len(tasks), error_console())
    found: list[Hunt] = []
    try:
        for search in searches:
            found += search
    except KeyboardInterrupt:
        for line in interrupted_lines(chosen, found):
            output_console().show(line)
        return INTERRUPTED
    matrix = matrix_of(chosen, found, range(seeds), examples, survey_examples, own=own)
    show_matrix(matrix, output_console())
    if json_path is not None:
        write_whole(as_json(matrix), json_path)
    if markdown_path is not None:
        write_whole(as_markdown(matrix), markdown_path)
    if prints_path is not None:
        write_whole(renewed(matrix, prints_path), prints_path)
    return matrix.exit_code


def _shown(finished: Iterator[tuple[Hunt, ...]], total: int, console: Console) -> Iterator[tuple[Hunt, ...]]:
    """What is finished, while the console shows how many of all it is."""
    with progress_bar(console, MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=total)
        for count, item in enumerate(finished, start=1):
            bar.update(task, advance=1)
            if not console.is_terminal and count * LINES // total > (count - 1) * LINES // total:
                console.show(f"{count} of {total} searches finished")
            yield item
