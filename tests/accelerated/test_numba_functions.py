"""What numba compiles, beside the definitions: the softmax, whole steps, and defects planted in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from math import inf, nan
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import detr_accelerated
import detr_reference
from detr_accelerated import box_costs, class_costs, compiled_softmax, host_criterion, like_logits

pytest.importorskip("numba", reason="the optional package numba is not installed")

CLASSES = 10
LOSSES = ("labels", "boxes", "cardinality")
EPSILON = torch.finfo(torch.float32).eps
THREADS = torch.get_num_threads()


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"], autouse=True)
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However little there is to do, as many threads as torch has do it; two do not have equally many layers."""
    for module in (box_costs, class_costs, compiled_softmax, host_criterion):
        monkeypatch.setattr(module, "ELEMENTS_WORTH_A_THREAD", 1)
    monkeypatch.setattr(host_criterion, "COORDINATES_WORTH_A_THREAD", 1)
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(THREADS)


def found(*layers: Tensor) -> compiled_softmax.Softmax:
    return compiled_softmax.softmax(layers)


def together(numbers: like_logits.LikeLogits) -> Tensor:
    return torch.cat(numbers.parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 16, 2), (3, 17, 92), (2, 35, 7)], ids=str)
def test_it_is_the_softmax(shape: tuple[int, int, int], scale: float, dtype: torch.dtype) -> None:
    generator, epsilon = torch.Generator().manual_seed(0), torch.finfo(dtype).eps
    layers = [scale * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3)]
    ours, logits = found(*layers), torch.cat(layers)
    exact = logits.double()
    assert torch.equal(ours.last_logit, logits[..., -1])
    but_last = logits[..., :-1].amax(dim=-1) if shape[2] > 1 else torch.full_like(ours.last_logit, -inf)
    assert torch.equal(ours.highest_but_last, but_last)
    # The difference to the highest logit is rounded once, which its exponential magnifies; the rest is a few roundings.
    exponents = exact - exact.amax(dim=-1, keepdim=True)
    expected = exponents.exp()
    allowance = expected * epsilon * (4 - exponents) + torch.finfo(dtype).tiny * 1e2
    assert ((together(ours.exponentials) - expected).abs() <= allowance).all()
    sums = expected.sum(dim=-1)
    assert ((ours.exponential_sum - sums).abs() <= allowance.sum(dim=-1) + shape[2] * epsilon * sums).all()


def test_a_logit_of_minus_infinity_has_no_share() -> None:
    logits = torch.tensor([[[0.0, -inf, 1.0], [-inf, -inf, 2.0], [-200.0, 0.0, -inf]]])
    ours = found(logits)
    assert torch.equal(together(ours.exponentials) == 0, torch.tensor([[[0, 1, 0], [1, 1, 0], [1, 0, 1]]]).bool())
    assert torch.equal(ours.highest, torch.tensor([[1.0, 2.0, 0.0]]))


@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize("others", [0.0, -inf, inf])
def test_nan_is_never_passed_over(column: int, others: float) -> None:
    logits = torch.full((2, 20, 5), others)
    logits[1, 18, column] = nan
    broken = found(logits).highest.isnan()
    assert broken.nonzero().tolist() == [[1, 18]]


def test_an_infinite_logit_is_the_highest() -> None:
    logits = torch.zeros(1, 2, 4)
    logits[0, 1, 2] = inf
    assert found(logits).highest.tolist() == [[0.0, inf]]


def test_logits_need_not_be_contiguous() -> None:
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).mT.contiguous().mT
    ours, same = found(logits), found(logits.contiguous())
    assert torch.equal(together(ours.exponentials), together(same.exponentials))
    assert torch.equal(ours.exponential_sum, same.exponential_sum)


# Matcher and criterion with them


@dataclass(frozen=True)
class Scene:
    """Predictions and objects of three images, one empty and one crowded, in three layers."""

    logits: list[Tensor]
    boxes: list[Tensor]
    objects: list[tuple[Tensor, Tensor]]

    def batch(self, dtype: torch.dtype) -> tuple[dict[str, Any], list[dict[str, Tensor]], list[Tensor]]:
        """Outputs and targets, and the leaves of the outputs."""
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (*self.logits, *self.boxes)]
        pairs = zip(leaves[: len(self.logits)], leaves[len(self.logits) :], strict=True)
        last, *others = ({"pred_logits": logits, "pred_boxes": boxes} for logits, boxes in pairs)
        targets = [{"labels": labels, "boxes": boxes.to(dtype)} for labels, boxes in self.objects]
        return {**last, "aux_outputs": others}, targets, leaves


def general_scene() -> Scene:
    numbers = torch.Generator().manual_seed(0)

    def boxes(*shape: int) -> Tensor:
        return torch.rand(*shape, 4, generator=numbers) * 0.5 + 0.1

    return Scene(
        [4 * torch.randn(3, 40, CLASSES + 1, generator=numbers) for _ in range(3)],
        [boxes(3, 40) for _ in range(3)],
        [(torch.randint(CLASSES, (n,), generator=numbers), boxes(n)) for n in (7, 0, 2)],
    )


