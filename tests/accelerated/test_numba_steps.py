"""What numba compiles, beside the definitions: the softmax, whole steps, and defects planted in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor

import detr_accelerated
import detr_reference
from detr_accelerated import like_logits
from detr_accelerated.compiled import highest as compiled_sigmoid
from detr_accelerated.compiled import softmax as compiled_softmax
from detr_accelerated.cpu import class_losses as host_class_losses
from detr_accelerated.cpu import criterion as host_criterion
from detr_accelerated.torch import box_costs, class_costs

pytest.importorskip("numba", reason="the optional package numba is not installed")

CLASSES = 10
LOSSES = ("labels", "boxes", "cardinality")
EPSILON = torch.finfo(torch.float32).eps
THREADS = torch.get_num_threads()


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"], autouse=True)
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However little there is to do, as many threads as torch has do it; two do not have equally many layers."""
    modules = (box_costs, class_costs, compiled_sigmoid, compiled_softmax, host_class_losses, host_criterion)
    for module in modules:
        for name in vars(module):
            if name.endswith("WORTH_A_THREAD"):
                monkeypatch.setattr(module, name, 1)
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(THREADS)


@pytest.mark.parametrize("columns", [1, 7, 8, 92])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_highest_logit_is_the_highest(columns: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(2, 5, columns, generator=generator, dtype=dtype) for _ in range(3)]
    layers[1][0, 3], layers[2][1, 4, -1] = -inf, nan
    layers[2][0, 0, -1], layers[2][0, 0, 0] = -inf, inf
    layers[0] = layers[0].mT.contiguous().mT
    expected = torch.cat(layers).amax(dim=-1)
    torch.testing.assert_close(compiled_sigmoid.highest_logit(layers), expected, rtol=0, atol=0, equal_nan=True)


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


def criterion(module: Any, losses: tuple[str, ...] = LOSSES, gamma: float | None = None, **named: Any) -> Any:
    """That of the softmax dialect, or with a gamma that of the sigmoid dialect."""
    if gamma is None:
        return module.SetCriterion(CLASSES, module.HungarianMatcher(1, 5, 2, **named), {}, 0.2, losses)
    matcher = module.HungarianMatcher(2, 5, 2, class_cost=module.focal_cost(gamma=gamma), **named)
    return module.FocalSetCriterion(CLASSES + 1, matcher, {}, losses, focal_gamma=gamma)


def step(criterion: Any, scene: Scene, dtype: torch.dtype) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    """The losses, and the gradients of their sum with a weight of its own for each."""
    outputs, targets, leaves = scene.batch(dtype)
    answer: dict[str, Tensor] = criterion(outputs, targets)
    total = sum(loss * (1 + place) for place, loss in enumerate(answer.values()) if loss.requires_grad)
    return answer, list(torch.autograd.grad(total, leaves, allow_unused=True))


GAMMAS = (None, 2.0, 0.0, 1.5)
"""None for the softmax dialect."""


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("unused", [None, "labels", "boxes"])
def test_a_step_in_float32_is_that_of_the_reference_in_float64(unused: str | None, gamma: float | None) -> None:
    scene, losses = general_scene(), tuple(loss for loss in LOSSES if loss != unused)
    ours, our_gradients = step(criterion(detr_accelerated, losses, gamma), scene, torch.float32)
    theirs, their_gradients = step(criterion(detr_reference, losses, gamma), scene, torch.float64)
    assert list(ours) == list(theirs)
    for name, loss in ours.items():
        torch.testing.assert_close(loss.double(), theirs[name], rtol=20 * EPSILON, atol=20 * EPSILON)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one.double(), other, rtol=100 * EPSILON, atol=20 * EPSILON)


