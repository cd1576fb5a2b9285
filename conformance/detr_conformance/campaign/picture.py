"""The matrix as one small picture, for a page that has no room for names: a column a mutant, a row an invariant."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import log
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from detr_conformance.base.figures import svg
from detr_conformance.campaign.matrix import Matrix

EXPECTED, OTHER = (0.77, 0.25, 0.05), (0.13, 0.36, 0.66)
"""The colours of a kill by the first example: by an invariant that was expected to find it, and by another one."""

LIGHTEST = 0.7
"""How far from its colour towards white a kill by the last example is."""

CELL = 0.02
"""The width and height of a cell, in inches."""

LEFT, ABOVE, MARGIN = 0.8, 0.7, 0.1
"""What surrounds the cells, in inches: the components' names, the groups' names, and nothing."""


class Run(NamedTuple):
    """Equal names beside each other: the name, the place of the first, and how many there are."""

    name: str
    start: int
    length: int


def matrix_picture(matrix: Matrix) -> str:
    """The picture as SVG."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    width, height = CELL * len(matrix.mutants), CELL * len(matrix.invariants)
    size = LEFT + width + MARGIN, MARGIN + height + ABOVE
    figure = Figure(figsize=size, facecolor="white")
    axes = figure.add_axes((LEFT / size[0], MARGIN / size[1], width / size[0], height / size[1]))
    axes.imshow(colours(matrix), aspect="auto", interpolation="none")
    axes.tick_params(length=0, labelsize=7)
    axes.xaxis.tick_top()
    groups = runs_of([mutant.group for mutant in matrix.mutants])
    components = runs_of([name.partition(".")[0] for name in by_component(matrix)])
    axes.set_xticks(_middles(groups), [run.name for run in groups], rotation=35, ha="left")
    axes.set_yticks(_middles(components), [run.name for run in components])
    for line, runs in ((axes.axvline, groups), (axes.axhline, components)):
        for run in runs[1:]:
            line(run.start - 0.5, color="0.8", linewidth=0.5)
    return svg(figure)


def _middles(runs: Sequence[Run]) -> list[float]:
    return [run.start + (run.length - 1) / 2 for run in runs]


def colours(matrix: Matrix) -> Any:
    """The colours of the cells, [invariants, mutants, 3]: white where nothing was killed, darker for fewer examples."""
    cells = np.ones((len(matrix.invariants), len(matrix.mutants), 3))
    for column, mutant in enumerate(matrix.mutants):
        for row, name in enumerate(by_component(matrix)):
            kills = matrix.kills.get((mutant.id, name), ())
            if kills:
                examples = median(hunt.examples for hunt in kills)
                share = LIGHTEST * min(log(examples) / log(max(matrix.examples, 2)), 1.0)
                colour = np.array(EXPECTED if name in mutant.expected else OTHER)
                cells[row, column] = colour + share * (1 - colour)
    return cells


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