def scene_of_ties() -> Scene:
    """Edges that touch, corners that are equal, and logits as high as each other."""
    numbers = torch.Generator().manual_seed(0)

    def boxes(*shape: int) -> Tensor:
        return torch.randint(4, 13, (*shape, 4), generator=numbers) / 16

    return Scene(
        [torch.randint(-2, 3, (3, 12, CLASSES + 1), generator=numbers) / 2 for _ in range(3)],
        [boxes(3, 12) for _ in range(3)],
        [(torch.randint(CLASSES, (n,), generator=numbers), boxes(n)) for n in (9, 0, 14)],
    )


def scene_of_touching_sides() -> Scene:
    """One query and one object an image, beside, below, and corner to corner."""
    numbers = torch.Generator().manual_seed(0)
    places = torch.tensor([[0.5, 0.3125], [0.3125, 0.5], [0.5, 0.5]])
    return Scene(
        [torch.randn(3, 1, CLASSES + 1, generator=numbers)],
        [torch.full((3, 1, 4), 0.25)],
        [(torch.tensor([1]), torch.tensor([[x, y, 0.25, 0.25]])) for x, y in places.tolist()],
    )


def step(
    module: Any, scene: Scene, dtype: torch.dtype, losses: tuple[str, ...] = LOSSES, **named: Any
) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    """The losses, and the gradients of their sum with a weight of its own for each."""
    outputs, targets, leaves = scene.batch(dtype)
    criterion = module.SetCriterion(CLASSES, module.HungarianMatcher(1, 5, 2, **named), {}, 0.2, losses)
    answer: dict[str, Tensor] = criterion(outputs, targets)
    total = sum(loss * (1 + place) for place, loss in enumerate(answer.values()) if loss.requires_grad)
    return answer, list(torch.autograd.grad(total, leaves, allow_unused=True))


@pytest.mark.parametrize("unused", [None, "labels", "boxes"])
def test_a_step_in_float32_is_that_of_the_reference_in_float64(unused: str | None) -> None:
    scene, losses = general_scene(), tuple(loss for loss in LOSSES if loss != unused)
    ours, our_gradients = step(detr_accelerated, scene, torch.float32, losses)
    theirs, their_gradients = step(detr_reference, scene, torch.float64, losses)
    assert list(ours) == list(theirs)
    for name, loss in ours.items():
        torch.testing.assert_close(loss.double(), theirs[name], rtol=20 * EPSILON, atol=20 * EPSILON)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one.double(), other, rtol=100 * EPSILON, atol=20 * EPSILON)


def assert_exact() -> None:
    for scene in (general_scene(), scene_of_ties(), scene_of_touching_sides()):
        ours, theirs = (step(module, scene, torch.float64) for module in (detr_accelerated, detr_reference))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_step_in_float64_is_that_of_the_reference() -> None:
    assert_exact()


@pytest.mark.parametrize("label", [2**40, -(2**40)])
def test_without_validation_a_label_beyond_all_columns_ends_nothing(label: int) -> None:
    scene = general_scene()
    scene.objects[0][0][0] = label
    losses, gradients = step(detr_accelerated, scene, torch.float32, validate=False)
    assert all(value.isfinite() for value in losses.values())
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


DEFECTS = {
    "no-object wins a tie": ("numba_criterion", "but_last >= last", "but_last > last"),
    "a weight of 1 in the divisor": ("numba_criterion", "sums[CLASS_WEIGHT] += weight", "sums[CLASS_WEIGHT] += 1"),
    "no weight of no-object in the gradient": ("numba_criterion", "class_share * (eos_coef if", "class_share * (1 if"),
    "the last favourite of equals": ("numba_criterion", "other < column", "other > column"),
    "a class error of all matched": ("numba_criterion", "+= _is_first_highest(row, yes)", "+= 1"),
    "L1 of three coordinates": ("numba_criterion", "+ abs(width) + abs(height)", "+ abs(width)"),
    "IoU for GIoU": ("numba_criterion", " / union - (enclosure - union) / enclosure", " / union"),
    "the derivative of height for width": (
        "numba_criterion",
        "(x1 - x0) / 2, (y1 - y0) / 2",
        "(y1 - y0) / 2, (x1 - x0) / 2",
    ),
    "a gradient through sides that do not overlap": ("numba_criterion", "return 1.0 if side > 0", "return 1.0 if True"),
    "all of a tie's gradient": ("numba_criterion", "0.5 if own == other", "1.0 if own == other"),
    "another share where sides touch": ("numba_criterion", "touching if side == 0", "0.25 if side == 0"),
    "the first image's targets": (
        "numba_costs",
        "target_boxes[problem % num_images, target]",
        "target_boxes[0, target]",
    ),
    "the first image's labels": ("numba_costs", "labels[problem % len(labels), target]", "labels[0, target]"),
    "a class cost that is added": ("numba_costs", "-= weight[query]", "+= weight[query]"),
    "the smaller corner for the larger": ("numba_costs", "max(x1[query], target_x1)", "min(x1[query], target_x1)"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions are run as Python has them, which their compiled forms are held to above."""
    name, healthy, broken = DEFECTS[defect]
    source = Path(import_module(f"detr_accelerated.{name}").__file__ or "").read_text()
    assert source.count(healthy) == 1, "the defect cannot be planted, as the source has changed"
    plain = source.replace("from numba import njit", "njit = lambda **_: lambda function: function")
    for text, is_found in ((plain, False), (plain.replace(healthy, broken), True)):
        module = ModuleType(f"detr_accelerated.{name}")
        exec(text, vars(module))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        with pytest.raises(AssertionError) if is_found else nullcontext():
            assert_exact()
