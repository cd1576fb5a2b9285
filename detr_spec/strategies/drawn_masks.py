"""Masks for set-prediction cases: predicted ones, those of targets, and the points at which they are compared."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from numpy.typing import NDArray

from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.masks import MaskRules, common_size
from detr_spec.profile import Profile
from detr_spec.strategies.numbers import Drawn, Numbers, Seeded
from detr_spec.strategies.regimes import CONFIDENT_LOGIT, SATURATED_LOGIT
from detr_spec.values import Booleans, Floats, Integers, Outputs, Target, Targets

Scalar = TypeVar("Scalar", bound=np.generic)

LARGE_SHARE = 5
"""One case in this many has large masks."""

LONGEST_DRAWN_SIDE, LONGEST_SEEDED_SIDE = 8, 40
"""The longest side of a target's mask whose pixels are drawn one by one, and of one whose pixels come from a seed.

Those that are predicted have at most half of it. 1 600 pixels are more than a byte counts, and than a tile holds.
"""

MOST_DRAWN = 2100
"""With more pixels than this, they come from a seed; no small case has."""

POINTS = 64
"""How many points a drawing has before it begins anew."""

FINEST_POINT = 2.0**-8
"""What coordinates of points are multiples of; every dtype holds them."""

UNIFORM_LOGITS = (0.0, 1.0, -1.0, 4.0, -4.0, SATURATED_LOGIT, -SATURATED_LOGIT)
"""The logits of masks that are the same at all pixels."""


def masks_fit(outputs: Outputs, targets: Targets, rules: MaskRules) -> bool:
    """Whether all masks have pixels, and the sizes that cases have.

    Where pixels are compared, predictions are no larger than the largest of the targets' masks; where points are, the
    targets' masks are of one size, and predictions have as many pixels as one point stands for.
    """
    if outputs.masks is None:
        return True
    sizes = {target.masks.shape[1:] if target.masks is not None else (0, 0) for target in targets}
    predicted, largest = (
        [layer.masks.shape[2:] for layer in outputs.layers if layer.masks is not None],
        common_size(targets),
    )
    if any(0 in size for size in (*sizes, *predicted)) or len(set(predicted)) > 1:
        return False
    height, width = predicted[0]
    if rules.compared == "points":
        return len(sizes) == 1 and height * width >= (rules.pixels_per_point or 1)
    return height <= largest[0] and width <= largest[1]


def every_layer_has_masks(profile: Profile) -> bool:
    """Whether auxiliary layers predict masks too."""
    return profile.masks.layers == "every" or profile.matches_masks


def with_masks(draw: DrawFn, domain: Domain, case: SetCase) -> SetCase:
    """The case with predicted masks, in the layers that have them, and those of targets, as `mask_cases` says."""
    profile = domain.profile
    rules, layers = profile.masks, case.outputs.layers if every_layer_has_masks(profile) else case.outputs.layers[-1:]
    numbers = _source(draw, domain, case, len(layers))
    longest = LONGEST_SEEDED_SIDE if _is_large(draw, domain, numbers) else LONGEST_DRAWN_SIDE
    least = isqrt((rules.pixels_per_point or 1) - 1) + 1
    height, width = (draw(st.integers(least, longest // 2)) for _ in range(2))
    sizes = _sizes(draw, len(case.targets), (height, width), longest)
    if rules.compared == "points":
        # What predicts a target with confidence has a mask of its size.
        sizes = np.maximum(np.repeat(sizes[:1], len(sizes), axis=0), least)
    shape = (len(layers), *case.outputs.logits.shape[:2], longest // 2, longest // 2)
    logits = _corner(_logits(numbers, draw(st.integers(1, 4)) == 4, shape), height, width)
    targets = tuple(
        replace(target, masks=_corner(_shapes(numbers, (len(target), longest, longest)), *size))
        for target, size in zip(case.targets, sizes.tolist(), strict=True)
    )
    sample = given_points(draw, domain)
    if rules.compared == "points":
        targets = tuple(map(_alike_where_alike, targets))
        logits = np.stack([_alike_of_layer(own, masks) for own, masks in zip(layers, logits, strict=True)])
        if not sample and draw(st.booleans()):
            logits, targets = _uniform(numbers, logits), tuple(_uniform_target(numbers, target) for target in targets)
        if case.regime == "confident":
            logits = np.stack([_confident(layer, targets) for layer in layers])
    predicted = [replace(layer, masks=own) for layer, own in zip(layers, logits, strict=True)]
    *earlier, last = (*case.outputs.layers[: len(case.outputs.layers) - len(predicted)], *predicted)
    return replace(
        case,
        configuration=replace(case.configuration, masks=True, sample=sample),
        outputs=replace(last, auxiliary=tuple(earlier)),
        targets=targets,
        sizes=sizes,
    )


def blank_masks(profile: Profile, *shape: int) -> Floats | None:
    """Predicted masks of 0, which all cost the same for a target without pixels; none where they are not needed."""
    side = isqrt((profile.masks.pixels_per_point or 4) - 1) + 1
    return np.zeros((*shape, side, side)) if profile.matches_masks else None


def with_blank_masks(target: Target, profile: Profile) -> Target:
    """The target, with masks without pixels of the object where the dialect needs masks."""
    return replace(target, masks=np.zeros((len(target), 4, 4), dtype=np.bool_)) if profile.matches_masks else target


def given_points(draw: DrawFn, domain: Domain) -> tuple[tuple[float, float], ...]:
    """The points at which masks are compared; none where the dialect has none, or the implementation takes none."""
    if domain.profile.masks.compared == "pixels" or not domain.limits.mask_points:
        return ()
    generator = np.random.default_rng(draw(st.integers(0, 2**16 - 1)))
    drawn = generator.integers(0, round(1 / FINEST_POINT), (POINTS, 2)) * FINEST_POINT
    return tuple((float(x), float(y)) for x, y in drawn)


def _source(draw: DrawFn, domain: Domain, case: SetCase, layers: int) -> Numbers:
    """Where pixels come from; from a seed where every case has masks, of which there are too many to draw."""
    predicted = layers * case.outputs.batch * case.outputs.queries * (LONGEST_DRAWN_SIDE // 2) ** 2
    pixels = predicted + sum(map(len, case.targets)) * LONGEST_DRAWN_SIDE**2
    seeded = domain.profile.matches_masks or pixels > MOST_DRAWN
    if seeded or (not domain.small and draw(st.integers(1, LARGE_SHARE)) == LARGE_SHARE):
        return Seeded(draw(st.integers(0, 2**32 - 1)), case.configuration.dtype)
    return Drawn(draw)


def _is_large(draw: DrawFn, domain: Domain, numbers: Numbers) -> bool:
    """Whether masks are large: where they come from a seed, unless every case's do."""
    if not domain.profile.matches_masks:
        return isinstance(numbers, Seeded)
    return not domain.small and draw(st.integers(1, LARGE_SHARE)) == LARGE_SHARE


