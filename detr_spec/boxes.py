"""Box operations: formats, areas, IoU and GIoU, without any epsilon of their own. norm §2.

Each takes float64 arrays, or intervals, which carry the rounding of a dtype through the formula. Where right
implementations write a formula in several ways that round differently, the interval holds them all.

Areas, and what follows from them, are in float32 where the boxes are in a narrower dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from detr_spec.declarations import require_choices, require_number
from detr_spec.parameters import held
from detr_spec.tolerance import (
    SameNumbers,
    concatenate,
    hull,
    in_dtype,
    is_coarser,
    is_interval,
    maximum,
    minimum,
    values,
    where,
)
from detr_spec.values import NARROW_DTYPES, Floats, InvalidValue, part_dtypes


@dataclass(frozen=True, kw_only=True)
class BoxRules:
    """Box arithmetic: what is added to denominators, and what happens to invalid boxes."""

    iou_epsilon: float = 0.0
    """Added to the union before the division that gives the IoU."""
    giou_epsilon: float = 0.0
    """Added to the enclosing area before the division in the GIoU."""
    least_divisor: float | None = None
    """What the union and the enclosing area are raised to before a division, where they are less; None where not."""
    adjusted: Literal["divisors", "areas"] = "divisors"
    """What these are added to, or what is raised: the divisors alone; or the areas of union and enclosing box, before
    the one is taken from the other."""
    units: Literal["relative", "pixels"] = "relative"
    """What boxes are measured in when they overlap: relative to the image, or in its pixels."""
    quality_units: Literal["as-overlaps", "relative"] = "as-overlaps"
    """What boxes are measured in where their IoU is a target of classes, or a weight of edges."""
    invalid: Literal["refuse", "unchecked"] = "refuse"
    """What GIoU does with a box of x1 < x0 or y1 < y0, or with a NaN: raises, or leaves the answer open."""
    zero_over_zero: Literal["nan", "unchecked"] = "nan"
    """What GIoU answers for two boxes whose union or enclosing area is 0."""

    def __post_init__(self) -> None:
        require_choices(self)
        for name in ("iou_epsilon", "giou_epsilon", "least_divisor"):
            if getattr(self, name) is not None:
                require_number(name, getattr(self, name))
        if self.adjusted == "areas" and self.iou_epsilon > self.giou_epsilon:
            raise InvalidValue(
                f"iou_epsilon, {self.iou_epsilon:g}, exceeds giou_epsilon, {self.giou_epsilon:g}, and both are added "
                "to areas, so that a union exceeds the box that encloses it; expected at most giou_epsilon"
            )

    @property
    def are_exact(self) -> bool:
        """Whether overlaps are divided by the areas themselves, and so do not depend on the unit of length."""
        return self.iou_epsilon == 0 and self.giou_epsilon == 0 and self.least_divisor is None

    def held(self, dtype: str) -> BoxRules:
        """The same with its numbers as ranges; overlaps of narrow dtypes are in float32, and so are these."""
        boxes = part_dtypes(dtype).boxes
        return held(self, "float32" if boxes in NARROW_DTYPES else boxes)


EXACT = BoxRules()


def cxcywh_to_xyxy(boxes: SameNumbers) -> SameNumbers:
    """(cx, cy, w, h) → (cx − w/2, cy − h/2, cx + w/2, cy + h/2); [..., 4] → [..., 4].

    An interval also holds the far corner as the near one plus the side.
    """
    centre, size = boxes[..., :2], boxes[..., 2:]
    low = centre - size * 0.5
    corners = concatenate([low, centre + size * 0.5], axis=-1)
    if not is_interval(boxes):
        return corners
    from_near = concatenate([low, low + size], axis=-1)
    return hull(corners, from_near)


def corners_in(boxes: SameNumbers, pixels: Floats | None) -> SameNumbers:
    """Boxes in cxcywh as xyxy, in pixels where (W, H, W, H) of their images is given; [..., 4] → [..., 4].

    An interval holds the corners of boxes that are in pixels already, too.
    """
    corners = cxcywh_to_xyxy(boxes)
    if pixels is None:
        return corners
    scaled = corners * pixels
    return hull(scaled, cxcywh_to_xyxy(boxes * pixels)) if is_interval(boxes) else scaled


def xyxy_to_cxcywh(boxes: SameNumbers) -> SameNumbers:
    """(x0, y0, x1, y1) → ((x0 + x1)/2, (y0 + y1)/2, x1 − x0, y1 − y0); [..., 4] → [..., 4].

    An interval also holds the centre as the near corner plus half the side.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    size = high - low
    centres = concatenate([(low + high) * 0.5, size], axis=-1)
    if not is_interval(boxes):
        return centres
    from_near = concatenate([low + size * 0.5, size], axis=-1)
    return hull(centres, from_near)


def with_flat_kinks(boxes: SameNumbers) -> SameNumbers:
    """The same boxes; cxcywh [n, 4] → [n, 4].

    Implementations may clamp sides at 0. Valid boxes show that only in the derivative by a side of 0, which is kept or
    0.
    """
    sides = boxes[:, 2:]
    return concatenate([boxes[:, :2], where(values(sides) == 0, maximum(sides, 0.0), sides)], axis=1)


def area(boxes: SameNumbers) -> SameNumbers:
    """(x1 − x0)(y1 − y0) of boxes in xyxy; [..., 4] → [...]."""
    size = sides(boxes[..., :2], boxes[..., 2:])
    return size[..., 0] * size[..., 1]


