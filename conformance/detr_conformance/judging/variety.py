"""Whether answers say anything: what answers everything alike obeys many a law, and holds none of them.

Zeros are symmetric, unchanged and finite, and no answer at all has no gradient to be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from detr_spec.implementation import around
from detr_spec.values import Answer, Floats, HeadParameters, Losses, LossGradients

Summary = tuple[float, ...]
"""What tells sets of numbers apart cheaply: none at all, their only number, or the least, the greatest and the mean."""

MANY = 10
"""With fewer cases, what is answered alike can be right: one query and one target have one matching."""


class Variety:
    """What the components that it watches answer, as far as it takes to see that they do not answer all alike."""

    def __init__(self) -> None:
        self._asked = False
        self._given: set[Summary] = set()
        self._answered: set[Summary] = set()

    def is_lacking(self, cases: int) -> bool:
        """Whether all answers to so many cases had no finite number, or one number alone, or were one and the same.

        What was never asked, or of few cases alone, is not said to lack any.
        """
        if cases < MANY or not self._asked or len(self._answered) > 1:
            return False
        return all(len(answer) == 1 or len(self._given) > 1 for answer in self._answered)

    def watched(self, component: Any) -> Any:
        """The component, looked at in every call until two answers differ."""
        return around(component, self._looked_at)

    def _looked_at(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            answer = function(*arguments)
            if len(self._answered) < 2 and isinstance(answer, (Answer, HeadParameters)):
                self._asked = True
                self._given |= _summary(arguments)
                self._answered |= _summary(answer)
            return answer

        return call


def _summary(value: Any) -> set[Summary]:
    """The summary of all finite numbers in a value, or nothing where there are none."""
    parts = [numbers[np.isfinite(numbers)] for numbers in _numbers(value)]
    finite = np.concatenate([np.empty(0), *parts])
    if not finite.size:
        return set()
    least, greatest = float(finite.min()), float(finite.max())
    with np.errstate(over="ignore"):
        return {(least,) if least == greatest else (least, greatest, float(finite.mean()))}


def _numbers(value: Any) -> Iterator[Floats]:
    """All numbers in a value; of a criterion's answer the losses alone, of gradients the gradients alone."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        yield value.astype(np.float64).ravel()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield np.array([value], dtype=np.float64)
    elif isinstance(value, Answer):
        yield from _numbers(value.value)
    elif isinstance(value, Losses):
        yield from _numbers(value.values)
    elif isinstance(value, LossGradients):
        yield from _numbers((value.layers, *value.apart.values()))
    elif isinstance(value, Mapping):
        yield from _numbers(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _numbers(item)
    elif is_dataclass(value):
        yield from _numbers(tuple(getattr(value, part.name) for part in fields(value)))
