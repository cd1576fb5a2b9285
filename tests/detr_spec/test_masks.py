"""Mask losses against hand work, a loop over pixels, and torch; their ranges; and the cases with masks."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from math import exp, floor, log, log1p
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from torch import Tensor
from torch.nn import functional as F

from detr_conformance.encoding.reports import plain
from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Domain
from detr_spec.losses import matched_rows, set_losses
from detr_spec.masks import (
    ComparedMasks,
    MaskRules,
    bilinear,
    common_size,
    compared_in_losses,
    interpolation,
    matched_masks,
    padded,
)
from detr_spec.profile import replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.strategies import mask_cases
from detr_spec.terms.masks import mask_dice, mask_focal
from detr_spec.tolerance import Interval, gradient, lift
from detr_spec.values import Booleans, Floats, InvalidValue, Matching, Outputs, Target, round_to

EXACT = 1e-13


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1, 3, [[1], [1], [1]]),
        (2, 2, [[1, 0], [0, 1]]),
        (2, 4, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]),
        (2, 3, [[1, 0], [0.5, 0.5], [0, 1]]),
        (4, 2, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]),
        (3, 1, [[0, 1, 0]]),
        (4, 1, [[0, 0.5, 0.5, 0]]),
    ],
)
def test_interpolation_weights_by_hand(old: int, new: int, expected: list[list[float]]) -> None:
    pixels, weights = interpolation(new, old, None)
    found = np.zeros((new, old))
    np.put_along_axis(found, pixels, weights, axis=1)
    np.testing.assert_allclose(found, expected, rtol=EXACT, atol=EXACT)


def looked_up(mask: Floats, height: int, width: int) -> list[list[float]]:
    """Bilinear interpolation of one mask by looking up four neighbours of every pixel."""

    def neighbours(place: int, new: int, old: int) -> list[tuple[int, float]]:
        position = max((place + 0.5) * old / new - 0.5, 0.0)
        first = floor(position)
        return [(min(first, old - 1), 1 - (position - first)), (min(first + 1, old - 1), position - first)]

    return [
        [
            sum(
                over * along * float(mask[row, column])
                for row, over in neighbours(y, height, mask.shape[0])
                for column, along in neighbours(x, width, mask.shape[1])
            )
            for x in range(width)
        ]
        for y in range(height)
    ]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (5, 4), (8, 8), (11, 6)])
@pytest.mark.parametrize("old", [(1, 1), (1, 4), (2, 3), (4, 4), (3, 2), (7, 5)])
def test_upsampling_is_that_of_torch_and_of_a_look_up(old: tuple[int, int], size: tuple[int, int]) -> None:
    masks = np.random.default_rng(0).normal(size=(2, *old))
    found = bilinear(masks, *size)
    expected = F.interpolate(torch.tensor(masks)[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(found, [looked_up(mask, *size) for mask in masks], rtol=EXACT, atol=EXACT)


def target(masks: list[Any]) -> Target:
    count = len(masks)
    boxes = np.full((count, 4), 0.5)
    return Target(np.zeros(count, dtype=np.int64), boxes, np.array(masks, dtype=np.bool_).reshape(count, 1, -1))


def test_targets_are_padded_right_and_below_to_the_largest_height_and_width() -> None:
    wide = Target(np.zeros(1, dtype=np.int64), np.full((1, 4), 0.5), np.ones((1, 1, 3), dtype=np.bool_))
    high = replace(wide, masks=np.ones((1, 2, 1), dtype=np.bool_))
    assert common_size((wide, high)) == (2, 3)
    assert padded(wide, 2, 3).tolist() == [[[True, True, True], [False, False, False]]]
    assert padded(high, 2, 3).tolist() == [[[True, False, False], [True, False, False]]]
    assert padded(wide.take([]), 2, 3).shape == (0, 2, 3)


def test_mask_losses_by_hand() -> None:
    """Logits of 0 are probabilities of 1/2, with (1 − p_t)² (−log p_t) = log(2)/4 at every pixel."""
    logits, truth = np.zeros((2, 1, 4)), np.array([[[True, True, False, False]], [[False] * 4]])
    whole = log(2) / 4
    expected = (whole * (2 * 0.25 + 2 * 0.75) / 4 + whole * 0.75) / 3
    compared = at_pixels(logits, truth)
    assert mask_focal(compared, 3.0) == pytest.approx(expected, rel=EXACT)
    assert mask_dice(compared, 3.0) == pytest.approx(((1 - 3 / 5) + (1 - 1 / 3)) / 3, rel=EXACT)


def test_mask_losses_of_no_pairs_are_zero() -> None:
    nothing = np.zeros((0, 2, 2))
    for loss in (mask_focal, mask_dice):
        assert loss(at_pixels(nothing, nothing.astype(np.bool_)), 1.0) == 0


def at_pixels(logits: Any, truth: Booleans) -> ComparedMasks:
    """Masks [m, H, W] compared at each pixel."""
    return compared_in_losses(logits, truth, MaskRules(), np.zeros((0, 2)))


def batch(numbers: np.random.Generator, dtype: str, scale: float = 4.0) -> tuple[Outputs, tuple[Target, ...], Any]:
    """Two images with a size each, three queries; two pairs in the first image and one in the second."""
    height, width = numbers.integers(1, 5, 2)
    masks = round_to(numbers.normal(size=(2, 3, height, width)) * scale, dtype)
    outputs = Outputs(np.zeros((2, 3, 2)), np.full((2, 3, 4), 0.5), masks)
    targets = tuple(
        Target(np.zeros(count, np.int64), np.full((count, 4), 0.5), numbers.random((count, *size)) < 0.4)
        for count, size in zip((2, 1), numbers.integers(1, 10, (2, 2)), strict=True)
    )
    matchings = Matching(np.array([0, 2]), np.array([1, 0])), Matching(np.array([1]), np.array([0]))
    return outputs, targets, matchings


def mask_losses(
    configuration: Configuration, outputs: Outputs, targets: tuple[Target, ...], matchings: Any
) -> dict[str, Interval]:
    losses = set_losses(configuration, outputs, targets, matchings)
    return {name: losses[name] for name in ("mask", "dice")}


def one_by_one(outputs: Outputs, targets: tuple[Target, ...], matchings: Any) -> dict[str, float]:
    """Both losses by a loop over images, pairs and pixels."""
    assert outputs.masks is not None
    height, width = (max(np.shape(item.masks)[axis] for item in targets) for axis in (1, 2))
    focal = dice = 0.0
    for image, matching in enumerate(matchings):
        truth = targets[image].masks
        assert truth is not None
        for query, index in matching.pairs():
            logits = looked_up(outputs.masks[image, query], height, width)
            own = overlap = predicted = actual = 0.0
            for y in range(height):
                for x in range(width):
                    inside = y < truth.shape[1] and x < truth.shape[2] and bool(truth[index, y, x])
                    p = 1 / (1 + exp(-logits[y][x]))
                    toward = logits[y][x] if inside else -logits[y][x]
                    surprise = log1p(exp(-abs(toward))) + max(-toward, 0)
                    own += (0.25 if inside else 0.75) * (1 - (p if inside else 1 - p)) ** 2 * surprise
                    overlap, predicted, actual = overlap + p * inside, predicted + p, actual + inside
            focal += own / (height * width)
            dice += 1 - (2 * overlap + 1) / (predicted + actual + 1)
    count = sum(map(len, targets))
    return {"mask": focal / count, "dice": dice / count}


def test_mask_losses_are_those_of_a_loop_over_pixels() -> None:
    configuration = Configuration(profile=DETR, dtype="float64", masks=True)
    numbers = np.random.default_rng(1)
    for _ in range(50):
        given = batch(numbers, "float64")
        found, expected = mask_losses(configuration, *given), one_by_one(*given)
        for name, loss in expected.items():
            assert found[name].value == pytest.approx(loss, rel=1e-12, abs=1e-15)


def test_targets_without_the_masks_that_are_asked_for_are_refused() -> None:
    configuration = Configuration(profile=DETR, masks=True)
    outputs, targets, matchings = batch(np.random.default_rng(0), "float32")
    with pytest.raises(InvalidValue, match="a target has no masks"):
        mask_losses(configuration, outputs, (targets[0], replace(targets[1], masks=None)), matchings)


def positions(new: int, old: int, like: Tensor) -> Tensor:
    """Coordinates as torch computes them: the ratio first, and rounded."""
    ratio = torch.tensor(old, dtype=like.dtype) / new
    return ((torch.arange(new, dtype=like.dtype) + 0.5) * ratio - 0.5).clamp(min=0)


def four_corners(masks: Tensor, height: int, width: int) -> Tensor:
    rows, columns = positions(height, masks.shape[1], masks), positions(width, masks.shape[2], masks)
    top, left = rows.floor().long(), columns.floor().long()
    below, right = (top + 1).clamp(max=masks.shape[1] - 1), (left + 1).clamp(max=masks.shape[2] - 1)
    down, along = (rows - top)[:, None], columns - left
    total = masks[:, top][:, :, left] * ((1 - down) * (1 - along)) + masks[:, top][:, :, right] * ((1 - down) * along)
    return total + masks[:, below][:, :, left] * (down * (1 - along)) + masks[:, below][:, :, right] * (down * along)


def two_products(masks: Tensor, height: int, width: int) -> Tensor:
    """Products with triangles that are normalised at the edges."""

    def triangles(new: int, old: int) -> Tensor:
        centres = (torch.arange(new, dtype=masks.dtype) + 0.5) / (new / old) - 0.5
        weights = (1 - (centres[:, None] - torch.arange(old)).abs()).clamp(min=0)
        return weights / weights.sum(1, keepdim=True)

    return triangles(height, masks.shape[1]) @ masks @ triangles(width, masks.shape[2]).T


def sampled(masks: Tensor, height: int, width: int) -> Tensor:
    y, x = ((2 * torch.arange(new, dtype=masks.dtype) + 1) / new - 1 for new in (height, width))
    grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1).expand(len(masks), -1, -1, -1)
    return F.grid_sample(masks[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def interpolated(masks: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(masks[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def from_probabilities(logits: Tensor, truth: Tensor, count: float) -> tuple[Tensor, Tensor]:
    p = logits.sigmoid()
    right = p * truth + (1 - p) * (1 - truth)
    surprise = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    focal = (0.25 * truth + 0.75 * (1 - truth)) * (surprise * (1 - right) ** 2)
    dice = 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)
    return focal.mean(1).sum() / count, dice.sum() / count


def from_logarithms(logits: Tensor, truth: Tensor, count: float) -> tuple[Tensor, Tensor]:
    toward = torch.where(truth > 0, logits, -logits)
    focal = torch.where(truth > 0, 0.25, 0.75) * -F.logsigmoid(toward) * torch.exp(2 * F.logsigmoid(-toward))
    p = 1 / (1 + (-logits).exp())
    dice = 1 - ((2 * p * truth).sum(1) + 1) / ((p + truth).sum(1) + 1)
    return focal.sum() / (count * logits.shape[1]), dice.mean() * (len(dice) / count)


RESIZED: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "interpolate": interpolated,
    "four corners": four_corners,
    "two products": two_products,
    "samples at points": sampled,
}
WAYS = {"probabilities": from_probabilities, "logarithms": from_logarithms}


@pytest.mark.parametrize("scale", [1.0, 40.0])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("resized", RESIZED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mask_losses_lie_in_their_range(dtype: str, resized: str, way: str, scale: float) -> None:
    configuration = Configuration(profile=DETR, dtype=dtype, masks=True)
    numbers = np.random.default_rng(2)
    for _ in range(100):
        outputs, targets, matchings = batch(numbers, dtype, scale)
        height, width = common_size(targets)
        matched = np.concatenate([outputs.masks[image, item.queries] for image, item in enumerate(matchings)])  # type: ignore[index]
        masks = np.concatenate(
            [padded(item, height, width)[pairs.targets] for item, pairs in zip(targets, matchings, strict=True)]
        )
        working = getattr(torch, dtype)
        logits = RESIZED[resized](torch.tensor(matched, dtype=working), height, width).flatten(1)
        found = WAYS[way](logits, torch.tensor(masks, dtype=working).flatten(1), 3.0)
        for loss, expected in zip(found, mask_losses(configuration, outputs, targets, matchings).values(), strict=True):
            assert loss.dtype == working
            assert expected.lower <= loss.item() <= expected.upper


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_upsampling_in_coarse_dtypes_lies_in_its_range(dtype: str) -> None:
    numbers = np.random.default_rng(3)
    for _ in range(100):
        masks = round_to(numbers.normal(size=(2, *numbers.integers(1, 5, 2))) * 4, dtype)
        size = tuple(numbers.integers(1, 10, 2).tolist())
        found = interpolated(torch.tensor(masks, dtype=getattr(torch, dtype)), *size).double().numpy()
        expected = bilinear(lift(masks, dtype), *size)
        assert ((expected.lower <= found) & (found <= expected.upper)).all()


@pytest.mark.parametrize(("dtype", "spacing"), [("float32", 2.0**-23), ("float64", 2.0**-52)])
def test_ranges_of_usual_values_are_narrow(dtype: str, spacing: float) -> None:
    configuration = Configuration(profile=DETR, dtype=dtype, masks=True)
    numbers = np.random.default_rng(4)
    for _ in range(100):
        for loss in mask_losses(configuration, *batch(numbers, dtype)).values():
            assert loss.lower < loss.value < loss.upper
            assert loss.upper - loss.lower < 1000 * spacing * max(float(loss.value), 0.1)


CASES = mask_cases(layers=(1, 3))


@cache
def some() -> tuple[SetCase, ...]:
    """In many short runs, as cases are drawn for a check."""
    return tuple(case for seed in range(30) for case in draw(seed, 10))


def draw(seed: int, count: int, small: bool = False) -> list[SetCase]:
    cases: list[SetCase] = []

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(CASES(Domain(DEFORMABLE if seed % 2 else DETR, small=small)))
    def collect(case: SetCase) -> None:
        cases.append(case)

    collect()
    return cases


def share(cases: list[bool]) -> float:
    return sum(cases) / len(cases)


def sides(case: SetCase) -> list[tuple[int, ...]]:
    """The size of each image's masks."""
    return [np.shape(target.masks)[1:] for target in case.targets]


