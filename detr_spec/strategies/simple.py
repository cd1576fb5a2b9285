"""Strategies for the cases of single parts: pairs of box lists, cost matrices, hidden states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import BoxCase, CostCase, HiddenCase
from detr_spec.invariant import Domain
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.drawn_masks import LARGE_SHARE
from detr_spec.strategies.numbers import Drawn, Numbers, Seeded
from detr_spec.strategies.promises import Promised
from detr_spec.strategies.regimes import TINY_STEP, minute_step
from detr_spec.tolerance import SPACING
from detr_spec.values import Floats, round_to


def _source(draw: DrawFn, domain: Domain, dtype: str) -> tuple[Numbers, int]:
    """A source of numbers, and by how much a case drawn from it may be larger than a small one."""
    if not domain.small and draw(st.integers(1, LARGE_SHARE)) == LARGE_SHARE:
        return Seeded(draw(st.integers(0, 2**32 - 1)), dtype), 5
    return Drawn(draw), 1


PIXEL_STEP = 16.0
"""Boxes in pixels have sides of 1 to 256 of these, which every dtype holds."""

PAIRED_REGIMES = ("nested", "identical")

BOX_REGIMES = ("general", "crowded", "tiny-boxes", "minute-boxes", "nested", "identical", "pixels")


def box_cases(*, regimes: Sequence[str] = BOX_REGIMES, count: tuple[int, int] = (1, 4)) -> Promised[BoxCase]:
    """Two lists of boxes with an area, in xyxy, that the dtype holds exactly.

    They lie around the unit square, or in "pixels" with sides up to 4096, whose areas are too large for float16. In
    "minute-boxes" they are near the origin, with sides of 2⁻³⁰ to 2⁻²⁷, or as short as narrow dtypes hold. In
    "nested" and "identical" the lists have one length. "nested": each of the first lies inside its partner of
    the second. "identical": the lists are equal.
    """

    def strategy(domain: Domain) -> SearchStrategy[BoxCase]:
        return _box_case(domain, tuple(regimes), count)

    def admits(_: Domain, __: BoxCase, left: BoxCase) -> bool:
        paired = left.regime in PAIRED_REGIMES
        return min(len(left.first), len(left.second)) >= count[0] and (
            not paired or len(left.first) == len(left.second)
        )

    return Promised(strategy, admits)


@st.composite
def _box_case(draw: DrawFn, domain: Domain, regimes: tuple[str, ...], count: tuple[int, int]) -> BoxCase:
    regime = draw(st.sampled_from(regimes))
    configuration = draw_configuration(draw, domain, num_classes=1)
    numbers, factor = _source(draw, domain, configuration.dtype)
    sizes = st.integers(count[0], count[1] * factor)
    length = draw(sizes)
    paired = regime in PAIRED_REGIMES
    dtype = configuration.dtype
    first, second = _two_lists(numbers, regime, dtype, length, length if paired else draw(sizes))
    first, second = round_to(first, dtype), round_to(second, dtype)
    assume(all((boxes[:, 2:] > boxes[:, :2]).all() for boxes in (first, second)))
    return BoxCase(
        configuration=configuration, regime=regime, seed=draw(st.integers(0, 255)), first=first, second=second
    )


def _two_lists(numbers: Numbers, regime: str, dtype: str, first: int, second: int) -> tuple[Floats, Floats]:
    outer = _corner_boxes(numbers, regime, dtype, second)
    if regime == "identical":
        return outer, outer.copy()
    if regime != "nested":
        return _corner_boxes(numbers, regime, dtype, first), outer
    inset = numbers.integers(0, 3, (second, 4)) / 8
    size = np.tile(outer[:, 2:] - outer[:, :2], 2)
    return outer + inset * size * np.array([1, 1, -1, -1]), outer


def _corner_boxes(numbers: Numbers, regime: str, dtype: str, count: int) -> Floats:
    """Proper boxes in xyxy, whose corners lie on the dyadic grid when drawn; [count, 4]."""

    def stepped(low: tuple[int, int], sides: tuple[int, int], step: float) -> list[Floats]:
        return [numbers.integers(*bounds, (count, 2)).astype(np.float64) * step for bounds in (low, sides)]

    if regime == "crowded":
        low, side = stepped((20, 24), (8, 12), 1 / 64)
    elif regime == "tiny-boxes":
        low, side = stepped((-8, 8), (1, 8), TINY_STEP)
        low = 0.5 + low
    elif regime == "minute-boxes":
        low, side = stepped((-8, 8), (1, 8), minute_step(dtype))
    elif regime == "pixels":
        low, side = stepped((0, 255), (1, 256), PIXEL_STEP)
    else:
        low, side = numbers.reals(-0.5, 1.0, (count, 2)), numbers.reals(1 / 64, 1.0, (count, 2))
    return np.concatenate([low, low + side], axis=-1)


COST_REGIMES = (
    "general",
    "tied",
    "negative",
    "huge",
    "large-offset",
    "near-resolution",
    "empty",
    "one-by-one",
)


def cost_cases(
    *,
    regimes: Sequence[str] = COST_REGIMES,
    problems: tuple[int, int] = (1, 1),
    size: tuple[int, int] = (1, 6),
) -> Promised[CostCase]:
    """Cost matrices [n, m], wide, tall and square, that the dtype holds exactly.

    "tied": small integers. "huge": from 2³⁰ to 2³³. "large-offset": differences of 1/64 on top of 2¹², and of
    2³⁰ in float64. "near-resolution": differences of a few spacings, or a few thousand. "empty": a side of length
    0. Several problems have one shape half of the time, and always where the limits ask for that.
    """

    def strategy(domain: Domain) -> SearchStrategy[CostCase]:
        return _cost_case(domain, tuple(regimes), problems, size)

    def admits(domain: Domain, _: CostCase, left: CostCase) -> bool:
        shapes = [cost.shape for cost in left.costs]
        alike = len(set(shapes)) <= 1 or not domain.limits.equal_shapes
        return (
            len(shapes) >= problems[0] and alike and all(_shape_kept(left.regime, shape, size[0]) for shape in shapes)
        )

    return Promised(strategy, admits)


def _shape_kept(regime: str, shape: tuple[int, ...], least: int) -> bool:
    if regime == "one-by-one":
        return shape == (1, 1)
    if regime == "empty":
        return 0 in shape and (max(shape) == 0 or max(shape) >= least)
    return min(shape) >= least


@st.composite
def _cost_case(
    draw: DrawFn, domain: Domain, regimes: tuple[str, ...], problems: tuple[int, int], size: tuple[int, int]
) -> CostCase:
    regime = draw(st.sampled_from(regimes))
    configuration = draw_configuration(draw, domain, num_classes=1)
    numbers, factor = _source(draw, domain, configuration.dtype)
    sides = st.integers(size[0], size[1] * factor)

    def shape() -> tuple[int, int]:
        if regime == "one-by-one":
            return 1, 1
        rows, columns = draw(sides), draw(sides)
        if regime == "empty":
            return draw(st.sampled_from(((0, columns), (rows, 0), (0, 0))))
        return rows, columns

    count = draw(st.integers(*problems))
    alike = domain.limits.equal_shapes or draw(st.booleans()) if count > 1 else True
    shapes = [shape()] * count if alike else [shape() for _ in range(count)]
    dtype = configuration.dtype
    costs = tuple(round_to(_COSTS[regime](numbers, extent, dtype), dtype) for extent in shapes)
    return CostCase(configuration=configuration, regime=regime, seed=draw(st.integers(0, 255)), costs=costs)


def _general(numbers: Numbers, shape: tuple[int, int], _: str) -> Floats:
    return numbers.reals(-8.0, 8.0, shape)


def _near_resolution(numbers: Numbers, shape: tuple[int, int], dtype: str) -> Floats:
    coarser = 2.0 ** (12 * numbers.integers(0, 1, ())) if dtype in ("float64", "float32") else 1.0
    return 1.0 + numbers.integers(0, 7, shape) * SPACING[dtype] * coarser


_COSTS: dict[str, Callable[[Numbers, tuple[int, int], str], Floats]] = {
    "general": _general,
    "tied": lambda numbers, shape, _: numbers.integers(0, 2, shape).astype(np.float64),
    "negative": lambda numbers, shape, _: numbers.reals(-8.0, -1.0, shape),
    "huge": lambda numbers, shape, dtype: numbers.reals(1.0, 8.0, shape) * 2.0 ** (8 if dtype == "float16" else 30),
    "large-offset": lambda numbers, shape, dtype: (
        2.0 ** (30 if dtype == "float64" else 12) + numbers.integers(0, 64, shape) / 64
    ),
    "near-resolution": _near_resolution,
    "empty": _general,
    "one-by-one": _general,
}


SATURATING = 64.0
"""What the hidden states are multiplied by in one case of four; a power of two, so that every dtype holds them."""


def hidden_cases(*, layers: tuple[int, int] = (1, 3), images: tuple[int, int] = (1, 3)) -> Promised[HiddenCase]:
    """Hidden states [L, B, Q, D] of a decoder, with D of 4 or 8: in ±2, or in ±128, where the sigmoid saturates.

    There are 1 to 4 queries; where the numbers come from a seed up to 40, and up to four times as many layers.
    """

    def strategy(domain: Domain) -> SearchStrategy[HiddenCase]:
        return _hidden_case(domain, layers, images)

    def admits(_: Domain, __: HiddenCase, left: HiddenCase) -> bool:
        count, batch, queries = left.hidden.shape[:3]
        return bool(count >= layers[0] and batch >= images[0] and queries >= 1)

    return Promised(strategy, admits)


@st.composite
def _hidden_case(draw: DrawFn, domain: Domain, layers: tuple[int, int], images: tuple[int, int]) -> HiddenCase:
    base = draw_configuration(
        draw, domain, num_classes=draw(st.integers(1, 4)), decoder_layers=draw(st.integers(*layers))
    )
    numbers, factor = _source(draw, domain, base.dtype)
    if factor > 1:
        base = replace(base, decoder_layers=draw(st.integers(layers[0], 4 * layers[1])))
    configuration = replace(base, hidden_dim=draw(st.sampled_from((4, 8))))
    saturated = draw(st.integers(1, 4)) == 4
    shape = (
        configuration.decoder_layers,
        draw(st.integers(*images)),
        draw(st.integers(1, 40 if factor > 1 else 4)),
        configuration.hidden_dim,
    )
    return HiddenCase(
        configuration=configuration,
        regime="saturated" if saturated else "general",
        seed=draw(st.integers(0, 255)),
        hidden=numbers.reals(-2.0, 2.0, shape) * (SATURATING if saturated else 1.0),
    )
