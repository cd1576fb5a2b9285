"""The bank and the matrix for people and for programs: tables, JSON, Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from detr_conformance.base.consoles import Console
from detr_conformance.base.version import installed_version
from detr_conformance.campaign.hunt import Hunt
from detr_conformance.campaign.matrix import Matrix
from detr_conformance.mutants.bank import Mutant


def show_bank(mutants: Sequence[Mutant], console: Console) -> None:
    """Prints one line for each mutant."""
    table = _table("mutant", "group", "profiles", "description", "provenance")
    for mutant in mutants:
        what = f"{mutant.description} (equivalent)" if mutant.equivalent else mutant.description
        table.add_row(mutant.id, mutant.group, " ".join(mutant.profiles), what, mutant.provenance)
    console.print(table)
    console.show(f"{len(mutants)} mutants")


def show_matrix(matrix: Matrix, console: Console) -> None:
    """Prints what the campaign found: each mutant, then what needs attention, then the numbers."""
    table = _table("mutant", "examples", "found by", "of them expected")
    for mutant in matrix.mutants:
        killers = matrix.killers(mutant)
        expected = " ".join(name for name in killers if name in mutant.expected)
        none = "equivalent" if mutant.equivalent else "none: it survived"
        table.add_row(mutant.id, _examples(matrix, mutant), str(len(killers)), expected or none)
    console.print(table)
    for title, lines in _sections(matrix).items():
        if lines:
            console.show(f"\n{title}:")
            for line in lines:
                console.show(f"  {line}")
    console.print()
    for line in summary(matrix):
        console.show(line)


def interrupted_lines(mutants: Sequence[Mutant], hunts: Sequence[Hunt]) -> list[str]:
    """What is known of a campaign that is not finished: what was to be found and was not, and how much was."""
    expected = {(mutant.id, name) for mutant in mutants for name in mutant.expected}
    asked = [hunt for hunt in hunts if (hunt.mutant, hunt.invariant) in expected]
    missed = [hunt for hunt in asked if not hunt.killed]
    killed = {hunt.mutant for hunt in asked if hunt.killed}
    return [
        *(f"not found: {hunt.mutant} by {hunt.invariant} ({hunt.profile}), seed {hunt.seed}" for hunt in missed),
        f"interrupted: {len(hunts)} searches are finished, and have found {len(killed)} of {len(mutants)} mutants",
    ]


def summary(matrix: Matrix) -> list[str]:
    """The campaign in a few lines."""
    defects = len(matrix.mutants) - len(matrix.equivalents)
    median = matrix.median_kill
    return [
        f"{len(matrix.mutants)} mutants: {defects - len(matrix.survivors)} of {defects} defects found on every one of "
        f"{len(matrix.seeds)} seeds, {len(matrix.equivalents)} equivalents"
        + (f"; median examples to kill: {median:g}" if median is not None else ""),
        f"expected invariants with {matrix.examples} examples, more for what seeks the rare, on each seed, "
        + ("in the first of a mutant's profiles alone, " if matrix.own else "")
        + (f"every other one with {matrix.survey_examples} on the first" if matrix.survey_examples else "no other ones")
        + f"; detr-spec {installed_version()}",
    ]


def _sections(matrix: Matrix) -> dict[str, list[str]]:
    """What needs attention, by title; what only invariants that were not expected can say where they were asked."""
    surveyed = {
        "equivalent mutants that were killed": [
            f"{mutant.id}: {', '.join(killers)}" for mutant, killers in matrix.false_alarms
        ],
        "invariants that killed nothing": list(matrix.killed_nothing),
    }
    return {
        "survivors, with the profiles and seeds on which no expected invariant found them": [
            f"{mutant.id}: {', '.join(f'{profile} {seed}' for profile, seed in places)}"
            for mutant, places in matrix.survivors
        ],
        "expected invariants that missed a mutant somewhere": [
            f"{mutant}: {invariant}" for mutant, invariant in matrix.silent
        ],
        "checks that raised themselves": [
            f"{hunt.invariant} on {hunt.mutant} ({hunt.profile}, seed {hunt.seed}): {hunt.how}"
            for hunt in matrix.unsound
        ],
        **(surveyed if matrix.survey_examples else {}),
    }


def as_json(matrix: Matrix) -> str:
    """Everything that is known, as JSON."""
    document: dict[str, Any] = {
        "version": installed_version(),
        "seeds": matrix.seeds,
        "examples": matrix.examples,
        "survey_examples": matrix.survey_examples,
        "median_examples": matrix.median_kill,
        "survivors": {mutant.id: places for mutant, places in matrix.survivors},
        "false_alarms": {mutant.id: killers for mutant, killers in matrix.false_alarms},
        "silent": matrix.silent,
        "killed_nothing": matrix.killed_nothing,
        "needed_alone": matrix.needed_alone,
        "mutants": [
            {
                **{key: value for key, value in asdict(mutant).items() if key != "edits"},
                "median_examples": matrix.median_examples(mutant),
                "killed_by": {
                    name: {f"{hunt.profile} {hunt.seed}": hunt.examples for hunt in matrix.kills[mutant.id, name]}
                    for name in matrix.killers(mutant)
                },
                "not_killed_by": [name for name in matrix.asked(mutant) if (mutant.id, name) not in matrix.kills],
            }
            for mutant in matrix.mutants
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_markdown(matrix: Matrix) -> str:
    """A table of the mutants by group, and what the campaign found."""
    lines = [
        "# The mutant bank",
        "",
        "Each mutant is the reference with one planted defect, written as a patch in",
        "`conformance/detr_conformance/mutants/bank`. This page is made by",
        f"`detr-spec mutants --seeds {len(matrix.seeds)} --examples {matrix.examples}"
        f" --survey-examples {matrix.survey_examples}{' --own' if matrix.own else ''} --markdown docs/mutants.md`.",
        "",
        *(f"{line[0].upper()}{line[1:]}." + "\n" for line in summary(matrix)),
    ]
    for title, found in _sections(matrix).items():
        lines += [f"**{title[0].upper()}{title[1:]}:** {'; '.join(found) or 'none'}.", ""]
    for group in dict.fromkeys(mutant.group for mutant in matrix.mutants):
        lines += [f"## {group}", "", "| mutant | what was planted | provenance | expected to find it | examples |"]
        lines += ["|---|---|---|---|---|"]
        for mutant in matrix.mutants:
            if mutant.group == group:
                expected = " ".join(f"`{name}`" for name in mutant.expected) or "equivalent"
                cells = (f"`{mutant.id}`", mutant.description, mutant.provenance, expected, _examples(matrix, mutant))
                lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    proofs = [f"- `{mutant.id}`: {mutant.equivalent}" for mutant in matrix.equivalents]
    return "\n".join([*lines, "## Why the equivalents are none", "", *proofs]) + "\n"


def _examples(matrix: Matrix, mutant: Mutant) -> str:
    """The median examples to kill; a dash where there is none."""
    median = matrix.median_examples(mutant)
    return "–" if median is None else f"{median:g}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
