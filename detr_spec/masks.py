"""Segmentation masks of one size: predictions resized to their targets, and targets padded. norm §4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import cast

import numpy as np

from detr_spec.tolerance import (
    Numbers,
    SameNumbers,
    absolute,
    dtype_of,
    hull,
    is_interval,
    lift,
    maximum,
    minimum,
    values,
)
from detr_spec.values import Booleans, Integers, InvalidValue, Matching, Target, Targets


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
    positions = minimum(maximum(positions, 0.0), float(old - 1))
    nearest = np.rint(values(positions)).astype(np.int64)
    pixels = np.clip(nearest - 1, 0, max(old - 3, 0))[:, None] + np.arange(min(old, 3))
    return pixels, maximum(1.0 - absolute(positions[:, None] - pixels.astype(np.float64)), 0.0)


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


def _masks_of(target: Target) -> Booleans:
    if target.masks is None:
        raise InvalidValue("a target has no masks; expected bool [n, H, W], for mask losses are asked for")
    return target.masks