@pytest.mark.parametrize("queries", [1, 7, 8, 9, 33, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_queries_that_are_alike_have_costs_that_are(gamma: float | None, dtype: torch.dtype, queries: int) -> None:
    """To the last bit, wherever they stand in a vector of numbers or behind the last one; it decides ties."""
    numbers = torch.Generator().manual_seed(queries)
    logits = (4 * torch.randn(1, 1, CLASSES, generator=numbers, dtype=dtype)).repeat(1, queries, 1)
    boxes, target_boxes = (torch.rand(1, n, 4, generator=numbers, dtype=dtype) * 0.5 + 0.1 for n in (1, 3))
    labels = torch.tensor([[0, 4, 9]])
    cost = box_costs.box_costs(boxes.repeat(1, queries, 1), target_boxes, 5, 2)
    if gamma is None:
        class_costs.subtract_probabilities(cost, found(logits), labels, 1)
    else:
        class_costs.add_focal_costs(cost, [logits], labels, 2, class_costs.focal_cost(gamma=gamma))
    assert (cost == cost[..., :1]).all()


def assert_exact() -> None:
    for scene in (general_scene(), scene_of_ties(), scene_of_touching_sides()):
        for gamma in GAMMAS:
            ours, theirs = (
                step(criterion(module, gamma=gamma), scene, torch.float64)
                for module in (detr_accelerated, detr_reference)
            )
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_step_in_float64_is_that_of_the_reference() -> None:
    assert_exact()


def test_a_second_backward_pass_gives_the_same_gradients() -> None:
    outputs, targets, leaves = general_scene().batch(torch.float32)
    loss = criterion(detr_accelerated, gamma=2.0)(outputs, targets)["loss_ce"]
    first, second = (torch.autograd.grad(loss, leaves[0], retain_graph=True)[0].clone() for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_a_matched_logit_may_dwarf_all_others(gamma: float) -> None:
    """What it does not pay for being high is not what remains of a difference."""
    scene = Scene(
        [torch.cat([torch.full((1, 1, 1), 1e6), torch.full((1, 1, CLASSES), -5.0)], dim=2)],
        [torch.full((1, 1, 4), 0.25)],
        [(torch.tensor([0]), torch.full((1, 4), 0.25))],
    )
    ours, theirs = (
        step(criterion(module, gamma=gamma), scene, dtype)[0]["loss_ce"].double()
        for module, dtype in ((detr_accelerated, torch.float32), (detr_reference, torch.float64))
    )
    torch.testing.assert_close(ours, theirs, rtol=10 * EPSILON, atol=0)


@pytest.mark.parametrize("gamma", [None, 2.0])
@pytest.mark.parametrize("label", [2**40, -(2**40)])
def test_without_validation_a_label_beyond_all_columns_ends_nothing(label: int, gamma: float | None) -> None:
    scene = general_scene()
    scene.objects[0][0][0] = label
    losses, gradients = step(criterion(detr_accelerated, gamma=gamma, validate=False), scene, torch.float32)
    assert all(value.isfinite() for value in losses.values())
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


DEFECTS = {
    "class_losses": {
        "a weight of 1 in the divisor": ("weights += weight", "weights += 1"),
        "no weight of no-object in the gradient": ("class_share * (eos_coef if", "class_share * (1 if"),
        "alpha for 1 - alpha": ("real(1 - alpha)", "real(alpha)"),
        "the loss of saying no where it is to say yes": (
            "losses[place], own_slopes[place] = 0, ",
            "own_slopes[place] = ",
        ),
        "the sign of the slope of yes": ("-alpha * slope", "alpha * slope"),
        "a slope without that of the power": ("gamma * no[i] * surprise[i] + yes[i]", "yes[i]"),
        "a slope without the power of the other": ("gamma * not_p * surprise + p", "p"),
    },
    "box_losses": {
        "the last favourite of equals": ("other < column", "other > column"),
        "a class error of all matched": ("+= _is_first_highest(", "+= 1 + 0 * _is_first_highest("),
        "L1 of three coordinates": ("+ abs(width) + abs(height)", "+ abs(width)"),
        "IoU for GIoU": (" / union - (enclosure - union) / enclosure", " / union"),
        "the derivative of height for width": ("(x1 - x0) / 2, (y1 - y0) / 2", "(y1 - y0) / 2, (x1 - x0) / 2"),
        "a gradient through sides that do not overlap": ("return 1.0 if side > 0", "return 1.0 if True"),
        "all of a tie's gradient": ("0.5 if own == other", "1.0 if own == other"),
        "another share where sides touch": ("touching if side == 0", "0.25 if side == 0"),
    },
    "costs": {
        "the first image's targets": ("target_boxes[problem % num_images, target]", "target_boxes[0, target]"),
        "the first image's labels": ("labels[problem % len(labels), target]", "labels[0, target]"),
        "a class cost that is added": ("-= weight[query]", "+= weight[query]"),
        "the smaller corner for the larger": ("max(x1[query], target_x1)", "min(x1[query], target_x1)"),
        "the first image's labels in focal costs": ("labels[image, target]", "labels[0, target]"),
        "the cost of no added": ("(of_yes - of_no)", "(of_yes + of_no)"),
        "alpha for no as for yes": ("real(1 - alpha)", "real(alpha)"),
        "the power of yes for yes": ("real(alpha) * power_of_no", "real(alpha) * power_of_yes"),
    },
}


@pytest.mark.parametrize(("name", "defect"), [(name, defect) for name, own in DEFECTS.items() for defect in own])
def test_a_planted_defect_is_found(name: str, defect: str, run_plainly: Callable[..., None]) -> None:
    run_plainly()
    assert_exact()
    run_plainly(name, *DEFECTS[name][defect])
    with pytest.raises(AssertionError):
        assert_exact()
