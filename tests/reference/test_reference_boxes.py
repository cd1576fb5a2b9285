"""Boxes against fractions worked out by hand, and against torchvision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detr_reference import (
    box_area,
    box_cxcywh_to_xyxy,
    box_iou,
    box_xyxy_to_cxcywh,
    elementwise_generalized_box_iou,
    generalized_box_iou,
)

SQUARE = [0.0, 0.0, 2.0, 2.0]
OVERLAPPING = [1.0, 1.0, 3.0, 3.0]
DISJOINT = [4.0, 0.0, 6.0, 2.0]
INSIDE = [0.5, 0.5, 1.5, 1.5]


def boxes(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


def random_proper_boxes(count: int, generator: torch.Generator) -> Tensor:
    corners = torch.rand(count, 2, 2, generator=generator, dtype=torch.float64)
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 0.01], dim=1)


def test_formats_convert_both_ways() -> None:
    center_size = boxes([0.5, 0.25, 0.5, 0.25])
    corners = boxes([0.25, 0.125, 0.75, 0.375])
    assert torch.equal(box_cxcywh_to_xyxy(center_size), corners)
    assert torch.equal(box_xyxy_to_cxcywh(corners), center_size)
    assert box_cxcywh_to_xyxy(torch.zeros(2, 0, 4)).shape == (2, 0, 4)


def test_area_iou_and_giou_are_the_fractions_worked_out_by_hand() -> None:
    others = boxes(OVERLAPPING, DISJOINT, INSIDE, SQUARE)
    iou, union = box_iou(boxes(SQUARE), others)
    expected_giou = boxes([1 / 7 - 2 / 9, 0 - 4 / 12, 1 / 4, 1.0])
    assert box_area(others).tolist() == [4, 4, 1, 4]
    assert union.tolist() == [[7, 8, 4, 4]]
    torch.testing.assert_close(iou, boxes([1 / 7, 0, 1 / 4, 1]))
    torch.testing.assert_close(generalized_box_iou(boxes(SQUARE), others), expected_giou)
    torch.testing.assert_close(
        elementwise_generalized_box_iou(boxes(SQUARE, SQUARE, SQUARE, SQUARE), others), expected_giou[0]
    )


def test_pairs_and_elements_agree_with_torchvision() -> None:
    torchvision_ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(0)
    first, second = (random_proper_boxes(50, generator) for _ in range(2))
    giou = generalized_box_iou(first, second)
    torch.testing.assert_close(giou, torchvision_ops.generalized_box_iou(first, second))
    torch.testing.assert_close(elementwise_generalized_box_iou(first, second), giou.diagonal())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]),
        ([1.0, 1.0, 1.0, 1.0], [2.0, 3.0, 2.0, 3.0]),
        ([0.0, 1.0, 2.0, 1.0], [1.0, 1.0, 3.0, 1.0]),
    ],
    ids=["same point", "two points", "collinear segments"],
)
def test_giou_of_two_boxes_without_area_is_nan(first: list[float], second: list[float]) -> None:
    assert generalized_box_iou(boxes(first), boxes(second)).isnan().all()


def test_giou_of_a_point_and_a_proper_box_is_finite() -> None:
    giou = generalized_box_iou(boxes([3.0, 3.0, 3.0, 3.0]), boxes([0.0, 0.0, 1.0, 1.0]))
    torch.testing.assert_close(giou.item(), -8 / 9)


def test_empty_sets_give_empty_results() -> None:
    three = boxes(SQUARE, SQUARE, SQUARE)
    assert generalized_box_iou(boxes(), three).shape == (0, 3)
    assert generalized_box_iou(three, boxes()).shape == (3, 0)
    assert elementwise_generalized_box_iou(boxes(), boxes()).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_upcast(dtype: torch.dtype) -> None:
    large = torch.tensor([[0, 0, 512, 512]], dtype=dtype)
    giou = generalized_box_iou(large, large)
    assert giou.dtype == torch.float32
    assert giou.item() == 1
    assert box_area(large).item() == 512 * 512


@pytest.mark.parametrize(
    "broken",
    [
        [1.0, 0.0, 0.0, 1.0],
        [0.0, 1.0, 1.0, 0.0],
        [float("nan"), 0.0, 1.0, 1.0],
        [0.0, 0.0, 1.0, float("nan")],
    ],
)
@pytest.mark.parametrize("function", [generalized_box_iou, elementwise_generalized_box_iou])
def test_improper_boxes_are_refused_by_name(function: type, broken: list[float]) -> None:
    proper, improper = boxes(SQUARE, SQUARE), boxes(SQUARE, broken)
    with pytest.raises(ValueError, match=r"boxes1\[1\]"):
        function(improper, proper)
    with pytest.raises(ValueError, match=r"boxes2\[1\]"):
        function(proper, improper)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[n, 4\]"):
        generalized_box_iou(torch.zeros(4), boxes(SQUARE))
    with pytest.raises(ValueError, match=r"boxes2 must have shape \[n, 4\]"):
        box_iou(boxes(SQUARE), torch.zeros(1, 5))
    with pytest.raises(ValueError, match="1 and 2 boxes"):
        elementwise_generalized_box_iou(boxes(SQUARE), boxes(SQUARE, SQUARE))