def _alike_where_alike(target: Target) -> Target:
    """The target, whose objects that are the same in all else have the same mask."""
    assert target.masks is not None
    rows = np.concatenate([target.labels[:, None].astype(np.float64), target.boxes], axis=1)
    return replace(target, masks=target.masks[_first_alike(rows)])


def _alike_of_layer(layer: Outputs, masks: Floats) -> Floats:
    """The masks of a layer, of whose queries those that are the same in all else have the same; [B, Q, h, w]."""
    rows = np.concatenate([layer.logits, layer.boxes], axis=2)
    return np.stack([own[_first_alike(image)] for own, image in zip(masks, rows, strict=True)])


def _first_alike(rows: Floats) -> Integers:
    """The first row that each row is the same as; [n, k] → [n]."""
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    first: Integers = (rows[:, None, :] == rows[None, :, :]).all(axis=2).argmax(axis=1)
    return first


def _uniform(numbers: Numbers, logits: Floats) -> Floats:
    """Masks that have one logit at all pixels; [..., h, w]."""
    chosen = np.array(UNIFORM_LOGITS)[numbers.integers(0, len(UNIFORM_LOGITS) - 1, logits.shape[:-2])]
    uniform: Floats = np.broadcast_to(chosen[..., None, None], logits.shape).copy()
    return uniform


def _uniform_target(numbers: Numbers, target: Target) -> Target:
    """The target with objects that cover all pixels, or none."""
    assert target.masks is not None
    chosen = numbers.integers(0, 1, (len(target),)).astype(np.bool_)
    return replace(target, masks=np.broadcast_to(chosen[:, None, None], target.masks.shape).copy())


def _confident(layer: Outputs, targets: Targets) -> Floats:
    """Masks of the targets' size: the query that has a target's box has its mask, the others none; [B, Q, H, W]."""
    height, width = common_size(targets)
    masks: Floats = np.full((*layer.logits.shape[:2], height, width), -CONFIDENT_LOGIT)
    for image, target in enumerate(targets):
        assert target.masks is not None
        for place, label in enumerate(target.labels):
            own = (layer.boxes[image] == target.boxes[place]).all(axis=1) & (layer.logits[image, :, label] > 0)
            masks[image, own] = np.where(target.masks[place], CONFIDENT_LOGIT, -CONFIDENT_LOGIT)
    return masks


def _sizes(draw: DrawFn, batch: int, smallest: tuple[int, int], longest: int) -> Integers:
    """The (height, width) of each image's masks, int64 [B, 2]; the largest of each is at least `smallest`."""
    sizes = 1 + Drawn(draw).integers(0, longest - 1, (batch, 2))
    for axis, side in enumerate(smallest):
        image = draw(st.integers(0, batch - 1))
        sizes[image, axis] = max(sizes[image, axis], side)
    return sizes


def _logits(numbers: Numbers, saturated: bool, shape: tuple[int, ...]) -> Floats:
    if saturated:
        return numbers.integers(-2, 2, shape).astype(np.float64) * (SATURATED_LOGIT / 2)
    return numbers.reals(-6.0, 6.0, shape)


def _shapes(numbers: Numbers, shape: tuple[int, ...]) -> Booleans:
    return numbers.integers(0, 1, shape).astype(np.bool_)


def _corner(masks: NDArray[Scalar], height: int, width: int) -> NDArray[Scalar]:
    """What lies within height and width of the last pixel, turned round.

    Drawn numbers shrink to ones whose last are not zero; so small masks keep what matters, in their first pixel.
    """
    return masks[..., ::-1, ::-1][..., :height, :width]
