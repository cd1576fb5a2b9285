"""Functions of many numbers that numba compiles, beside NumPy's in higher precision, and defects planted in them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from math import inf, nan
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="the optional package numba is not installed")

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])
GAMMAS = (0.0, 0.5, 1.0, 2.0, 3.5)


def of_module(name: str) -> Any:
    """A module as it is imported now."""
    return import_module(f"detr_accelerated.compiled.kernels.{name}")


def written(name: str, x: Any, memory: int = 0) -> Any:
    """What a function writes of numbers x, given memory for as many so many times."""
    found = np.empty_like(x)
    getattr(of_module("functions"), name)(x, *(np.empty_like(x) for _ in range(memory)), found)
    return found


def sigmoids(logits: Any) -> list[Any]:
    """p, 1 - p, -log(p) and -log(1 - p)."""
    parts = [np.empty_like(logits) for _ in range(4)]
    of_module("sigmoid").write_sigmoids(logits, *parts, np.empty_like(logits))
    return parts


def assert_close(ours: Any, exact: Any, roundings: Any) -> None:
    assert (abs(ours - exact) <= roundings * np.finfo(ours.dtype).eps * abs(exact)).all()


def assert_elementary_functions_are_right(dtype: Any) -> None:
    x = -np.logspace(-8, 1.93, 3000).astype(dtype)
    assert_close(written("write_exponentials", x, memory=1), np.exp(x.astype(np.longdouble)), roundings=2)
    for x in (np.logspace(-37, 38, 3000).astype(dtype), 1 + np.linspace(-0.5, 0.5, 2000).astype(dtype)):
        assert_close(written("write_logarithms", x, memory=1), np.log(x.astype(np.longdouble)), roundings=2)
    for x in (np.logspace(-30, 0, 3000).astype(dtype), np.zeros(3, dtype)):
        assert_close(written("write_logarithms_of_more", x), np.log1p(x.astype(np.longdouble)), roundings=2)


def assert_folds_are_right(dtype: Any) -> None:
    numbers = np.random.default_rng(0).integers(-99, 99, 41).astype(dtype)
    for count in (1, 7, 8, 9, 41):
        for first in range(8):
            some = np.roll(numbers, first)[:count]
            assert of_module("functions").total(some) == some.sum()
            assert of_module("functions").highest(some) == some.max()


def assert_sigmoids_are_right(dtype: Any) -> None:
    """Next to nothing they are as exact as elsewhere."""
    logits = np.concatenate([sign * np.logspace(-6, np.log10(85), 2000) for sign in (-1, 1)]).astype(dtype)
    exact = logits.astype(np.longdouble)
    surprise_of_yes, surprise_of_no = (np.log1p(np.exp(-abs(exact))) + np.maximum(z, 0) for z in (-exact, exact))
    expected = [np.exp(-surprise_of_yes), np.exp(-surprise_of_no), surprise_of_yes, surprise_of_no]
    for ours, theirs in zip(sigmoids(logits), expected, strict=True):
        assert_close(ours, theirs, roundings=4)


def assert_powers_are_right(dtype: Any, gamma: float) -> None:
    p = np.concatenate([[0], np.logspace(-9, 0, 2000)]).astype(dtype)
    with np.errstate(divide="ignore"):
        surprise = -np.log(p.astype(np.longdouble)).astype(dtype)
    memory, power, found = (np.empty_like(p) for _ in range(3))
    with np.errstate(over="ignore"):
        of_module("sigmoid").write_powers(p, surprise, dtype(gamma), memory, power, found)
    # The surprise is rounded once, which its exponential magnifies.
    assert_close(found, p.astype(np.longdouble) ** gamma, roundings=4 + gamma * np.minimum(surprise, 100))


def assert_all_right(dtype: Any) -> None:
    assert_elementary_functions_are_right(dtype)
    assert_folds_are_right(dtype)
    assert_sigmoids_are_right(dtype)
    for gamma in GAMMAS:
        assert_powers_are_right(dtype, gamma)


@FLOATS
def test_functions_are_the_functions(dtype: Any) -> None:
    assert_all_right(dtype)


@FLOATS
def test_functions_at_their_ends(dtype: Any) -> None:
    of_less = np.exp(-200) if dtype is np.float64 else 0
    exponentials = written("write_exponentials", np.array([0, -200, -inf, nan], dtype), memory=1)
    np.testing.assert_array_equal(exponentials, [1, of_less, 0, nan])
    np.testing.assert_array_equal(written("write_logarithms", np.array([1, nan], dtype), memory=1), [0, nan])
    np.testing.assert_array_equal(written("write_logarithms_of_more", np.array([0, nan], dtype)), [0, nan])


@FLOATS
def test_a_logit_of_minus_infinity_says_no_for_certain(dtype: Any) -> None:
    yes, no, surprise_of_yes, surprise_of_no = sigmoids(np.array([-inf], dtype))
    assert [yes[0], no[0], surprise_of_yes[0], surprise_of_no[0]] == [0, 1, inf, 0]


DEFECTS = {
    "functions": {
        "a factor too few": ("polynomial * r * r + r", "polynomial * r + r"),
        "half the power": ("(bits[i] + BIAS)", "(bits[i] + BIAS - 1)"),
        "the logarithm of the rest alone": ("written[i] + whole[i] * LOG_2_HIGH", "written[i]"),
        "log(x) for log(1 + x)": ("x[i] / (TWO + x[i])", "x[i] / (ONE + x[i])"),
        "the sum of seven": ("(g + h)", "g"),
        "the highest of seven": ("max(a, b, c, d, e, f, g, h)", "max(a, b, c, d, e, f, g)"),
    },
    "sigmoid": {
        "p for 1 - p": ("no[i] = smaller if positive", "no[i] = larger if positive"),
        "a surprise that no logit adds to": ("(ZERO if positive else logits[i])", "ZERO"),
        "a power of 1": ("p[i] * p[i]", "p[i]"),
        "a power that grows": ("memory[i] = -gamma *", "memory[i] = gamma *"),
    },
}


@pytest.mark.parametrize(("name", "defect"), [(name, defect) for name, own in DEFECTS.items() for defect in own])
def test_a_planted_defect_is_found(name: str, defect: str, run_plainly: Callable[..., None]) -> None:
    run_plainly()
    assert_all_right(np.float32)
    run_plainly(name, *DEFECTS[name][defect])
    with pytest.raises(AssertionError):
        assert_all_right(np.float32)
