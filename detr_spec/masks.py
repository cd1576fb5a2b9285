"""Segmentation masks where they are compared: at the pixels of padded targets, or at points of the image. norm §4.

Cheng et al. 2022, "Mask2Former", section 3.3, compares masks at points that are drawn at random. What is drawn is not
part of a formula: the points are given, or nothing but what holds for all of them is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, cast

import numpy as np

from detr_spec.declarations import require_choices
from detr_spec.tolerance import (
    Interval,
    Numbers,
    SameNumbers,
    absolute,
    concatenate,
    dtype_of,
    hull,
    is_interval,
    lift,
    lift_like,
    maximum,
    minimum,
    stop_gradient,
    values,
)
from detr_spec.values import Booleans, Floats, Integers, InvalidValue, Matching, Target, Targets


@dataclass(frozen=True, kw_only=True)
class MaskRules:
    """Where predicted masks are compared with those of targets, and which layers have their losses.

    Points are relative to the image, (x, y) in [0, 1]. Raises `InvalidValue` for what is no choice, or no number.
    """

    compared: Literal["pixels", "points"] = "pixels"
    """At each pixel of the targets, to whose size predictions are resized; or at points that are drawn at random, the
    same ones for all masks of an image in the matching."""
    layers: Literal["last", "every"] = "last"
    """Whether the last decoder layer alone has losses of masks, or auxiliary layers and predictions apart too."""
    points: int = 16
    """At how many points two masks are compared."""
    pixels_per_point: int | None = None
    """Where given, predicted masks of height h and width w are compared at h · w // it points instead: in the losses at
    h of them at least."""
    oversampling: float = 3.0
    """How many times as many points are drawn in the losses as candidates."""
    uncertain: float = 0.75
    """Which share of the points are the candidates with the smallest |logit|; the others are drawn anew."""
    labels: Literal["bilinear", "nearest"] = "bilinear"
    """What a target's mask is at a point: between its four pixels, or that of the nearest pixel."""
    outside: Literal["zeros", "edge"] = "zeros"
    """What lies beyond the pixels of a mask: zeros, or those at the edge."""
    padding: Literal["counted", "left-out"] = "counted"
    """Whether pixels that pad the masks of an image to the size of the batch's largest count in the losses, as
    background; or sums and means are over the pixels of the image alone, whose size is that of its targets' masks."""

    def __post_init__(self) -> None:
        require_choices(self)
        for name in ("points", "pixels_per_point"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise InvalidValue(f"{name} is {count}; expected at least 1")
        if not self.oversampling >= 1:
            raise InvalidValue(f"oversampling is {self.oversampling}; expected at least 1")
        if not 0 <= self.uncertain <= 1:
            raise InvalidValue(f"uncertain is {self.uncertain}; expected a share from 0 to 1")

    def points_in_matching(self, height: int, width: int) -> int:
        """At how many points the matching compares predicted masks of that size."""
        return self.points if self.pixels_per_point is None else height * width // self.pixels_per_point

    def points_in_losses(self, height: int, width: int) -> int:
        """At how many points the losses do."""
        return self.points if self.pixels_per_point is None else max(height, height * width // self.pixels_per_point)

    def candidates(self, count: int) -> int:
        """How many points are drawn for losses at so many."""
        return int(count * self.oversampling)

    def chosen(self, count: int) -> int:
        """How many of so many points are the most uncertain candidates."""
        return int(self.uncertain * count)


@dataclass(frozen=True, eq=False)
class ComparedMasks:
    """Pairs of masks at the N places where they are compared.

    logits: those of the predicted masks, [m, N]. truth: how far inside the target each place lies, from 0 to 1, [m, N],
    or bool, false where a place does not count. count: how many places count, in all pairs or, [m], in each. shares:
    how often each place counts, [m, N], where not all count once.
    """

    logits: Numbers
    truth: Numbers | Booleans
    count: float | Floats
    shares: Numbers | None = None

    def mean(self, terms: Numbers) -> Numbers:
        """The mean over the places of a pair, each as often as it counts; [m, N] → [m]."""
        return self.counted(terms) / self.count

    def counted(self, terms: Numbers) -> Numbers:
        """Σ over the places of a pair, each as often as it counts; [m, N] → [m]."""
        return (terms if self.shares is None else terms * self.shares).sum(axis=1)

    def covered(self) -> Numbers:
        """Σ of the truth over the places of a pair, each as often as it counts; pixels are counted exactly; [m]."""
        if isinstance(self.truth, np.ndarray) and self.truth.dtype == np.bool_:
            return np.asarray(self.truth.sum(axis=1), dtype=np.float64)
        return self.counted(self.inside())

    def inside(self) -> Numbers:
        """The truth as numbers of the kind of the logits; [m, N]."""
        if isinstance(self.truth, np.ndarray):
            return lift_like(self.truth.astype(np.float64), stop_gradient(self.logits))
        return self.truth


@lru_cache(maxsize=512)
def interpolation(new: int, old: int, dtype: str | None) -> tuple[Integers, Numbers]:
    """Linear interpolation from `old` pixels to `new` ones: which each new pixel is made of, and the weight of each.

    Both are [new, k]: of a pixel and those beside it, three, or all where there are fewer. New pixel i has its centre
    at i + 1/2 on an axis of length `new`; on the old axis, whose pixels lie at 0 … old − 1, that is
    s = (i + 1/2) · old/new − 1/2, kept between the first and the last of them. An old pixel at p weighs
    max(0, 1 − |s − p|). Source: PyTorch's documentation of `interpolate`, mode "bilinear", align_corners=False.

    Where there is a dtype, weights are intervals with its rounding: a coordinate that is off by δ changes its two
    weights by δ. They also hold coordinates that pass through −1 … 1, as point samplers take them.
    """
    middles = np.arange(new, dtype=np.float64) + 0.5
    centres: Numbers = middles if dtype is None else lift(middles, dtype)
    positions = centres * float(old) / float(new) - 0.5
    if is_interval(positions):
        centred = centres * 2.0 / float(new) - 1.0
        positions = hull(positions, (centred + 1.0) * (old / 2.0) - 0.5)
    return _neighbours(minimum(maximum(positions, 0.0), float(old - 1)), old)


def _neighbours(positions: Numbers, count: int) -> tuple[Integers, Numbers]:
    """The pixels beside positions on an axis of so many, and their weights; [n] → [n, k] twice."""
    nearest = np.clip(np.rint(values(positions)), 0, count - 1).astype(np.int64)
    pixels = np.clip(nearest - 1, 0, max(count - 3, 0))[:, None] + np.arange(min(count, 3))
    return pixels, maximum(1.0 - absolute(positions[:, None] - pixels.astype(np.float64)), 0.0)


def _positions(coordinates: Floats, count: int, dtype: str | None) -> Numbers:
    """Where coordinates in [0, 1] lie on an axis of so many pixels, whose centres are at 0 … count − 1; [n] → [n].

    Where there is a dtype, they are intervals, of positions that pass through −1 … 1 as well.
    """
    if dtype is None:
        return coordinates * count - 0.5
    given = lift(coordinates, dtype)
    turned = given * 2.0 - 1.0
    return hull(
        given * float(count) - 0.5, (turned + 1.0) * (count / 2.0) - 0.5, (turned * count + (count - 1.0)) / 2.0
    )


def at_points(masks: SameNumbers, points: Floats, outside: str) -> SameNumbers:
    """Masks between their pixels, at points (x, y) in [0, 1]; [m, h, w] and [n, 2] → [m, n].

    Source: PyTorch's documentation of `grid_sample`, mode "bilinear", align_corners=False, with a padding of zeros or
    of the border.
    """
    sides, dtype = masks.shape[1:], dtype_of(masks)
    found = []
    for coordinates, side in zip((points[:, 1], points[:, 0]), sides, strict=True):
        positions = _positions(coordinates, side, dtype)
        if outside == "edge":
            positions = minimum(maximum(positions, 0.0), float(side - 1))
        found.append(_neighbours(positions, side))
    (rows, of_rows), (columns, of_columns) = found
    pixels = masks[:, rows[:, :, None], columns[:, None, :]]
    weighted = pixels * (of_rows[:, :, None] * of_columns[:, None, :])
    return cast(SameNumbers, weighted.reshape(len(masks), len(points), rows.shape[1] * columns.shape[1]).sum(axis=2))


def _nearest(positions: Numbers, count: int) -> list[Integers]:
    """The nearest pixels of positions on an axis of so many, [n]; and of intervals those that rounding may say."""
    ways = [np.rint(values(positions))]
    if isinstance(positions, Interval):
        ways += [np.ceil(positions.lower - 0.5), np.floor(positions.upper + 0.5)]
    return [np.clip(own, 0, count - 1).astype(np.int64) for own in ways]


def labels_at_points(masks: Booleans, points: Floats, rules: MaskRules, like: Numbers) -> Numbers:
    """How far inside each mask points lie, from 0 to 1, as the rules read it; bool [m, H, W] and [n, 2] → [m, n].

    The numbers are of the kind of `like`. Where rounding may decide which pixel is the nearest, a range holds both.
    """
    numbers = lift_like(masks.astype(np.float64), stop_gradient(like))
    if rules.labels == "bilinear":
        return at_points(numbers, points, rules.outside)
    rows, columns = (
        _nearest(_positions(coordinates, side, dtype_of(numbers)), side)
        for coordinates, side in zip((points[:, 1], points[:, 0]), masks.shape[1:], strict=True)
    )
    ways = [numbers[:, row, column] for row in rows for column in columns]
    return hull(*ways) if is_interval(numbers) else ways[0]


def _anywhere(masks: Numbers, count: int, outside: str) -> Numbers:
    """The range of masks at points that are not known, so many times, of arrays the mean; [m, h, w] → [m, count]."""
    whole = stop_gradient(masks).reshape(len(masks), masks.shape[1] * masks.shape[2])
    if not isinstance(whole, Interval):
        return np.repeat(values(whole).mean(axis=1)[:, None], count, axis=1)
    least, most = whole.lower.min(axis=1), whole.upper.max(axis=1)
    if outside == "zeros":
        least, most = np.minimum(least, 0.0), np.maximum(most, 0.0)
    value, lower, upper = (np.repeat(part[:, None], count, axis=1) for part in (whole.value.mean(axis=1), least, most))
    return Interval(value, lower, upper, whole.dtype)


def repeated(points: Floats, count: int) -> Floats:
    """The first so many points, from the first again after the last; [n, 2] → [count, 2]."""
    return points[np.arange(count) % len(points)]


def _most_uncertain(logits: Numbers, count: int) -> Numbers:
    """1 for the `count` smallest |logits| of each row, else 0; between where rounding may decide; [m, n] → [m, n]."""
    sizes = absolute(stop_gradient(logits))
    order = np.argsort(np.argsort(values(sizes), axis=1, kind="stable"), axis=1, kind="stable")
    chosen = (order < count).astype(np.float64)
    if not isinstance(sizes, Interval):
        return chosen
    certain = (sizes.lower[:, None, :] <= sizes.upper[:, :, None]).sum(axis=2) <= count
    possible = (sizes.upper[:, None, :] < sizes.lower[:, :, None]).sum(axis=2) < count
    if (certain == possible).all():
        return lift(chosen, sizes.dtype)
    return Interval(chosen, certain.astype(np.float64), possible.astype(np.float64), sizes.dtype)


def compared_in_matching(masks: SameNumbers, target: Target, rules: MaskRules, points: Floats) -> ComparedMasks:
    """All predicted masks [Q, h, w] of an image at the points of its matching, [Q, P], and its targets', [n, P].

    points: [S, 2], of which the first are drawn; without any, the ranges of what they may give.
    """
    count, truth = rules.points_in_matching(*masks.shape[1:]), _masks_of(target)
    if not len(points):
        return _unknown(masks, truth, count, rules)
    drawn = repeated(points, count)
    inside = labels_at_points(truth, drawn, rules, masks)
    return ComparedMasks(at_points(masks, drawn, rules.outside), inside, float(count))


def compared_in_losses(
    masks: SameNumbers, truth: Booleans, rules: MaskRules, points: Floats, own: Booleans | None = None
) -> ComparedMasks:
    """Matched masks, and those of their targets, where the losses compare them; [m, h, w] and bool [m, H, W].

    points: as for `compared_in_matching`; each drawing begins with the first of them. own: which pixels are those of
    the image, [m, H, W], where padding is left out.
    """
    if rules.compared == "pixels":
        flat = len(truth), truth.shape[1] * truth.shape[2]
        logits, inside = bilinear(masks, *truth.shape[1:]).reshape(*flat), truth.reshape(flat)
        if own is None:
            return ComparedMasks(logits, inside, float(flat[1]))
        once = own.reshape(flat).astype(np.float64)
        return ComparedMasks(logits, inside, once.sum(axis=1), lift_like(once, stop_gradient(logits)))
    count = rules.points_in_losses(*masks.shape[1:])
    if not len(points):
        return _unknown(masks, truth, count, rules)
    chosen = rules.chosen(count)
    candidates, fresh = repeated(points, rules.candidates(count)), repeated(points, count - chosen)
    logits, others = (at_points(masks, drawn, rules.outside) for drawn in (candidates, fresh))
    shares = _most_uncertain(logits, chosen), lift_like(np.ones((len(truth), len(fresh))), stop_gradient(logits))
    drawn = np.concatenate([candidates, fresh])
    return ComparedMasks(
        concatenate([logits, others], axis=1),
        labels_at_points(truth, drawn, rules, masks),
        float(count),
        concatenate(shares, axis=1),
    )


def _unknown(masks: Numbers, truth: Booleans, count: int, rules: MaskRules) -> ComparedMasks:
    """What masks may be at points that are not known."""
    inside = lift_like(truth.astype(np.float64), stop_gradient(masks))
    # The nearest pixel is one of the mask.
    outside = "edge" if rules.labels == "nearest" else rules.outside
    return ComparedMasks(_anywhere(masks, count, rules.outside), _anywhere(inside, count, outside), float(count))


def bilinear(masks: SameNumbers, height: int, width: int) -> SameNumbers:
    """Masks resized by bilinear interpolation, pixels being areas; [m, h, w] → [m, height, width].

    The rows are interpolated first, then the columns; there is no antialiasing when a mask becomes smaller.
    """
    dtype = dtype_of(masks)
    rows, of_rows = interpolation(height, masks.shape[1], dtype)
    columns, of_columns = interpolation(width, masks.shape[2], dtype)
    high = (masks[:, rows] * of_rows[None, :, :, None]).sum(axis=2)
    return cast(SameNumbers, (high[:, :, columns] * of_columns[None, None, :, :]).sum(axis=3))


def common_size(targets: Targets) -> tuple[int, int]:
    """The largest height and the largest width of the images' masks, [0, H, W] of images without targets included.

    Predictions cover the padded batch, whichever of its images has objects.
    """
    sizes = [_masks_of(target).shape[1:] for target in targets]
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def padded(target: Target, height: int, width: int) -> Booleans:
    """The target's masks with background added right and below; bool [n, height, width]."""
    masks = _masks_of(target)
    whole = np.zeros((len(masks), height, width), dtype=np.bool_)
    whole[:, : masks.shape[1], : masks.shape[2]] = masks
    return whole


def padded_targets(targets: Targets) -> Targets:
    """The targets, each with masks of the common size; as they are where they have none."""
    if any(target.masks is None for target in targets):
        return targets
    height, width = common_size(targets)
    return tuple(replace(target, masks=padded(target, height, width)) for target in targets)


def matched_masks(targets: Targets, matchings: Sequence[Matching]) -> Booleans:
    """The masks of the matched targets, padded to the common size, in the order of `losses.matched_rows`; [m, H, W]."""
    height, width = common_size(targets)
    pairs = zip(targets, matchings, strict=True)
    return np.concatenate([padded(target, height, width)[matching.targets] for target, matching in pairs])


def matched_pixels(targets: Targets, matchings: Sequence[Matching]) -> Booleans:
    """Which pixels of `matched_masks` are those of the pair's image, and no padding; bool [m, H, W]."""
    whole = tuple(replace(target, masks=np.ones_like(_masks_of(target))) for target in targets)
    return matched_masks(whole, matchings)


def _masks_of(target: Target) -> Booleans:
    if target.masks is None:
        raise InvalidValue("a target has no masks; expected bool [n, H, W], for mask losses are asked for")
    return target.masks