def sides(near: SameNumbers, far: SameNumbers) -> SameNumbers:
    """Far − near corners; [..., 2] and [..., 2] → [..., 2].

    Areas of boxes narrower than float32 are in float32, so their sides may be rounded to either dtype.
    """
    if not is_coarser(near, "float32"):
        return far - near
    return hull(in_dtype(far, "float32") - in_dtype(near, "float32"), in_dtype(far - near, "float32"))


def intersection_and_union(first: SameNumbers, second: SameNumbers) -> tuple[SameNumbers, SameNumbers]:
    """The areas of a ∩ b and a ∪ b of boxes in xyxy, with broadcasting; [..., 4] and [..., 4] → [...] twice."""
    low = maximum(first[..., :2], second[..., :2])
    high = minimum(first[..., 2:], second[..., 2:])
    size = maximum(sides(low, high), 0.0)
    intersection = size[..., 0] * size[..., 1]
    return intersection, area(first) + area(second) - intersection


def enclosing_area(first: SameNumbers, second: SameNumbers) -> SameNumbers:
    """The area of the smallest box that encloses both, in xyxy, with broadcasting; [..., 4] and [..., 4] → [...]."""
    size = sides(minimum(first[..., :2], second[..., :2]), maximum(first[..., 2:], second[..., 2:]))
    return size[..., 0] * size[..., 1]


def elementwise_iou(first: SameNumbers, second: SameNumbers, rules: BoxRules = EXACT) -> SameNumbers:
    """I / U of boxes in xyxy, position by position with broadcasting; [..., 4] and [..., 4] → [...]."""
    intersection, union = intersection_and_union(first, second)
    return _divided(intersection, union_divisor(union, rules))


def elementwise_giou(first: SameNumbers, second: SameNumbers, rules: BoxRules = EXACT) -> SameNumbers:
    """IoU − (E − U) / E, E the area of the smallest enclosing box; [..., 4] and [..., 4] → [...].

    Where the divisors are the areas that is IoU + U / E − 1, which an interval holds too: it rounds where the first
    form is exact.
    Source: Rezatofighi et al. 2019, "Generalized Intersection over Union", algorithm 1.
    """
    intersection, union = intersection_and_union(first, second)
    enclosing = enclosing_area(first, second)
    of_union, of_enclosing = union_divisor(union, rules), enclosing_divisor(enclosing, rules)
    iou = _divided(intersection, of_union)
    empty = of_enclosing - of_union if rules.adjusted == "areas" else enclosing - union
    giou = iou - _divided(empty, of_enclosing)
    if not rules.are_exact or not is_interval(giou):
        return giou
    return hull(giou, iou + union / enclosing - 1.0)


def union_divisor(union: SameNumbers, rules: BoxRules) -> SameNumbers:
    """The divisor of an intersection: the area of the union, by the rules of a dialect; [...] → [...]."""
    return _divisor(union, rules.iou_epsilon, rules.least_divisor)


def enclosing_divisor(enclosing: SameNumbers, rules: BoxRules) -> SameNumbers:
    """The divisor of the empty part of an enclosing box: its area, by the rules of a dialect; [...] → [...]."""
    return _divisor(enclosing, rules.giou_epsilon, rules.least_divisor)


def _divisor(area: SameNumbers, epsilon: float, least: float | None) -> SameNumbers:
    divisor = area + epsilon if epsilon else area
    return divisor if least is None else maximum(divisor, least)


def _divided(numerator: SameNumbers, divisor: SameNumbers) -> SameNumbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerator / divisor


def iou(first: SameNumbers, second: SameNumbers, rules: BoxRules = EXACT) -> SameNumbers:
    """The IoU of every pair; xyxy [n, 4] and [m, 4] → [n, m]."""
    return elementwise_iou(first[:, None, :], second[None, :, :], rules)


def giou(first: SameNumbers, second: SameNumbers, rules: BoxRules = EXACT) -> SameNumbers:
    """The GIoU of every pair; xyxy [n, 4] and [m, 4] → [n, m]."""
    return elementwise_giou(first[:, None, :], second[None, :, :], rules)


def kink_distance(predicted: Floats, targets: Floats, rules: BoxRules, unit: Floats | float = 1.0) -> Floats:
    """How far each pair is from where its box terms have no derivative; cxcywh [m, 4] and [m, 4] → [m, 10 or 12].

    These are the places where a coordinate or a corner of both boxes coincides, where they begin to overlap along an
    axis, and where a divisor becomes the least one. unit: the area of each image, in which overlaps are measured; [m].
    """
    first, second = cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(targets)
    overlap = minimum(first[..., 2:], second[..., 2:]) - maximum(first[..., :2], second[..., :2])
    distances: Floats = np.concatenate([np.abs(predicted - targets), np.abs(first - second), np.abs(overlap)], axis=-1)
    if rules.least_divisor is None:
        return distances
    _, union = intersection_and_union(first, second)
    areas, epsilons = (union, enclosing_area(first, second)), (rules.iou_epsilon, rules.giou_epsilon)
    beyond = [area + (epsilon - rules.least_divisor) / unit for area, epsilon in zip(areas, epsilons, strict=True)]
    # Half, as an area of the unit square changes by at most 6 times what its corners are moved, a distance by 3 times.
    return np.concatenate([distances, np.abs(np.stack(beyond, axis=-1)) * 0.5], axis=-1)
