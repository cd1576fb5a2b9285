"""Where an image lies in the square input of a model: stretched over all of it, or scaled by one ratio and padded.

Source: the letterbox of YOLO's successors, as ultralytics and others undo it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from detr_spec.boxes import cxcywh_to_xyxy
from detr_spec.parameters import parameter
from detr_spec.profile import DetectionRules
from detr_spec.tolerance import Interval, SameNumbers, concatenate, hull, lift
from detr_spec.values import Floats, Integers

ANY_SIDES = (640, 641)
"""Sides of inputs of which none matters: for each image one at least has a ratio that is rounded."""

TIE = 2.0**-20
"""How near a scaled side is to lie to half a pixel, in parts of the input's, for either whole number to be right."""


def per_corner(size: Integers) -> Floats:
    """(height, width) → (W, H, W, H)."""
    height, width = size
    return np.array([width, height, width, height], dtype=np.float64)


def in_pixels(corners: SameNumbers, size: Integers, rules: DetectionRules) -> SameNumbers:
    """Corners relative to the input as pixels of an image of (height, width), or beyond it; xyxy [..., 4] → [..., 4].

    An interval holds the usual orders of evaluation.
    """
    if rules.geometry == "resized":
        return corners * per_corner(size)
    if not isinstance(corners, Interval):
        return cast(SameNumbers, mappings(cast(Floats, corners), size, rules)[0])
    ways = _every_way(size, rules, corners.dtype, lambda side, ratio, before: _undone(corners, side, ratio, before))
    return cast(SameNumbers, ways)


def mappings(corners: Floats, size: Integers, rules: DetectionRules) -> list[Floats]:
    """Corners likewise, by each padding that may be right; of arrays."""
    if rules.geometry == "resized":
        return [corners * per_corner(size)]
    longest = float(max(size))
    side = float(rules.input_side or longest)
    return [corners * longest - before * (longest / side) for before in _paddings(size, rules, side)]


def boxes_in_pixels(boxes: Interval, size: Integers, rules: DetectionRules) -> Interval:
    """Relative cxcywh as xyxy in pixels likewise, corners before or after; [..., 4] → [..., 4]."""
    from_corners = in_pixels(cxcywh_to_xyxy(boxes), size, rules)
    if rules.geometry == "resized":
        return hull(from_corners, cxcywh_to_xyxy(boxes * per_corner(size)))

    def from_centres(side: float, ratio: Interval, before: Interval) -> Interval:
        centres = boxes[..., :2] * side - before[:2]
        return cxcywh_to_xyxy(concatenate([centres, boxes[..., 2:] * side], axis=-1) / ratio)

    return hull(from_corners, _every_way(size, rules, boxes.dtype, from_centres))


def _undone(corners: Interval, side: float, ratio: Interval, before: Interval) -> Interval:
    """Corners in pixels: padding taken away from those of the input, of which it is a part, or from the image's."""
    scaled = corners * side - before
    return hull(
        scaled / ratio,
        scaled * (1.0 / ratio),
        (corners - before / side) * (side / ratio),
        corners * (side / ratio) - before / ratio,
    )


def _every_way(
    size: Integers, rules: DetectionRules, dtype: str, undone: Callable[[float, Interval, Interval], Interval]
) -> Interval:
    """What is undone by each ratio and padding that an implementation may have in numbers of a dtype."""
    ways = []
    for side in map(float, ANY_SIDES if rules.input_side is None else (rules.input_side,)):
        longest = float(max(size))
        ratio = hull(parameter(side / longest, dtype), lift(np.array(side), dtype) / longest)
        for before in _paddings(size, rules, side):
            told = concatenate([parameter(float(one), dtype).reshape(1) for one in before])
            if rules.input_side is None and rules.geometry == "letterboxed":
                told = hull(told, (side - ratio * per_corner(size)) * 0.5)
            ways.append(undone(side, ratio, told))
    return hull(*ways)


def _paddings(size: Integers, rules: DetectionRules, side: float) -> list[Floats]:
    """How many pixels of an input lie before an image on each axis, (x, y, x, y); two where rounding may decide."""
    scaled = per_corner(size) * side / float(max(size))
    if rules.geometry == "padded-behind":
        return [np.zeros(4)]
    if rules.input_side is None:
        return [(side - scaled) / 2]
    whole = (np.round(scaled + shift) for shift in (0.0, -TIE * side, TIE * side))
    return list({tuple(before): before for before in (np.floor((side - one) / 2) for one in whole)}.values())
