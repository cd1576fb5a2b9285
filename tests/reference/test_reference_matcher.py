"""The matcher: its cost by hand, its optimality by exhaustion, its refusals."""

from __future__ import annotations

from itertools import permutations
from math import inf, log, nan
from typing import Any

import pytest
import torch
from torch import Tensor

from detr_reference import HungarianMatcher, focal_cost, negative_probability_cost

Batch = tuple[dict[str, Tensor], list[dict[str, Tensor]]]


def random_batch(counts: list[int], num_queries: int = 5, num_logits: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(len(counts) + sum(counts))

    def random_boxes(*shape: int) -> Tensor:
        return torch.rand(*shape, 4, generator=generator) * 0.5 + 0.1

    outputs = {
        "pred_logits": torch.randn(len(counts), num_queries, num_logits, generator=generator),
        "pred_boxes": random_boxes(len(counts), num_queries),
    }
    targets = [
        {
            "labels": torch.randint(num_logits - 1, (count,), generator=generator),
            "boxes": random_boxes(count),
        }
        for count in counts
    ]
    return outputs, targets


def test_class_costs_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]], dtype=torch.float64).log()
    expected = torch.tensor([[-0.2, -0.5], [-0.6, -0.1]], dtype=torch.float64)
    torch.testing.assert_close(negative_probability_cost(logits, torch.tensor([1, 0])), expected)

    three_quarters = torch.tensor([[0.0, log(3)]], dtype=torch.float64)
    cost = focal_cost(alpha=0.25, gamma=2.0, epsilon=0.0)(three_quarters, torch.tensor([1]))
    expected_focal = 0.25 * (1 / 16) * log(4 / 3) - 0.75 * (9 / 16) * log(4)
    torch.testing.assert_close(cost, torch.tensor([[expected_focal]], dtype=torch.float64))


def test_focal_cost_is_finite_for_saturated_logits() -> None:
    cost = focal_cost()(torch.tensor([[-120.0], [120.0]]), torch.tensor([0]))
    torch.testing.assert_close(cost[:, 0], torch.tensor([-0.25 * log(1e-8), 0.75 * log(1e-8)]))


def test_total_cost_by_hand() -> None:
    cost = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2).cost_matrix(
        torch.tensor([[0.7, 0.1, 0.2]]).log(),
        torch.tensor([[0.5, 0.5, 0.5, 0.5]]),
        torch.tensor([0]),
        torch.tensor([[0.5, 0.5, 1.0, 1.0]]),
    )
    torch.testing.assert_close(cost, torch.tensor([[5 * 1.0 - 0.7 - 2 * 0.25]]))


def test_the_sum_is_minimised_not_each_choice() -> None:
    outputs = {
        "pred_logits": torch.tensor([[[0.6, 0.3, 0.1], [0.5, 0.1, 0.4]]]).log(),
        "pred_boxes": torch.full((1, 2, 4), 0.5),
    }
    targets = [{"labels": torch.tensor([0, 1]), "boxes": torch.full((2, 4), 0.5)}]
    [(queries, matched)] = HungarianMatcher(1, 0, 0)(outputs, targets)
    assert (queries.tolist(), matched.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize("class_cost", [negative_probability_cost, focal_cost()])
@pytest.mark.parametrize("counts", [[3], [5, 0, 2], [7, 1]])
def test_no_other_assignment_is_cheaper_and_images_do_not_mix(counts: list[int], class_cost: Any) -> None:
    outputs, targets = random_batch(counts)
    matcher = HungarianMatcher(1, 5, 2, class_cost=class_cost)
    for image, (queries, matched) in enumerate(matcher(outputs, targets)):
        logits, boxes = outputs["pred_logits"][image], outputs["pred_boxes"][image]
        cost = matcher.cost_matrix(logits, boxes, targets[image]["labels"], targets[image]["boxes"])
        short, long = sorted(cost.shape)
        table = cost if cost.shape[0] == short else cost.T
        cheapest = min(
            sum(table[row, column].item() for row, column in enumerate(columns))
            for columns in permutations(range(long), short)
        )
        assert cost[queries, matched].sum().item() == pytest.approx(cheapest, abs=1e-5)
        assert len(queries) == len(set(matched.tolist())) == short
        assert queries.tolist() == sorted(set(queries.tolist()))


def test_result_is_int64_on_the_cpu_without_gradient_and_inputs_are_unchanged() -> None:
    outputs, targets = random_batch([2, 0])
    before = {name: value.clone() for name, value in outputs.items()}
    for value in outputs.values():
        value.requires_grad_()
    pairs = HungarianMatcher(1, 5, 2)(outputs, targets)
    assert [(len(queries), len(matched)) for queries, matched in pairs] == [(2, 2), (0, 0)]
    for indices in (index for pair in pairs for index in pair):
        assert indices.dtype == torch.int64
        assert indices.device.type == "cpu"
    assert all(torch.equal(outputs[name], before[name]) for name in before)


def test_a_class_ruled_out_and_the_no_object_label_are_accepted() -> None:
    outputs, targets = random_batch([2])
    outputs["pred_logits"][0, :, 1] = -inf
    targets[0]["labels"] = torch.tensor([3, 0])
    assert len(HungarianMatcher()(outputs, targets)[0][0]) == 2


def test_all_zero_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="all zero"):
        HungarianMatcher(0, 0, 0)


