"""DIoU and CIoU: numbers worked out by hand, and those of torchvision, whose epsilon a profile can declare."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from judging import failure
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.declared.matcher import DeclaredMatcher
from detr_conformance.implementations.reference import LIMITS
from detr_spec.boxes import EXACT, BoxRules
from detr_spec.configuration import Configuration
from detr_spec.costs import BoxCost, CiouCost, DiouCost, GiouCost
from detr_spec.distances import elementwise_ciou, elementwise_diou
from detr_spec.profile import Profile, replace
from detr_spec.profiles import DETR
from detr_spec.terms import BoxCiou, BoxCiouThroughWeight, BoxDiou, BoxTerm
from detr_spec.tolerance import Numbers, gradient, interval, lift
from detr_spec.values import Floats, round_to

UNIT = np.array([0.0, 0.0, 1.0, 1.0])
BESIDE = np.array([1.0, 0.0, 2.0, 1.0])
TALL = np.array([0.0, 0.0, 1.0, 2.0])


def test_boxes_side_by_side_are_a_distance_apart() -> None:
    """Centres are 1 apart; the enclosing box is 2 by 1, and its diagonal √5."""
    assert elementwise_diou(UNIT, BESIDE, EXACT) == pytest.approx(-1 / 5)
    assert elementwise_ciou(UNIT, BESIDE, EXACT) == pytest.approx(-1 / 5)


def test_another_shape_is_held_against_a_box() -> None:
    """IoU 1/2; centres 1/2 apart of a diagonal √5; arctan 1/2 against arctan 1."""
    v = 4 / math.pi**2 * (math.atan(0.5) - math.pi / 4) ** 2
    diou = 1 / 2 - (1 / 4) / 5
    assert elementwise_diou(UNIT, TALL, EXACT) == pytest.approx(diou)
    assert elementwise_ciou(UNIT, TALL, EXACT) == pytest.approx(diou - v * v / (1 / 2 + v))


def test_a_box_is_like_itself() -> None:
    assert elementwise_ciou(TALL, TALL, EXACT) == pytest.approx(1.0)
    ranged = interval(elementwise_ciou(lift(TALL, "float32"), lift(TALL, "float32"), EXACT))
    assert ranged.lower <= 1.0 <= ranged.upper
    assert np.isfinite([ranged.lower, ranged.upper]).all()


def keras_ciou_loss(first: Tensor, second: Tensor, eps: float) -> Tensor:
    """As torchvision computes it, but for a weight that has a gradient."""
    alone = complete_box_iou_loss(first, second, eps=eps)
    distance = distance_box_iou_loss(first, second, eps=eps)
    shapes = [torch.atan((box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1])) for box in (first, second)]
    v = 4 / math.pi**2 * (shapes[0] - shapes[1]) ** 2
    low, high = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    inside = (high - low).clamp(min=0).prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(dim=1) for box in (first, second)]
    whole = distance + v * v / (1 - inside / (areas[0] + areas[1] - inside + eps) + v + eps)
    assert torch.allclose(whole, alone)
    return whole


LOSSES: dict[str, tuple[Any, Any]] = {
    "diou": (elementwise_diou, distance_box_iou_loss),
    "ciou": (elementwise_ciou, complete_box_iou_loss),
    "through the weight": (
        lambda *given: elementwise_ciou(*given, weight_moves=True),
        keras_ciou_loss,
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_values_and_slopes_of_torchvision_lie_in_the_range(name: str, dtype: str) -> None:
    ours, theirs = LOSSES[name]
    generator, rules, widths = np.random.default_rng(0), BoxRules(iou_epsilon=1e-7, giou_epsilon=1e-7), []
    for _ in range(30):
        near, lengths = generator.uniform(0.1, 0.5, (2, 2, 8, 2))
        boxes = round_to(np.concatenate([near, near + lengths], axis=2), dtype)
        first, second = (torch.tensor(part, dtype=getattr(torch, dtype)) for part in boxes)
        first.requires_grad_()
        loss = theirs(first, second, eps=1e-7)
        loss.sum().backward()
        given = lift(boxes[1], dtype), rules.held(dtype)
        value = interval(1.0 - ours(lift(boxes[0], dtype), *given))
        slope = gradient(lambda box, given=given: (1.0 - ours(box, *given)).sum(), lift(boxes[0], dtype))  # type: ignore[misc]
        assert first.grad is not None
        for range_, got in ((value, loss.detach()), (slope, first.grad)):
            numbers = got.double().numpy()
            assert ((range_.lower <= numbers) & (numbers <= range_.upper)).all()
            widths.append(float((range_.upper - range_.lower).max()))
    assert max(widths) < (1e-3 if dtype == "float32" else 1e-11)


def matching_by(cost: BoxCost, declared: BoxCost) -> Any:
    """A matcher with one cost of overlaps, judged under a profile that declares another."""

    def build(configuration: Configuration) -> DeclaredMatcher:
        return DeclaredMatcher(replace(configuration, overlap_cost=cost))

    return torch_implementation(name="built", profile=replace(DETR, overlap_cost=declared), matcher=build)


@pytest.mark.parametrize("cost", [DiouCost(), CiouCost()], ids=lambda cost: cost.name)
def test_a_right_matcher_is_not_accused_and_another_is(cost: BoxCost) -> None:
    assert failure("matcher.close-call", matching_by(cost, cost), 20) is None
    assert failure("matcher.close-call", matching_by(GiouCost(), cost), 100) is not None


def test_a_cost_without_shapes_is_told_from_one_with_them() -> None:
    assert failure("matcher.close-call", matching_by(DiouCost(), CiouCost()), 100) is not None


def built_to(term: BoxTerm, declared: BoxTerm) -> Any:
    """A criterion with one term of overlaps, judged under a profile that declares another."""

    def build(configuration: Configuration) -> DeclaredCriterion:
        other: Profile = replace(configuration.profile, overlap_loss=term)
        return DeclaredCriterion(replace(configuration, profile=other, overlap_loss=term))

    profile = replace(DETR, overlap_loss=declared)
    return torch_implementation(name="built", profile=profile, limits=LIMITS, criterion=build)


TERMS = (BoxDiou(), BoxCiou(), BoxCiouThroughWeight())


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
@pytest.mark.parametrize("invariant", ["criterion.giou-value", "gradients.box-giou", "criterion.perfect-boxes"])
def test_a_right_criterion_is_not_accused(term: BoxTerm, invariant: str) -> None:
    assert failure(invariant, built_to(term, term), 30) is None


DEFECTS: list[tuple[str, BoxTerm, BoxTerm]] = [
    ("criterion.giou-value", BoxDiou(), BoxCiou()),
    ("criterion.giou-value", BoxCiou(), BoxDiou()),
    ("gradients.box-giou", BoxCiouThroughWeight(), BoxCiou()),
    ("gradients.box-giou", BoxCiou(), BoxCiouThroughWeight()),
]


@pytest.mark.parametrize(("invariant", "built", "declared"), DEFECTS)
def test_another_overlap_is_found(invariant: str, built: BoxTerm, declared: BoxTerm) -> None:
    assert failure(invariant, built_to(built, declared), 100) is not None


@pytest.mark.parametrize("invariant", ["criterion.mixed-precision", "criterion.perfect-boxes", "criterion.giou-value"])
def test_a_right_criterion_that_matches_by_shapes_does_not_raise(invariant: str) -> None:
    subject = declared_implementation(replace(DETR, overlap_cost=CiouCost(), overlap_loss=BoxCiou()))
    assert failure(invariant, subject, 60) is None


def test_both_kinds_of_numbers_are_taken() -> None:
    box: Floats = UNIT
    found: Numbers = elementwise_ciou(box, TALL, EXACT)
    assert interval(elementwise_ciou(lift(box, "float64"), lift(TALL, "float64"), EXACT)).value == pytest.approx(found)
