"""Strategies for cases with masks: set-prediction cases to which predicted masks and masks of targets are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from numpy.typing import NDArray

from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.masks import common_size
from detr_spec.strategies.numbers import Drawn, Numbers, Seeded
from detr_spec.strategies.promises import Promised
from detr_spec.strategies.regimes import SATURATED_LOGIT
from detr_spec.strategies.sets import ALL_REGIMES, LARGE_SHARE, set_cases
from detr_spec.values import Booleans, Floats, Integers, Outputs, Targets

Scalar = TypeVar("Scalar", bound=np.generic)

LONGEST_DRAWN_SIDE, LONGEST_SEEDED_SIDE = 8, 40
"""The longest side of a target's mask whose pixels are drawn one by one, and of one whose pixels come from a seed.

Those that are predicted have at most half of it. 1 600 pixels are more than a byte counts, and than a tile holds.
"""

MOST_DRAWN = 2100
"""With more pixels than this, they come from a seed; no small case has."""


def mask_cases(
    *,
    regimes: Sequence[str] = ALL_REGIMES,
    layers: tuple[int, int] = (1, 1),
    images: tuple[int, int] = (1, 3),
    queries: tuple[int, int] = (1, 6),
    targets: tuple[int, int] = (0, 5),
) -> Promised[SetCase]:
    """Cases of `set_cases`, whose last layer predicts masks and whose targets have masks; mask losses are asked for.

    Predicted masks [B, Q, h, w] are logits in ±6, or of −120, −60, 0, 60 and 120 in one case out of four, with sides
    of 1 to 4, and where they come from a seed to 20. The targets' masks have a size for each image, with sides of 1 to
    8, or 40, and some image's is at least as high, some at least as wide, as the predictions: what right
    implementations do with a mask that becomes smaller is not one thing. Auxiliary layers predict none, as in DETR.
    """
    base = set_cases(regimes=regimes, layers=layers, images=images, queries=queries, targets=targets)

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return _with_masks(domain, base)

    def admits(domain: Domain, drawn: SetCase, left: SetCase) -> bool:
        return base.admits(domain, drawn, left) and masks_fit(left.outputs, left.targets)

    return Promised(strategy, admits)


def fit_masks(outputs: Outputs, targets: Targets) -> Outputs:
    """The outputs, with masks that are predicted no larger than the largest of those targets' masks."""
    if outputs.masks is None:
        return outputs
    height, width = common_size(targets)
    return replace(outputs, masks=outputs.masks[..., :height, :width])


def masks_fit(outputs: Outputs, targets: Targets) -> bool:
    """Whether all masks have pixels, and those that are predicted are no larger than the largest of the targets'."""
    if outputs.masks is None:
        return True
    predicted, largest = outputs.masks.shape[2:], common_size(targets)
    has_pixels = all(target.masks is not None and 0 not in target.masks.shape[1:] for target in targets)
    return has_pixels and 0 < predicted[0] <= largest[0] and 0 < predicted[1] <= largest[1]


@st.composite
def _with_masks(draw: DrawFn, domain: Domain, base: Promised[SetCase]) -> SetCase:
    case: SetCase = draw(base(domain))
    numbers = _source(draw, domain, case)
    longest = LONGEST_SEEDED_SIDE if isinstance(numbers, Seeded) else LONGEST_DRAWN_SIDE
    height, width = (draw(st.integers(1, longest // 2)) for _ in range(2))
    sizes = _sizes(draw, len(case.targets), (height, width), longest)
    predicted = (*case.outputs.logits.shape[:2], longest // 2, longest // 2)
    logits = _logits(numbers, draw(st.integers(1, 4)) == 4, predicted)
    targets = [
        replace(target, masks=_corner(_shapes(numbers, (len(target), longest, longest)), *size))
        for target, size in zip(case.targets, sizes.tolist(), strict=True)
    ]
    return replace(
        case,
        configuration=replace(case.configuration, masks=True),
        outputs=replace(case.outputs, masks=_corner(logits, height, width)),
        targets=tuple(targets),
        sizes=sizes,
    )


def _source(draw: DrawFn, domain: Domain, case: SetCase) -> Numbers:
    predicted = case.outputs.batch * case.outputs.queries * (LONGEST_DRAWN_SIDE // 2) ** 2
    pixels = predicted + sum(map(len, case.targets)) * LONGEST_DRAWN_SIDE**2
    seeded = pixels > MOST_DRAWN or (not domain.small and draw(st.integers(1, LARGE_SHARE)) == LARGE_SHARE)
    return Seeded(draw(st.integers(0, 2**32 - 1)), case.configuration.dtype) if seeded else Drawn(draw)


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