@pytest.mark.parametrize("class_cost", [negative_probability_cost, focal_cost()])
@pytest.mark.parametrize(
    ("name", "value"), [("pred_logits", nan), ("pred_logits", inf), ("pred_boxes", nan), ("pred_boxes", -0.1)]
)
def test_broken_predictions_are_refused(name: str, value: float, class_cost: Any) -> None:
    outputs, targets = random_batch([2, 0])
    outputs[name][1, 2, 3] = value
    with pytest.raises(ValueError, match=name):
        HungarianMatcher(class_cost=class_cost)(outputs, targets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 4])}, r"\[0, 3\], got 4"),
        ({"labels": torch.tensor([-1, 0])}, "got -1"),
        ({"labels": torch.tensor([0.0, 1.0])}, "int64"),
        ({"labels": torch.tensor([0])}, "one box for each label"),
        ({"boxes": torch.tensor([[nan, 0.5, 0.5, 0.5]] * 2)}, r"targets\[0\]\['boxes'\] holds NaN"),
        ({"boxes": torch.tensor([[0.5, 0.5, 0.5, -0.5]] * 2)}, "negative width or height"),
    ],
)
def test_broken_targets_are_refused(change: dict[str, Tensor], message: str) -> None:
    outputs, targets = random_batch([2])
    with pytest.raises(ValueError, match=message):
        HungarianMatcher()(outputs, [{**targets[0], **change}])


def test_wrong_shapes_are_refused() -> None:
    outputs, targets = random_batch([2])
    with pytest.raises(ValueError, match="images 1, targets 2"):
        HungarianMatcher()(outputs, targets * 2)
    with pytest.raises(ValueError, match="pred_boxes must have shape"):
        HungarianMatcher()({**outputs, "pred_boxes": torch.rand(1, 4, 4)}, targets)
    with pytest.raises(ValueError, match="pred_logits must have shape"):
        HungarianMatcher()({**outputs, "pred_logits": torch.rand(5, 4)}, targets)


def test_a_cost_without_a_value_is_refused() -> None:
    outputs, targets = random_batch([1])
    outputs["pred_boxes"][0, 0] = targets[0]["boxes"][0] = torch.tensor([0.5, 0.5, 0.0, 0.0])
    with pytest.raises(ValueError, match="image 0 has a matching cost that is NaN"):
        HungarianMatcher()(outputs, targets)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["pred_logits", "pred_boxes"])
def test_half_precision_on_the_cpu_is_refused(name: str, dtype: torch.dtype) -> None:
    outputs, targets = random_batch([2])
    with pytest.raises(TypeError, match=name):
        HungarianMatcher()({**outputs, name: outputs[name].to(dtype)}, targets)
