"""Ranges hold right evaluations, in any order and library, and little else; nothing drops them in silence."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from exact import rational_giou
from formulas import box_giou, focal_cost, l1_cost
from torch import Tensor
from torch.nn import functional as F

from detr_spec import boxes as box_definitions
from detr_spec.activations import binary_cross_entropy, log_softmax, sigmoid, softmax
from detr_spec.configuration import Configuration
from detr_spec.profiles import DETR
from detr_spec.terms.cross_entropy import weighted_cross_entropy
from detr_spec.terms.focal import focal_terms
from detr_spec.tolerance import SPACING, Interval, hull, lift, solver_allowance, summation_growth
from detr_spec.values import DTYPES, Floats, InvalidValue, round_to

Array = np.ndarray[Any, Any]

SIZES = {"general": 3.0, "saturated": 60.0}


def assert_inside(numbers: Any, allowed: Interval) -> None:
    found = np.asarray(numbers, dtype=np.float64)
    outside = ~((found >= allowed.lower) & (found <= allowed.upper))
    assert not outside.any(), (found[outside][:3], allowed.lower[outside][:3], allowed.upper[outside][:3])


def normal_logits(dtype: str, size: str, shape: tuple[int, ...] = (1000, 12)) -> Floats:
    return round_to(np.random.default_rng(1).normal(size=shape) * SIZES[size], dtype)


def tensor(numbers: Floats, dtype: str) -> Tensor:
    return torch.tensor(numbers, dtype=getattr(torch, dtype))


def sum_in_turn(terms: Array, order: Any) -> Array:
    total = np.zeros(terms.shape[0], dtype=terms.dtype)
    for place in order:
        total = total + terms[:, place]
    return total


def softmax_ways(numbers: Floats, dtype: str) -> dict[str, Any]:
    logits, single = tensor(numbers, dtype), numbers.astype(dtype)
    powers = np.exp(single - single.max(-1, keepdims=True))
    forwards = sum_in_turn(powers, range(powers.shape[1]))[:, None]
    backwards = sum_in_turn(powers, reversed(range(powers.shape[1])))[:, None]
    return {
        "torch": logits.softmax(-1),
        "added in turn": powers / forwards,
        "added backwards": powers / backwards,
        "times the inverse": powers * (1 / backwards),
    }


@pytest.mark.parametrize("way", ["torch", "added in turn", "added backwards", "times the inverse"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_softmax_lies_in_its_range(dtype: str, size: str, way: str) -> None:
    numbers = normal_logits(dtype, size)
    assert_inside(softmax_ways(numbers, dtype)[way], softmax(lift(numbers, dtype)))


LOG_SOFTMAX: dict[str, Callable[[Tensor], Tensor]] = {
    "torch": lambda logits: logits.log_softmax(-1),
    "minus logsumexp": lambda logits: logits - logits.logsumexp(-1, keepdim=True),
    "shifted, minus the logarithm": lambda logits: (
        logits
        - logits.amax(-1, keepdim=True)
        - (logits - logits.amax(-1, keepdim=True)).exp().sum(-1, keepdim=True).log()
    ),
}


@pytest.mark.parametrize("way", LOG_SOFTMAX.values(), ids=LOG_SOFTMAX)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_log_softmax_lies_in_its_range(dtype: str, size: str, way: Callable[[Tensor], Tensor]) -> None:
    numbers = normal_logits(dtype, size)
    found, allowed = way(tensor(numbers, dtype)), log_softmax(lift(numbers, dtype))
    assert_inside(found, allowed)
    assert_inside(found.exp(), np.exp(allowed))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sigmoid_lies_in_its_range(dtype: str, size: str) -> None:
    numbers = normal_logits(dtype, size)
    logits, allowed = tensor(numbers, dtype), sigmoid(lift(numbers, dtype))
    assert_inside(logits.sigmoid(), allowed)
    assert_inside(torch.where(logits < 0, logits.exp() / (1 + logits.exp()), 1 / (1 + (-logits).exp())), allowed)


FOCAL_TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "torchvision": lambda logits, target: torchvision.ops.sigmoid_focal_loss(logits, target, 0.25, 2.0),
    "log-sigmoid": lambda logits, target: torch.where(
        target > 0,
        -0.25 * logits.neg().sigmoid() ** 2 * F.logsigmoid(logits),
        -0.75 * logits.sigmoid() ** 2 * F.logsigmoid(-logits),
    ),
    "probability from the loss": lambda logits, target: (
        F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        * (1 - (-F.binary_cross_entropy_with_logits(logits, target, reduction="none")).exp()) ** 2
        * (0.25 * target + 0.75 * (1 - target))
    ),
}


@pytest.mark.parametrize("way", FOCAL_TERMS.values(), ids=FOCAL_TERMS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_focal_terms_lie_in_their_range(dtype: str, size: str, way: Callable[[Tensor, Tensor], Tensor]) -> None:
    numbers = normal_logits(dtype, size)
    positive = np.random.default_rng(2).random(numbers.shape) < 0.5
    found = way(tensor(numbers, dtype), tensor(positive.astype(np.float64), dtype))
    assert_inside(found, focal_terms(lift(numbers, dtype), positive, 0.25, 2.0))


BINARY_CROSS_ENTROPIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "PyTorch's": lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none"),
    "from logarithms of sigmoids": lambda z, t: -t * F.logsigmoid(z) - (1 - t) * F.logsigmoid(-z),
    "from softplus": lambda z, t: torch.logaddexp(z, torch.zeros_like(z)) - t * z,
    "from zero": lambda z, t: z.clamp(min=0) - t * z + (-z.abs()).exp().log1p(),
    "weights of yes and no apart": lambda z, t: (1 - t) * z - F.logsigmoid(z) * (t + (1 - t)),
    "without log1p": lambda z, t: z.clamp(min=0) - t * z + (1 + (-z.abs()).exp()).log(),
    "from yes": lambda z, t: (1 - t) * z + (-z).clamp(min=0) + (-z.abs()).exp().log1p(),
}
"""What frameworks have as built-in functions, and what is written in their place, of logits and targets in [0, 1]."""


@pytest.mark.parametrize("way", BINARY_CROSS_ENTROPIES.values(), ids=BINARY_CROSS_ENTROPIES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("targets", ["any", "almost no", "almost yes", "no or yes"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_binary_cross_entropy_of_any_target_lies_in_its_range(
    dtype: str, targets: str, size: str, way: Callable[[Tensor, Tensor], Tensor]
) -> None:
    numbers = normal_logits(dtype, size)
    drawn = np.random.default_rng(2).random(numbers.shape)
    drawn = {"any": drawn, "almost no": drawn / 50, "almost yes": 1 - drawn / 50, "no or yes": np.round(drawn)}[targets]
    drawn = round_to(drawn, dtype)
    found = way(tensor(numbers, dtype), tensor(drawn, dtype))
    assert_inside(found.double(), binary_cross_entropy(lift(numbers, dtype), lift(drawn, dtype)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_focal_cost_lies_in_its_range(dtype: str, size: str) -> None:
    numbers = normal_logits(dtype, size)
    probability = tensor(numbers, dtype).sigmoid()
    positive = 0.25 * (1 - probability) ** 2 * -(probability + 1e-8).log()
    negative = 0.75 * probability**2 * -(1 - probability + 1e-8).log()
    allowed = focal_cost(lift(numbers, dtype), np.arange(numbers.shape[1]), 0.25, 2.0, 1e-8)
    assert_inside(positive - negative, allowed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_weighted_cross_entropy_lies_in_its_range(dtype: str, size: str) -> None:
    generator = np.random.default_rng(3)
    weights = np.array([1.0] * 11 + [0.125])
    for _ in range(100):
        numbers = round_to(generator.normal(size=(2, 9, 12)) * SIZES[size], dtype)
        classes = generator.integers(0, 12, (2, 9))
        logits, target = tensor(numbers, dtype), torch.tensor(classes)
        allowed = weighted_cross_entropy(lift(numbers, dtype), classes, weights)
        assert_inside(F.cross_entropy(logits.transpose(1, 2), target, tensor(weights, dtype)), allowed)
        picked = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
        factor = tensor(weights, dtype)[target]
        assert_inside(-(picked * factor).flip(0).sum() / factor.sum(), allowed)


def box_pairs(dtype: str, kind: str) -> tuple[Floats, Floats]:
    """Boxes in cxcywh that overlap, touch nothing, or nearly coincide."""
    generator = np.random.default_rng(4)
    count = 4000
    if kind == "dyadic":
        first, second = (generator.integers(1, 65, (count, 4)) / 64 for _ in range(2))
        return first, second
    low, high = (1e-4, 1e-3) if kind == "tiny" else (1 / 64, 1.0)
    centres = 0.5 + generator.uniform(-1, 1, (count, 2)) * min(high, 0.4)
    first = np.concatenate([centres, generator.uniform(low, high, (count, 2))], axis=1)
    near = first * (1 + generator.uniform(-1e-3, 1e-3, (count, 4)))
    other = np.concatenate([centres[::-1], generator.uniform(low, high, (count, 2))], axis=1)
    second = np.where(generator.random((count, 1)) < 0.3, near, other)
    return round_to(first, dtype), round_to(second, dtype)


def far_corner_from_near(boxes: Array) -> Array:
    low = boxes[:, :2] - boxes[:, 2:] * boxes.dtype.type(0.5)
    return np.concatenate([low, low + boxes[:, 2:]], axis=1)


def at_least_float32(boxes: Array) -> Array:
    return boxes.astype(np.promote_types(boxes.dtype, np.float32))


def giou_ways(first: Array, second: Array) -> dict[str, Array]:
    """Ways to write the GIoU; corners are in the dtype of the boxes, areas in float32 at least."""
    corners = [at_least_float32(box_definitions.cxcywh_to_xyxy(boxes)) for boxes in (first, second)]
    intersection, union = box_definitions.intersection_and_union(*corners)
    enclosing = box_definitions.enclosing_area(*corners)
    wide = [at_least_float32(boxes) for boxes in (first, second)]
    sides = wide[0][:, 2] * wide[0][:, 3] + wide[1][:, 2] * wide[1][:, 3] - intersection
    one = wide[0].dtype.type(1)
    return {
        "as written": intersection / union - (enclosing - union) / enclosing,
        "areas from the sides": intersection / sides - (enclosing - sides) / enclosing,
        "far corner from near": box_definitions.elementwise_giou(
            *(at_least_float32(far_corner_from_near(boxes)) for boxes in (first, second))
        ),
        "with the ratio of areas": intersection / union - (one - union / enclosing),
    }


@pytest.mark.parametrize("kind", ["proper", "tiny", "dyadic"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_giou_lies_in_its_range(dtype: str, kind: str) -> None:
    if (dtype, kind) == ("float16", "tiny"):
        return  # their corners coincide in float16
    first, second = box_pairs(dtype, kind)
    corners = [box_definitions.cxcywh_to_xyxy(lift(boxes, dtype)) for boxes in (first, second)]
    allowed = box_definitions.elementwise_giou(*corners)
    ways = giou_ways(first.astype(dtype), second.astype(dtype))
    for name, found in ways.items():
        assert found.dtype == np.promote_types(dtype, np.float32)
        if name == "with the ratio of areas" and kind == "dyadic":
            continue  # what is exact in the definition's order is rounded in this one; see the loss below
        assert_inside(found, allowed)
    pair = [tensor(box_definitions.cxcywh_to_xyxy(boxes), dtype) for boxes in (first[:300], second[:300])]
    assert_inside(torchvision.ops.generalized_box_iou(*pair).diagonal(), allowed[:300])


@pytest.mark.parametrize("kind", ["proper", "tiny", "dyadic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_giou_loss_lies_in_its_range(dtype: str, kind: str) -> None:
    first, second = box_pairs(dtype, kind)
    configuration = Configuration(profile=DETR, dtype=dtype)
    for name, found in giou_ways(first.astype(dtype), second.astype(dtype)).items():
        for start in range(0, 400, 4):
            part = slice(start, start + 1 + start % 4)
            pair = lift(first[part], dtype), lift(second[part], dtype)
            loss = (found.dtype.type(1) - found[part]).sum() / found.dtype.type(3)
            assert_inside(loss, box_giou(*pair, 3.0, configuration.profile.boxes)), name


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_l1_cost_lies_in_its_range(dtype: str) -> None:
    first, second = (boxes[:40] for boxes in box_pairs(dtype, "proper"))
    allowed = l1_cost(lift(first, dtype), lift(second, dtype))
    if dtype != "float16":
        assert_inside(torch.cdist(tensor(first, dtype), tensor(second, dtype), p=1), allowed)
    parts = np.abs(first.astype(dtype)[:, None] - second.astype(dtype)[None])
    assert_inside(parts.sum(-1), allowed)
    assert_inside((parts[..., 3] + parts[..., 1]) + (parts[..., 2] + parts[..., 0]), allowed)


@pytest.mark.parametrize("terms", [1, 2, 3, 10, 100, 3000])
@pytest.mark.parametrize("kind", ["positive", "mixed", "cancelling"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_sum_lies_in_its_range_in_any_order(dtype: str, kind: str, terms: int) -> None:
    generator = np.random.default_rng(5)
    numbers = generator.uniform(0.0 if kind == "positive" else -1.0, 1.0, (20, terms))
    if kind == "cancelling":
        numbers = np.concatenate([numbers, -numbers * 1.0001], axis=1)
    numbers = round_to(numbers, dtype)
    allowed, single = lift(numbers, dtype).sum(axis=-1), numbers.astype(dtype)
    for order in (
        range(numbers.shape[1]),
        reversed(range(numbers.shape[1])),
        generator.permutation(numbers.shape[1]),
    ):
        assert_inside(sum_in_turn(single, order), allowed)
    assert_inside(sum_in_turn(np.sort(single, axis=1), range(numbers.shape[1])), allowed)
    assert_inside(single.sum(axis=1), allowed)
    assert_inside(tensor(numbers, dtype).sum(-1), allowed)
    exact = [float(sum(map(Fraction, row))) for row in numbers]
    assert_inside(exact, allowed)


def test_exact_giou_lies_in_its_range() -> None:
    for dtype in ("float32", "float64"):
        first, second = (box_definitions.cxcywh_to_xyxy(boxes) for boxes in box_pairs(dtype, "proper"))
        first, second = round_to(first[:300], dtype), round_to(second[:300], dtype)
        exact = [float(rational_giou(a, b)) for a, b in zip(first, second, strict=True)]
        allowed = box_definitions.elementwise_giou(lift(first, dtype), lift(second, dtype))
        assert_inside(exact, allowed)
        np.testing.assert_allclose(allowed.value, exact, rtol=0, atol=1e-12)


def relative_width(found: Interval, scale: float = 1e-300) -> Array:
    return np.asarray((found.upper - found.lower) / np.maximum(np.abs(found.value), scale))


NARROW = {"float32": 2e-4, "float64": 1e-12}


@pytest.mark.parametrize("dtype", NARROW)
def test_ranges_of_usual_values_are_narrow(dtype: str) -> None:
    """Relative to the value, or to 1 where the value is a difference of numbers of that size."""
    numbers = normal_logits(dtype, "general", (100, 12))
    classes = np.random.default_rng(6).integers(0, 12, (1, 100))
    first, second = box_pairs(dtype, "proper")
    wide = (first[:, 2:] > 1 / 16).all(-1) & (second[:, 2:] > 1 / 16).all(-1)
    pair = [box_definitions.cxcywh_to_xyxy(lift(boxes[wide], dtype)) for boxes in (first, second)]
    logits = lift(numbers, dtype)
    widths = {
        "softmax": relative_width(softmax(logits)),
        "log-softmax": relative_width(log_softmax(logits), 1.0),
        "sigmoid": relative_width(sigmoid(logits)),
        "focal cost": relative_width(
            focal_cost(lift(np.clip(numbers, -4, 4), dtype), np.arange(12), 0.25, 2.0, 1e-8), 1.0
        ),
        "focal loss": relative_width(
            focal_terms(logits, classes.reshape(-1, 1) == np.arange(12), 0.25, 2.0).reshape(-1).sum()
        ),
        "cross-entropy": relative_width(weighted_cross_entropy(logits.reshape(1, 100, 12), classes, np.ones(12))),
        "GIoU": relative_width(box_definitions.elementwise_giou(*pair), 1.0),
        "L1": relative_width(l1_cost(lift(first[:50], dtype), lift(second[:50], dtype)), 1.0),
    }
    for name, width in widths.items():
        assert width.max() < NARROW[dtype], (name, width.max())
        assert width.max() > 0


def test_a_narrower_dtype_has_a_wider_range() -> None:
    numbers = round_to(normal_logits("float64", "general", (50, 4)), "bfloat16")
    ranges = [log_softmax(lift(numbers, dtype)) for dtype in ("float64", "float32", "float16", "bfloat16")]
    for finer, coarser in pairwise(ranges):
        assert (coarser.lower < finer.lower).all()
        assert (coarser.upper > finer.upper).all()
        np.testing.assert_array_equal(finer.value, coarser.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arithmetic_on_the_dyadic_grid_is_exact(dtype: str) -> None:
    first, second = (lift(boxes, dtype) for boxes in box_pairs(dtype, "dyadic"))
    corners = [box_definitions.cxcywh_to_xyxy(boxes) for boxes in (first, second)]
    intersection, union = box_definitions.intersection_and_union(*corners)
    for found in (
        *corners,
        box_definitions.xyxy_to_cxcywh(corners[0]),
        box_definitions.area(corners[0]),
        intersection,
        union,
        box_definitions.enclosing_area(*corners),
        np.abs(first - second),
        np.maximum(first, second) * 3.0 - 1.0,
        -first,
    ):
        np.testing.assert_array_equal(found.lower, found.value)
        np.testing.assert_array_equal(found.upper, found.value)
    same = box_definitions.elementwise_giou(corners[0], corners[0])
    assert_inside(np.ones(len(first)), same)
    assert (same.upper - same.lower).max() <= 10 * SPACING[dtype]  # IoU + U/E − 1 has five roundings


def test_what_the_dtype_cannot_hold_is_rounded() -> None:
    third = lift(round_to(1 / 3, "float32"), "float32")
    product = third * third
    assert product.lower < float(third.value) ** 2 < product.upper
    assert_inside(np.float32(1 / 3) * np.float32(1 / 3), product)
    constant = lift(0.0, "float32") + 0.1
    assert_inside(np.float32(0.1), constant)
    assert_inside(0.1, constant)
    coarse = lift(1.0, "float16") + 2.0**-11
    assert coarse.lower <= 1.0 <= coarse.upper
    assert lift(1.0, "float32").lower == lift(1.0, "float32").upper


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "power": lambda a, b: np.abs(a) ** b,
    "power of a constant": lambda a, b: 2.0**a,
    "negative power": lambda a, b: np.abs(a) ** -2.0,
    "fractional power": lambda a, b: np.abs(a) ** 1.7,
    "absolute": lambda a, b: np.abs(a),
    "negative": lambda a, b: -a,
    "exponential": lambda a, b: np.exp(a),
    "logarithm": lambda a, b: np.log(np.abs(a)),
    "logarithm of 1 + x": lambda a, b: np.log1p(np.abs(b)),
    "constants": lambda a, b: 1.0 - a * 3.0 + b / 7.0,
    "largest": lambda a, b: (a * b).max(axis=0),
    "sum": lambda a, b: (a * b).sum(axis=0),
}


@pytest.mark.parametrize("operation", BINARY.values(), ids=BINARY)
def test_operations_on_ranges_hold_what_they_give_on_numbers_inside(
    operation: Callable[[Any, Any], Any],
) -> None:
    generator = np.random.default_rng(8)

    def some() -> tuple[Interval, Floats, Floats]:
        value = generator.normal(size=(6, 500)) * 3
        low, high = (
            value - generator.exponential(size=value.shape),
            value + generator.exponential(size=value.shape),
        )
        inside = np.clip(low + (high - low) * generator.choice([0.0, 0.3, 0.7, 1.0], value.shape), low, high)
        return Interval(value, low, high, "float64"), inside, value

    first, one, first_value = some()
    second, other, second_value = some()
    with np.errstate(all="ignore"):
        found = operation(first, second)
        assert_inside(operation(one, other), found)
        np.testing.assert_array_equal(operation(first_value, second_value), found.value)


def test_division_by_a_range_with_zero_is_open() -> None:
    around = Interval(np.array([0.5]), np.array([-0.5]), np.array([1.0]), "float32")
    found = lift([1.0], "float32") / around
    assert (found.lower[0], found.upper[0], found.value[0]) == (-np.inf, np.inf, 2.0)


def test_rearrangements_carry_the_range_along() -> None:
    found = np.exp(lift(np.arange(6.0).reshape(2, 3), "float32"))
    columns = np.array([[2, 0], [1, 1]])
    for moved, expected in (
        (found[1, :2], lambda part: part[1, :2]),
        (found.T, lambda part: part.T),
        (found.reshape(3, 2), lambda part: part.reshape(3, 2)),
        (np.concatenate([found, found], axis=1), lambda part: np.concatenate([part, part], axis=1)),
        (np.stack([found, found]), lambda part: np.stack([part, part])),
        (np.take_along_axis(found, columns, axis=1), lambda part: np.take_along_axis(part, columns, axis=1)),
        (np.where(found.value > 2, found, 0.0), lambda part: np.where(found.value > 2, part, 0.0)),
        (np.broadcast_to(found, (4, 2, 3)), lambda part: np.broadcast_to(part, (4, 2, 3))),
        (np.transpose(found), np.transpose),
        (np.moveaxis(found, 0, 1), lambda part: np.moveaxis(part, 0, 1)),
        (found.max(axis=1, keepdims=True), lambda part: part.max(axis=1, keepdims=True)),
    ):
        assert isinstance(moved, Interval)
        for name in ("value", "lower", "upper"):
            np.testing.assert_array_equal(getattr(moved, name), expected(getattr(found, name)))
        assert (moved.lower < moved.upper).any()
        assert moved.shape == moved.value.shape


UNSUPPORTED: dict[str, Callable[[Any], Any]] = {
    "square root": np.sqrt,
    "sine": np.sin,
    "hypotenuse": lambda a: np.hypot(a, a),
    "remainder": lambda a: a % 2,
    "floor division": lambda a: a // 2,
    "comparison": lambda a: a < 1.0,
    "equality": lambda a: a == 1.0,
    "matrix product": lambda a: a @ a,
    "dot": lambda a: np.dot(a, a),
    "np.sum": np.sum,
    "np.max": np.max,
    "np.mean": np.mean,
    "np.median": np.median,
    "np.clip": lambda a: np.clip(a, 0, 1),
    "np.round": np.round,
    "np.linalg.norm": np.linalg.norm,
    "np.cumsum": np.cumsum,
    "accumulation": np.add.accumulate,
    "sum as a reduction": np.add.reduce,
    "product as a reduction": np.multiply.reduce,
    "outer": lambda a: np.add.outer(a, a),
    "output given": lambda a: np.add(a, 1.0, out=np.zeros(3)),
    "condition given": lambda a: np.add(a, 1.0, where=np.array([True, False, True])),
    "kept dimensions of a sum": lambda a: a.sum(axis=0, keepdims=True),
    "a float": lambda a: float(a[0]),
    "an array of floats": lambda a: np.asarray(a, dtype=np.float64),
    "floats of the elements": lambda a: np.array([float(item) for item in a]),
}


@pytest.mark.parametrize("use", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_a_range_does_not_support_raises(use: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        use(np.exp(lift([1.0, 2.0, 3.0], "float32")))
    assert raised.type is TypeError or "setting an array element with a sequence" in str(raised.value)


def test_a_hull_holds_all_its_ways() -> None:
    first, second = np.exp(lift([1.0, 2.0], "float32")), lift([3.0, 7.0], "float32")
    both = hull(first, second)
    np.testing.assert_array_equal(both.value, first.value)
    np.testing.assert_array_equal(both.lower, np.minimum(first.lower, second.lower))
    np.testing.assert_array_equal(both.upper, np.maximum(first.upper, second.upper))


def test_lifting_to_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InvalidValue, match="dtype is 'int64'; expected one of float64"):
        lift([1.0], "int64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_solver_may_lose_more_in_a_coarser_dtype_and_on_larger_costs(dtype: str) -> None:
    assert solver_allowance(4.0, 3, dtype) == 9 * 4.0 * SPACING[dtype]
    assert solver_allowance(0.0, 3, dtype) == 0.0
    assert [summation_growth(count) for count in (1, 4, 36, 10_000)] == [1.0, 4.0, 36.0, 600.0]


def test_nothing_is_known_of_a_product_with_what_is_not_known() -> None:
    unknown = lift(1.0, "float32") / (lift(1.0, "float32") - lift(1.0 + 2.0**-23, "float32") + 2.0**-23)
    assert (unknown.lower, unknown.upper) == (-np.inf, np.inf)
    for number in (0.0, 0.5, -2.0):
        product = lift(number, "float32") * unknown
        assert (product.lower, product.upper) == (-np.inf, np.inf)


def test_of_arrays_the_first_way_counts() -> None:
    first = np.array([1.0, 2.0])
    assert hull(first, first + 1.0, first - 1.0) is first
