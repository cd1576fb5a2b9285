"""The loss by which layers learn the distributions of the last, by hand and as PyTorch has its parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div, log_softmax, softmax

from detr_spec.terms import DistributionDistillation, Layer, Teacher
from detr_spec.terms.distillation import divergence
from detr_spec.tolerance import gradient, interval, lift
from detr_spec.values import Floats, InvalidValue

PLAIN = DistributionDistillation(reg_max=2.0, temperature=1.0)
SURE = np.tile([np.log(2.0), 0.0, 0.0], 4)
DIVERGENCE = np.log(9 / 8) / 2
"""That of thirds from (1/2, 1/4, 1/4): 1/2 log 3/2 + 1/2 log 3/4."""


def layer(pairs: int = 1, overlap: float = 0.5, edges: Floats | None = None) -> Layer:
    """Three queries of logits 0, the first of which have targets; the teacher gives each a score of 3/4."""
    box = [0.5, 0.5, 0.5, 0.5]
    return Layer(
        logits=np.zeros((1, 3, 2)),
        classes=np.array([[0] * pairs + [2] * (3 - pairs)]),
        boxes=np.array([box] * pairs).reshape(-1, 4) * [1, 1, overlap, 1],
        truth=np.array([box] * pairs).reshape(-1, 4),
        images=np.zeros(pairs, dtype=np.int64),
        queries=np.arange(pairs),
        normaliser=np.array(7.0),
        edges=np.zeros((1, 3, 12)) if edges is None else edges,
        references=np.full((1, 3, 4), 0.5),
        teacher=Teacher(logits=np.array([[[-5.0, np.log(3.0)]] * 3]), edges=np.tile(SURE, (1, 3, 1))),
    )


def test_the_loss_by_hand() -> None:
    """One query has a target, with an overlap of 1/2; the others have the teacher's score, 3/4; the roots are 1, √2."""
    root = np.sqrt(2.0)
    expected = DIVERGENCE * (0.5 + root * 0.75) / (1 + root)
    assert PLAIN.value(layer()) == pytest.approx(expected)
    assert PLAIN.value(layer(pairs=0)) == pytest.approx(DIVERGENCE * 0.75)
    assert PLAIN.value(layer(pairs=3)) == pytest.approx(DIVERGENCE * 0.5)


def test_denoising_queries_have_the_roots_of_the_decoder() -> None:
    shown = replace(layer(), decoder_queries=(4, 9))
    assert PLAIN.value(shown) == pytest.approx(DIVERGENCE * (2 * 0.5 + 3 * 0.75) / 5)


def test_a_temperature_softens_both() -> None:
    soft = replace(PLAIN, temperature=2.0)
    given = layer(pairs=3, overlap=1.0)
    teacher = replace(given.taught, edges=np.tile(2 * SURE, (1, 3, 1)))
    assert soft.value(replace(given, teacher=teacher)) == pytest.approx(4 * DIVERGENCE)


def test_a_layer_that_is_its_teacher_loses_nothing() -> None:
    assert PLAIN.value(layer(edges=np.tile(SURE, (1, 3, 1)))) == pytest.approx(0.0, abs=1e-15)


def test_a_layer_without_a_teacher_is_refused() -> None:
    with pytest.raises(InvalidValue, match="expected edges in every layer"):
        PLAIN.value(replace(layer(), teacher=None))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_torch_computes_lies_in_the_range(dtype: str) -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        taught, own = (generator.normal(0, 3, (4, 9)).astype(dtype).astype(float) for _ in range(2))
        found = interval(divergence(lift(taught, dtype), lift(own, dtype)))
        first, second = (torch.tensor(part, dtype=getattr(torch, dtype)) for part in (taught, own))
        second.requires_grad_()
        got = kl_div(log_softmax(second, -1), softmax(first, -1), reduction="none").sum(-1)
        value = got.detach().double().numpy()
        assert ((found.lower <= value) & (value <= found.upper)).all()
        got.sum().backward()
        slope = gradient(lambda z, taught=taught: divergence(lift(taught, dtype), z).sum(), lift(own, dtype))  # type: ignore[misc]
        assert second.grad is not None
        moved = second.grad.double().numpy()
        assert ((slope.lower <= moved) & (moved <= slope.upper)).all()
