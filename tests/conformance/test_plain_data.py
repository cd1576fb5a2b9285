"""Whatever an implementation gives or says is shown in bounded time and space, and nothing that it holds is called."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from detr_conformance.base.text import cut
from detr_conformance.base.tracebacks import implementation_traceback
from detr_conformance.encoding.plain_data import LONGEST, LONGEST_DETAIL, MOST_ITEMS, plain_data, told


class Refusing(Exception):
    """Raises whenever it is looked at."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


VALUES: dict[str, Any] = {
    "an array": np.zeros(10**7),
    "a list": [0] * 10**7,
    "a dictionary": {"key": np.zeros((3, 10**6))},
    "a text": "x" * 10**7,
    "a refusal": [Refusing()],
    "depth": nested(10**5),
    "a cycle": cyclic(),
    "a large integer": 10**5000,
    "half a pair": "\ud800",
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_shown_in_bounded_time_and_space(name: str) -> None:
    start = time.process_time()
    shown = plain_data(VALUES[name])
    assert time.process_time() - start < 2
    assert len(repr(shown)) < 10 * MOST_ITEMS


@pytest.mark.parametrize("text", ["x" * 10**7, "x\n" * 5 * 10**6], ids=["one line", "many lines"])
def test_what_is_said_is_bounded(text: str) -> None:
    with pytest.raises(ValueError, match="x") as raised:
        raise ValueError(text)
    start = time.process_time()
    said, trace = told(raised.value), implementation_traceback(raised.value)
    assert time.process_time() - start < 1
    assert len(said) < LONGEST + 100
    assert len(trace) < LONGEST_DETAIL
    assert "test_what_is_said_is_bounded" in trace


def test_what_refuses_to_say_anything_is_told_by_its_type() -> None:
    with pytest.raises(Refusing) as raised:
        raise Refusing
    assert told(raised.value) == "Refusing"
    assert "Refusing" in implementation_traceback(raised.value)


@pytest.mark.parametrize("length", [0, 99, 100, 101, 1000, 10**6])
def test_a_text_is_cut_once(length: int) -> None:
    once = cut("x" * length, 100)
    assert len(once) <= 100
    assert cut(once, 100) == once