def test_cases_with_masks_ask_for_them_and_have_them_in_the_last_layer_alone() -> None:
    for case in some():
        assert case.configuration.masks
        assert case.outputs.masks is not None
        assert all(layer.masks is None for layer in case.outputs.auxiliary)
        np.testing.assert_array_equal(round_to(case.outputs.masks, case.configuration.dtype), case.outputs.masks)
        assert case.sizes.tolist() == [list(size) for size in sides(case)]


def test_images_have_masks_of_several_sizes_and_predictions_become_no_smaller() -> None:
    several = [case for case in some() if len(case.targets) > 1]
    assert share([len(set(sides(case))) > 1 for case in several]) > 0.5
    for case in some():
        old, new = np.shape(case.outputs.masks)[2:], common_size(case.targets)
        assert old[0] <= new[0]
        assert old[1] <= new[1]
    ratios = [
        new / old
        for case in some()
        for old, new in zip(np.shape(case.outputs.masks)[2:], common_size(case.targets), strict=True)
    ]
    assert share([ratio != int(ratio) for ratio in ratios]) > 0.2
    assert share([ratio == int(ratio) > 1 for ratio in ratios]) > 0.2
    assert 1 in ratios


def test_predictions_are_saturated_sometimes_and_targets_are_empty_sometimes() -> None:
    largest = [float(np.abs(case.outputs.masks).max()) for case in some() if case.outputs.masks is not None]
    assert 0.1 < share([size > 6 for size in largest]) < 0.5
    assert max(largest) == 120
    assert any(len(target) == 0 for case in some() for target in case.targets)
    assert any(not any(map(len, case.targets)) for case in some())
    assert any(len(target) > case.outputs.queries for case in some() for target in case.targets)


