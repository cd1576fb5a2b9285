"""The softmax that numba compiles for float32, and a whole step with it, beside the definitions in float64."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor

import detr_accelerated
import detr_reference
from detr_accelerated import host_criterion, like_logits, softmax

pytest.importorskip("numba", reason="the optional package numba is not installed")

EPSILON = torch.finfo(torch.float32).eps
THREADS = torch.get_num_threads()


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"], autouse=True)
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """However little there is to do, as many threads as torch has do it."""
    for module in (softmax, host_criterion):
        monkeypatch.setattr(module, "ELEMENTS_WORTH_A_THREAD", 1)
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(THREADS)


def found(*layers: Tensor) -> softmax.Softmax:
    return softmax.softmax(layers)


def together(numbers: like_logits.LikeLogits) -> Tensor:
    return torch.cat(numbers.parts)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 16, 2), (3, 17, 92), (2, 35, 7)], ids=str)
def test_it_is_the_softmax(shape: tuple[int, int, int], scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [scale * torch.randn(shape, generator=generator) for _ in range(3)]
    ours, logits = found(*layers), torch.cat(layers)
    exact = logits.double()
    assert torch.equal(ours.last_logit, logits[..., -1])
    but_last = logits[..., :-1].amax(dim=-1) if shape[2] > 1 else torch.full_like(ours.last_logit, -inf)
    assert torch.equal(ours.highest_but_last, but_last)
    # The difference to the highest logit is rounded once, which its exponential magnifies; the rest is a few roundings.
    exponents = exact - exact.amax(dim=-1, keepdim=True)
    expected = exponents.exp()
    allowance = expected * EPSILON * (4 - exponents) + torch.finfo(torch.float32).tiny * 1e2
    assert ((together(ours.exponentials) - expected).abs() <= allowance).all()
    sums = expected.sum(dim=-1)
    assert ((ours.exponential_sum - sums).abs() <= allowance.sum(dim=-1) + shape[2] * EPSILON * sums).all()


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


@pytest.mark.parametrize("unused", [None, "labels", "boxes"])
def test_a_step_in_float32_is_that_of_the_reference_in_float64(unused: str | None) -> None:
    generator = torch.Generator().manual_seed(0)
    counts, layers = (7, 0, 2), 3
    logits = [4 * torch.randn(3, 40, 11, generator=generator) for _ in range(layers)]
    boxes = [torch.rand(3, 40, 4, generator=generator) * 0.5 + 0.1 for _ in range(layers)]
    objects = [(torch.randint(10, (n,), generator=generator), torch.rand(n, 4, generator=generator)) for n in counts]
    losses = [loss for loss in ("labels", "boxes", "cardinality") if loss != unused]

    def step(module: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (*logits, *boxes)]
        predicted = [{"pred_logits": leaves[k], "pred_boxes": leaves[layers + k]} for k in range(layers)]
        outputs = {**predicted[0], "aux_outputs": predicted[1:]}
        targets = [{"labels": labels, "boxes": own.to(dtype) * 0.5 + 0.1} for labels, own in objects]
        criterion = module.SetCriterion(10, module.HungarianMatcher(1, 5, 2), {}, 0.1, losses)
        answer = criterion(outputs, targets)
        total = sum(loss * (1 + place) for place, loss in enumerate(answer.values()) if loss.requires_grad)
        return answer, list(torch.autograd.grad(total, leaves, allow_unused=True))

    (ours, our_gradients), (theirs, their_gradients) = (
        step(detr_accelerated, torch.float32),
        step(detr_reference, torch.float64),
    )
    assert list(ours) == list(theirs)
    for name, loss in ours.items():
        torch.testing.assert_close(loss.double(), theirs[name], rtol=20 * EPSILON, atol=20 * EPSILON)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one.double(), other, rtol=100 * EPSILON, atol=20 * EPSILON)
