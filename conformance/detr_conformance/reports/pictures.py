"""Which pictures a violation gets: what its case and its numbers allow to be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from detr_conformance.base.text import counted
from detr_conformance.base.verdict import Judgement
from detr_conformance.reports.frames import image_frame, scale_text
from detr_conformance.reports.scene import Costs, Pairs, Scene, scenes, shown_costs
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
    shown = shown_costs(judgement.counterexample)
    for scene in scenes(judgement):
        yield from _scene_pictures(scene, judgement, shown)


def _scene_pictures(scene: Scene, judgement: Judgement, shown: Costs | None) -> Iterator[Picture]:
    """The image with their matching and with the norm's, side by side."""
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