def test_cases_with_masks_are_determined_by_the_seed_and_small_where_asked() -> None:
    first, again = (draw(5, 10) for _ in range(2))
    assert [plain(case) for case in first] == [plain(case) for case in again]
    for case in draw(5, 40, small=True):
        assert case.outputs.masks is not None
        assert (case.outputs.masks * 16 == np.round(case.outputs.masks * 16)).all()


def test_failures_with_masks_shrink_to_something_that_can_be_read() -> None:
    smallest = hypothesis.find(
        mask_cases(images=(1, 1))(Domain(DETR, small=True)),
        lambda case: any(target.masks.any() for target in case.targets) and np.abs(case.outputs.masks).max() > 1,
        settings=settings(max_examples=300, database=None, suppress_health_check=list(HealthCheck)),
        random=random.Random(0),
    )
    assert smallest.outputs.queries == 1
    assert smallest.outputs.masks.size <= 2
    assert smallest.targets[0].masks.size <= 2


def test_a_range_is_an_interval_and_an_array_an_array() -> None:
    masks = np.ones((1, 2, 2))
    assert isinstance(bilinear(masks, 3, 3), np.ndarray)
    assert isinstance(bilinear(lift(masks, "float32"), 3, 3), Interval)


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("resized", RESIZED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_by_differentiation_lie_in_their_range(dtype: str, resized: str, way: str, scale: float) -> None:
    numbers, working = np.random.default_rng(5), getattr(torch, dtype)
    for _ in range(20):
        outputs, targets, matchings = batch(numbers, dtype, scale)
        assert outputs.masks is not None
        masks, truth = matched_rows(outputs.masks, matchings), matched_masks(targets, matchings)
        given = torch.tensor(masks, dtype=working, requires_grad=True)
        logits = RESIZED[resized](given, *common_size(targets)).flatten(1)
        found = WAYS[way](logits, torch.tensor(truth, dtype=working).flatten(1), 3.0)
        for loss, definition in zip(found, (mask_focal, mask_dice), strict=True):
            expected = gradient(lambda m: definition(at_pixels(m, truth), 3.0), lift(masks, dtype))  # noqa: B023
            (slope,) = (part.double().numpy() for part in torch.autograd.grad(loss, given, retain_graph=True))
            assert ((expected.lower <= slope) & (slope <= expected.upper)).all()
            if dtype == "float64":
                np.testing.assert_allclose(expected.value, slope, rtol=1e-6, atol=1e-9)
