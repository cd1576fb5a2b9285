"""The box costs in torch and compiled: what the reference's formulas give, and NaN where those give it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import detr_accelerated
import detr_reference
from detr_accelerated.compiled import calling as compiled
from detr_accelerated.torch import box_costs as functions


@pytest.fixture(params=["torch", "numba"])
def box_costs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "torch":
        monkeypatch.setattr(compiled, "installed", lambda: False)
    else:
        pytest.importorskip("numba", reason="the optional package numba is not installed")
    return functions.box_costs


def expected(boxes: Tensor, target_boxes: Tensor, cost_bbox: float, cost_giou: float) -> Tensor:
    matcher = detr_reference.HungarianMatcher(0, cost_bbox, cost_giou)
    logits, labels = torch.zeros(boxes.shape[1], 1, dtype=boxes.dtype), torch.zeros(target_boxes.shape[1]).long()
    pairs = [(queries, target_boxes[place % len(target_boxes)]) for place, queries in enumerate(boxes)]
    return torch.stack([matcher.cost_matrix(logits, queries, labels, objects).mT for queries, objects in pairs])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_costs_are_those_of_the_reference(box_costs: Any, dtype: torch.dtype) -> None:
    """Coordinates on a grid of 1/32 make every sum and area exact, and leave the roundings of two quotients."""
    numbers = np.random.default_rng(0)
    for images, shape in ((3, (3, 7, 5)), (1, (1, 1, 1)), (2, (6, 40, 33)), (2, (2, 0, 4))):
        problems, targets, queries = shape
        boxes = torch.tensor(numbers.integers(1, 33, (problems, queries, 4)) / 32, dtype=dtype)
        target_boxes = torch.tensor(numbers.integers(1, 33, (images, targets, 4)) / 32, dtype=dtype)
        cost = box_costs(boxes, target_boxes, 5.0, 2.0)
        assert (cost.shape, cost.dtype) == (shape, dtype)
        # Each of at most eight roundings is of a number below 32.
        allowance = 8 * 32 * torch.finfo(dtype).eps
        torch.testing.assert_close(cost, expected(boxes, target_boxes, 5.0, 2.0), rtol=0, atol=allowance)


def test_boxes_without_area_cost_what_they_do_in_the_reference(box_costs: Any) -> None:
    point, line, proper = [0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.25, 0.0], [0.25, 0.25, 0.5, 0.5]
    boxes = torch.tensor([point, line, proper], dtype=torch.float64)
    cost = box_costs(boxes[None], boxes[None], 1.0, 1.0)
    torch.testing.assert_close(cost, expected(boxes[None], boxes[None], 1.0, 1.0), equal_nan=True)
    assert cost.isnan().any()
    assert cost.isfinite().any()


@pytest.mark.parametrize("wide", ["pred_logits", "pred_boxes", "boxes"])
def test_mixed_dtypes_are_promoted_as_in_the_reference(wide: str) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = {
        "pred_logits": torch.randn(2, 6, 3, generator=generator),
        "pred_boxes": torch.rand(2, 6, 4, generator=generator) * 0.5 + 0.1,
    }
    targets = [{"labels": torch.tensor([0, 1]), "boxes": torch.rand(2, 4, generator=generator) * 0.5 + 0.1}] * 2
    if wide == "boxes":
        targets = [target | {"boxes": target["boxes"].double()} for target in targets]
    else:
        outputs[wide] = outputs[wide].double()
    criteria = [
        module.SetCriterion(2, detr_accelerated.HungarianMatcher(1, 5, 2), {}, 0.1, ["labels", "boxes", "cardinality"])
        for module in (detr_accelerated, detr_reference)
    ]
    ours, theirs = (criterion(outputs, targets) for criterion in criteria)
    torch.testing.assert_close(ours, theirs)
