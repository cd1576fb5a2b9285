"""Reverse mode over intervals: every operation has the slope that differences say, and a range that holds torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from differences import difference_quotient

from detr_spec.activations import log_softmax, log_sum_exp, sigmoid, softmax, surprisal
from detr_spec.tolerance import (
    OPERATIONS,
    REARRANGEMENTS,
    Interval,
    Numbers,
    gradient,
    hull,
    lift,
    stop_gradient,
    within,
)

POINT = np.array([[0.75, 0.25, 1.5], [0.5, 2.0, 0.625]])
OTHER = np.array([[1.25, -0.5, 0.875], [-1.0, 0.375, 3.0]])

FUNCTIONS: dict[str, Callable[[Numbers], Numbers]] = {
    "add": lambda x: x + OTHER,
    "subtract": lambda x: OTHER - x * 2.0,
    "multiply": lambda x: x * OTHER * x,
    "divide": lambda x: OTHER / x + x / OTHER,
    "negative": lambda x: -x,
    "absolute": lambda x: np.abs(x - 0.7),
    "power": lambda x: x**2.5,
    "power 0": lambda x: x**0.0 + x,
    "exp": lambda x: np.exp(-x),
    "log": np.log,
    "log1p": np.log1p,
    "arctan": lambda x: np.arctan(x - 1.0),
    "minimum": lambda x: np.minimum(x, OTHER) * OTHER,
    "maximum": lambda x: np.maximum(OTHER, x * x),
    "sum": lambda x: (x * OTHER).sum(axis=1) ** 2.0,
    "sum of rows": lambda x: (x * OTHER).sum(axis=0)[None, :] * OTHER,
    "broadcast_to": lambda x: np.broadcast_to(x[:1], (4, 3)) * np.arange(1.0, 5.0)[:, None],
    "broadcast": lambda x: x[0] * OTHER + x[:, :1] * OTHER + x[1, 2],
    "concatenate": lambda x: np.concatenate([x, x * 2.0], axis=1) * np.concatenate([OTHER, OTHER], axis=1),
    "expand_dims": lambda x: np.expand_dims(x, 1) * OTHER,
    "moveaxis": lambda x: np.moveaxis(x, 0, 1) * OTHER.T,
    "reshape": lambda x: np.reshape(x, (3, 2)) * OTHER.reshape(3, 2),
    "stack": lambda x: np.stack([x, x * x], axis=-1) * OTHER[..., None],
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([[1], [1]]), axis=1) * OTHER[:, :1],
    "transpose": lambda x: np.transpose(x) * OTHER.T,
    "where": lambda x: np.where(OTHER > 0, x, 7.0) * OTHER,
    "getitem": lambda x: x[:, [0, 0, 2]] * OTHER,
    "method reshape": lambda x: x.reshape(-1) * OTHER.ravel(),
    "T": lambda x: x.T * OTHER.T,
    "within": lambda x: within(x, least=0.0) * OTHER,
    "sigmoid": sigmoid,
    "softmax": lambda x: softmax(x) * OTHER,
    "log_softmax": lambda x: log_softmax(x) * OTHER,
    "log_sum_exp": log_sum_exp,
    "surprisal": surprisal,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_slope_is_what_differences_say(name: str) -> None:
    def total(x: Numbers) -> Numbers:
        return FUNCTIONS[name](x).reshape(-1).sum()

    slope = gradient(total, lift(POINT, "float64"))
    for place in np.ndindex(POINT.shape):
        direction = np.zeros(POINT.shape)
        direction[place] = 1.0
        quotient = difference_quotient(lambda x: float(total(x)), POINT, direction, 2.0**-10, 1e-14)
        assert abs(float(slope.value[place]) - quotient.value) <= quotient.error
        assert slope.lower[place] <= slope.value[place] <= slope.upper[place]
    assert float((slope.upper - slope.lower).max()) < 1e-13


def test_every_operation_has_a_slope() -> None:
    tried = {name.split()[0] for name in FUNCTIONS}
    assert {item.__name__ for item in (*OPERATIONS, *REARRANGEMENTS)} <= tried


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_what_torch_differentiates_lies_in_the_range(dtype: str) -> None:
    random, working = np.random.default_rng(3), getattr(torch, dtype)

    def function(x: Any, y: Any, library: Any) -> Any:
        return (library.exp(-x * y) / (x + y * y) - library.log(x) * y).sum()

    for _ in range(50):
        x, y = (torch.tensor(random.uniform(0.1, 4.0, 16), dtype=working, requires_grad=True) for _ in range(2))
        function(x, y, torch).backward()
        first, second = (lift(leaf.detach().double().numpy(), dtype) for leaf in (x, y))
        by_first = gradient(lambda a: function(a, second, np), first)  # noqa: B023
        by_second = gradient(lambda b: function(first, b, np), second)  # noqa: B023
        for leaf, slope in ((x, by_first), (y, by_second)):
            assert leaf.grad is not None
            got = leaf.grad.double().numpy()
            assert ((slope.lower <= got) & (got <= slope.upper)).all()


def slope_of(function: Callable[[Numbers], Numbers], number: float) -> Interval:
    return gradient(lambda x: function(x).sum(), lift([number], "float64"))


@pytest.mark.parametrize(
    ("function", "ends"),
    [
        (np.abs, (-1.0, 1.0)),
        (lambda x: np.maximum(x, 0.0), (0.0, 1.0)),
        (lambda x: np.minimum(3.0 * x, x), (1.0, 3.0)),
    ],
)
def test_a_slope_at_a_kink_is_any_between_those_on_its_sides(
    function: Callable[[Numbers], Numbers], ends: tuple[float, float]
) -> None:
    slope = slope_of(function, 0.0)
    assert slope.lower[0] <= ends[0]
    assert slope.upper[0] >= ends[1]
    assert slope.upper[0] - slope.lower[0] < 4.5


def test_what_is_stopped_is_a_constant() -> None:
    assert slope_of(lambda x: x * stop_gradient(x), 3.0).value == [3.0]
    assert slope_of(lambda x: stop_gradient(x) * 2.0, 3.0).value == [0.0]
    assert stop_gradient(POINT) is POINT


def test_each_right_way_has_its_way_back() -> None:
    """The second way here is no right one, so that it shows."""
    slope = slope_of(lambda x: hull(x * 2.0, x * 3.0), 0.3)
    assert slope.value == [2.0]
    assert (slope.lower[0], slope.upper[0]) == (2.0, 3.0)


def test_what_has_no_slope_says_so() -> None:
    with pytest.raises(TypeError, match="stop it"):
        slope_of(lambda x: x.max(axis=0), 1.0)
    with pytest.raises(TypeError, match="exponent"):
        slope_of(lambda x: lift([2.0], "float64") ** x, 1.0)
