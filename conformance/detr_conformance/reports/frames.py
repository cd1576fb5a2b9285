"""Boxes drawn where they are: an image with queries, targets and a matching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from detr_conformance.reports.scene import Pairs, Scene
from detr_conformance.reports.svg import drawing, element, line, rectangle, text
from detr_spec.boxes import cxcywh_to_xyxy
from detr_spec.values import Floats

WIDTH = 300.0
"""Of a frame, in pixels: it fits a phone."""

MARGIN = 16.0
MOST_BOXES = 60
SMALLEST_SHOWN = 5.0
"""Pixels; a smaller box is marked with a cross."""

WHOLE = 0.55
"""From this share of the image on that the boxes take up, the whole of it is drawn."""


@dataclass(frozen=True)
class View:
    """The part of a plane that is drawn, from (x, y) on, width by height, and its size in pixels."""

    x: float
    y: float
    width: float
    height: float
    pixels_wide: float
    pixels_high: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point, and for points far outside one not far from the frame."""
        across = MARGIN + (x - self.x) / self.width * self.pixels_wide
        down = MARGIN + (y - self.y) / self.height * self.pixels_high
        return min(max(across, -500.0), 1000.0), min(max(down, -500.0), 1000.0)

    def corners(self, box: Floats) -> tuple[float, float, float, float]:
        """A box (x0, y0, x1, y1) in pixels."""
        return (*self.place(float(box[0]), float(box[1])), *self.place(float(box[2]), float(box[3])))


def image_frame(scene: Scene, pairs: Pairs | None, side: str, label: str) -> Markup:
    """An image with its queries and targets, and lines from matched queries to their targets.

    side: "theirs" or "norm", for the colour. The part of the image is drawn that holds the boxes.
    """
    queries = cxcywh_to_xyxy(scene.boxes[:MOST_BOXES])
    targets = cxcywh_to_xyxy(scene.target_boxes[:MOST_BOXES])
    view = _view_of_image(np.concatenate([queries, targets]), scene.size)
    matched = {query for query, _ in pairs or ()}
    shown = [
        *_image_area(view),
        *(_box(view, box, "target") for box in targets),
        *(_box(view, box, f"query {side}" if place in matched else "query") for place, box in enumerate(queries)),
        *_lines(view, queries, targets, pairs or (), side),
        *_names(view, targets, "t", below=True),
        *_names(view, queries, "q", below=False),
    ]
    return drawing(view.pixels_wide + 2 * MARGIN, view.pixels_high + 2 * MARGIN, label, shown)


def scale_text(scene: Scene) -> str:
    """How much of the image its frame shows."""
    boxes = np.concatenate([cxcywh_to_xyxy(scene.boxes), cxcywh_to_xyxy(scene.target_boxes)])
    side = _view_of_image(boxes, scene.size).width
    return "the whole image" if side >= 1 else f"a part of the image, magnified {1 / side:.2g} times"


def _image_area(view: View) -> list[Markup]:
    """The image, as far as it lies in the part that is drawn, on what lies outside it."""
    (left, top), (right, bottom) = view.place(0, 0), view.place(1, 1)
    x0, x1 = max(left, MARGIN), min(right, MARGIN + view.pixels_wide)
    y0, y1 = max(top, MARGIN), min(bottom, MARGIN + view.pixels_high)
    outside = rectangle(MARGIN, MARGIN, view.pixels_wide, view.pixels_high, "outside")
    return [outside, rectangle(x0, y0, x1 - x0, y1 - y0, "paper")]


def _box(view: View, box: Floats, kind: str) -> Markup:
    """A box; a cross where it is too small to be seen, or none at all."""
    if not np.isfinite(box).all():
        return Markup("")
    x0, y0, x1, y1 = view.corners(box)
    if abs(x1 - x0) < SMALLEST_SHOWN and abs(y1 - y0) < SMALLEST_SHOWN:
        x, y, arm = (x0 + x1) / 2, (y0 + y1) / 2, SMALLEST_SHOWN
        return element("path", d=f"M{x - arm:.1f} {y:.1f}h{2 * arm:g}M{x:.1f} {y - arm:.1f}v{2 * arm:g}", class_=kind)
    return rectangle(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0), kind)


def _lines(view: View, queries: Floats, targets: Floats, pairs: Pairs, side: str) -> list[Markup]:
    """Lines from the centre of each matched query to that of its target, with a dot at the target."""
    drawn = []
    for query, target in pairs:
        if query >= len(queries) or target >= len(targets):
            continue
        if not (np.isfinite(queries[query]).all() and np.isfinite(targets[target]).all()):
            continue
        centres = ((box[:2] + box[2:]) / 2 for box in (queries[query], targets[target]))
        start, end = (view.place(float(x), float(y)) for x, y in centres)
        drawn.append(line(*start, *end, f"match {side}"))
        drawn.append(element("circle", cx=end[0], cy=end[1], r=3, class_=f"dot {side}"))
    return drawn


def _names(view: View, boxes: Floats, letter: str, *, below: bool) -> list[Markup]:
    """The names of boxes at their corners; boxes at one place share one text, and texts give way to one another."""
    names: dict[tuple[float, float], list[str]] = {}
    for place, box in enumerate(boxes):
        if not np.isfinite(box).all():
            continue
        x0, y0, x1, y1 = view.corners(box)
        x = min(max(min(x0, x1), MARGIN), MARGIN + view.pixels_wide - 14)
        y = max(y0, y1) + 11 if below else min(y0, y1) - 3
        y = min(max(y, MARGIN - 3), MARGIN + view.pixels_high + 11)
        near = next((spot for spot in names if abs(spot[0] - x) < 16 and abs(spot[1] - y) < 10), (x, y))
        names.setdefault(near, []).append(f"{letter}{place}")
    return [text(x, y, _listed(items), "name") for (x, y), items in names.items()]


def _listed(names: Sequence[str]) -> str:
    return " ".join(names) if len(names) <= 6 else f"{' '.join(names[:5])} … {names[-1]}"


def _view_of_image(boxes: Floats, size: tuple[int, int]) -> View:
    """The whole image, or a square part of it, in its own measure, where the boxes take up little of it."""
    height, width = size
    ratio = min(max(height / width if width > 0 and height > 0 else 1.0, 0.5), 1.4)
    pixels_high = WIDTH * ratio
    known = boxes[np.isfinite(boxes).all(axis=1)].clip(-0.25, 1.25)
    whole = View(0.0, 0.0, 1.0, 1.0, WIDTH, pixels_high)
    if not len(known):
        return whole
    low = known[:, :2].min(axis=0)
    high = known[:, 2:].max(axis=0)
    side = float((high - low).max()) * 1.3
    if side > WHOLE and low.min() >= 0 and high.max() <= 1:
        return whole
    side = max(side, 1 / 256)
    x, y = (low + high) / 2 - side / 2
    return View(float(x), float(y), side, side, WIDTH, pixels_high)
