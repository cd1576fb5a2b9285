"""The matrix as a picture: one HTML page, a row for each mutant and a column for each invariant."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from math import log
from statistics import median
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from detr_conformance.campaign.matrix import Matrix
from detr_conformance.campaign.show import summary
from detr_conformance.mutants.bank import Mutant

CELL = 6
"""The width and height of a cell, in pixels."""

DARK, LIGHT = 25, 80
"""The lightness of a kill by the first example, and of one by the last, in percent."""


class Run(NamedTuple):
    """Equal names beside each other: the name, the place of the first, and how many there are."""

    name: str
    start: int
    length: int


def matrix_page(matrix: Matrix) -> str:
    """The page as HTML."""
    template = (files(__package__) / "page.html").read_text(encoding="utf-8")
    page: str = (
        Environment(autoescape=True, undefined=StrictUndefined)
        .from_string(template)
        .render(
            rows=[_row(matrix, mutant) for mutant in matrix.mutants],
            columns=by_component(matrix),
            groups=runs_of([mutant.group for mutant in matrix.mutants]),
            components=runs_of([name.partition(".")[0] for name in by_component(matrix)]),
            cell=CELL,
            summary=summary(matrix),
            survivors=[mutant.id for mutant, _ in matrix.survivors],
        )
    )
    return page


def _row(matrix: Matrix, mutant: Mutant) -> dict[str, object]:
    cells = []
    for place, name in enumerate(by_component(matrix)):
        kills = matrix.kills.get((mutant.id, name), ())
        if kills:
            examples = median(hunt.examples for hunt in kills)
            title = f"{mutant.id} × {name}: {examples:g} examples{', expected' if name in mutant.expected else ''}"
            cells.append({"place": place, "title": title, "colour": _colour(examples, matrix, name in mutant.expected)})
    return {"id": mutant.id, "description": mutant.description, "cells": cells}


def _colour(examples: float, matrix: Matrix, expected: bool) -> str:
    """Darker for fewer examples, on a logarithmic scale; expected invariants in another hue."""
    share = log(max(examples, 1)) / log(max(matrix.examples, 2))
    return f"hsl({15 if expected else 215} 70% {DARK + (LIGHT - DARK) * min(share, 1):.0f}%)"


def by_component(matrix: Matrix) -> list[str]:
    """The invariants, those of each component together, in the order in which the bank has its groups."""
    return sorted(matrix.invariants, key=lambda name: name.partition(".")[0])


def runs_of(names: Sequence[str]) -> list[Run]:
    """Runs of equal names, with the place where each begins and its length."""
    found: list[Run] = []
    start = 0
    for name, run in groupby(names):
        length = len(list(run))
        found.append(Run(name, start, length))
        start += length
    return found
