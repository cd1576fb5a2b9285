"""Which pictures a violation gets: what its case and its numbers allow to be drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from detr_conformance.base.text import counted
from detr_conformance.base.verdict import Judgement
from detr_conformance.reports.frames import image_frame, scale_text
from detr_conformance.reports.heat_map import heat_map, left_out
from detr_conformance.reports.scene import Costs, Pairs, Scene, cost_matrices, scenes
from detr_conformance.reports.svg import short

NO_PAIRS = "theirs is not shown as pairs: see the numbers"


@dataclass(frozen=True)
class Picture:
    """A drawing, its title, and lines below it. side: whose matching it shows, "theirs" or "norm", else nothing."""

    title: str
    drawing: Markup
    lines: tuple[str, ...] = ()
    side: str = ""


def pictures_of(judgement: Judgement) -> tuple[tuple[Picture, ...], str]:
    """The pictures of a judgement, and why there is none where its case cannot be read."""
    try:
        with np.errstate(all="ignore"):
            return tuple(_pictures(judgement)), ""
    except Exception as error:
        # The file may come from anywhere, and a page without one picture is better than no page.
        return (), f"No picture: the case is not of the usual form ({type(error).__name__})."


def _pictures(judgement: Judgement) -> Iterator[Picture]:
    if judgement.counterexample is None:
        return
    matrix = cost_matrices(judgement)
    for scene in scenes(judgement):
        yield from _scene_pictures(scene, judgement, matrix)
    if matrix is not None:
        for_solver = isinstance(judgement.counterexample.case, Mapping) and "costs" in judgement.counterexample.case
        yield _matrix_picture(matrix, "cost matrix", ("r", "c") if for_solver else ("q", "t"))


def _scene_pictures(scene: Scene, judgement: Judgement, shown: Costs | None) -> Iterator[Picture]:
    """The image with their matching and with the norm's, side by side, and the norm's costs unless they are shown."""
    costs = scene.costs
    known = shown if shown is not None and costs is not None and shown.matrix.shape == costs.matrix.shape else costs
    if scene.theirs is not None:
        yield _frame(scene, scene.theirs, known, "theirs", "their")
    norm = None if known is None else known.norm
    if norm is not None:
        beside = _frame(scene, norm, known, "norm", "the norm's")
        unseen = scene.theirs is None and judgement.component == "matcher"
        yield replace(beside, lines=(*beside.lines, NO_PAIRS)) if unseen else beside
    elif scene.theirs is None and len(scene.boxes):
        yield _frame(scene, None, None, "", "as given")
    if shown is None and costs is not None and judgement.component in ("matcher", "criterion", "auxiliary"):
        yield _matrix_picture(costs, f"the norm's costs, {scene.name}")


def _frame(scene: Scene, pairs: Pairs | None, costs: Costs | None, side: str, whose: str) -> Picture:
    lines = [_listed(pairs)] if pairs is not None else []
    if pairs is not None and costs is not None and _fits(pairs, costs):
        lines.append(f"total cost {short(costs.total(pairs))}")
    title = f"{scene.name}: {whose}" if pairs is None else f"{scene.name}: {whose} matching"
    given = f"{counted(len(scene.boxes), 'query', 'queries')} and {counted(len(scene.labels), 'target')}"
    label = f"{title}; {given}; {', '.join(lines)}"
    return Picture(title, image_frame(scene, pairs, side, label), (*lines, scale_text(scene)), side)


def _fits(pairs: Pairs, costs: Costs) -> bool:
    return all(row < costs.matrix.shape[0] and column < costs.matrix.shape[1] for row, column in pairs)


def _listed(pairs: Pairs) -> str:
    shown = ", ".join(f"q{query} → t{target}" for query, target in pairs[:8])
    return f"{shown}, …" if len(pairs) > 8 else shown


def _matrix_picture(costs: Costs, title: str, letters: tuple[str, str] = ("q", "t")) -> Picture:
    lines = [
        f"{whose}: total {short(costs.total(pairs))}"
        for whose, pairs in (("theirs, solid", costs.theirs), ("the norm's, dashed", costs.norm))
        if pairs is not None and _fits(pairs, costs)
    ]
    label = f"{title}, {costs.matrix.shape[0]} × {costs.matrix.shape[1]}; {'; '.join(lines)}"
    cut = left_out(costs.matrix)
    return Picture(title, heat_map(costs, *letters, label), (*lines, *([cut] if cut else [])))
