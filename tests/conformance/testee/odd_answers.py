"""Implementations that answer with something odd in one place: which of all, the configuration's `top_k` says.

Some speak the specification's values themselves, others by way of the bridges; each place of each answer is tried with
each odd value.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from samples import sample

from detr_conformance import numpy_implementation, torch_implementation
from detr_conformance.testee.signatures import component_of, signatures
from detr_spec.configuration import Configuration
from detr_spec.implementation import COMPONENTS, Implementation
from detr_spec.profiles import DETR

ODD = (
    lambda: None,
    lambda: "text",
    lambda: b"bytes",
    lambda: 2**70,
    lambda: -1,
    lambda: 1j,
    lambda: float("nan"),
    lambda: True,
    list,
    lambda: [[1], [1, 2]],
    dict,
    lambda: {1: 2},
    lambda: iter([1]),
    object,
    lambda: np.array([1, 2**70]),
    lambda: np.array([None]),
    lambda: np.array([1j]),
    lambda: np.array(["a"]),
    lambda: np.array(["2020"], dtype="datetime64[D]"),
    lambda: np.zeros(0),
    lambda: np.float32(0.5),
    lambda: np.arange(2.0)[::-1].astype(">f8"),
    lambda: np.ones((1, 1, 1, 1, 1), dtype=np.longdouble),
    lambda: torch.ones(2, requires_grad=True),
    lambda: torch.ones(1, dtype=torch.complex64),
    lambda: torch.ones(1, 2, dtype=torch.bfloat16),
)
"""What is no answer, or hardly one."""

Path = tuple[Any, ...]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths to a value and to all of its parts."""
    yield path
    if is_dataclass(value):
        for field in fields(value):
            yield from places(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from places(item, (*path, place))


def planted(value: Any, path: Path, odd: Any) -> Any:
    """The value with something else at a path; what a dataclass refuses is put there all the same."""
    if not path:
        return odd
    first, *rest = path
    if is_dataclass(value):
        changed = copy.copy(value)
        object.__setattr__(changed, first, planted(getattr(value, first), tuple(rest), odd))
        return changed
    items = dict(value) if isinstance(value, dict) else list(value)
    items[first] = planted(items[first], tuple(rest), odd)
    return tuple(items) if isinstance(value, tuple) else items


def count(value: Any) -> int:
    """How many odd answers there are in place of a value."""
    return len(ODD) * len(list(places(value)))


def chosen(value: Any, configuration: Configuration) -> Any:
    """The odd answer that the configuration chooses; the sound one where there are not so many."""
    number, place = divmod(configuration.top_k - 1, len(ODD))
    paths = list(places(value))
    return planted(value, paths[number], ODD[place]()) if number < len(paths) else value


def _component(name: str) -> Any:
    answers = {function: sample(signature.answer) for function, signature in signatures(name).items()}

    def build(configuration: Configuration) -> Any:
        functions = {name: lambda *_, answer=answer: chosen(answer, configuration) for name, answer in answers.items()}
        return component_of(name, functions)

    return build


DIRECT = Implementation(name="direct", profile=DETR, **{name: _component(name) for name in COMPONENTS})

PAIRS = [(torch.arange(2), torch.arange(2)), (torch.arange(1), torch.arange(1))]
LAYER = {"pred_logits": torch.ones(2, 3, 2), "pred_boxes": torch.ones(2, 3, 4)}
DETECTIONS = {"scores": torch.ones(3), "labels": torch.arange(3), "boxes": torch.ones(3, 4)}
RAW: dict[str, Any] = {
    "boxes": torch.ones(2, 2),
    "matcher": PAIRS,
    "criterion": {"loss_ce": torch.ones(()), "loss_bbox": torch.ones(())},
    "postprocess": [DETECTIONS, DETECTIONS],
    "heads": {**LAYER, "aux_outputs": [LAYER]},
    "decoder": (torch.ones(2, 2, 3, 8), None),
    "model": {**LAYER, "aux_outputs": [LAYER]},
}
"""What a sound implementation in PyTorch returns, by component."""


def _raw(name: str) -> Any:
    return lambda configuration: lambda *_: chosen(RAW[name], configuration)


BY_TORCH = {name: _raw(name) for name in ("matcher", "criterion", "postprocess")}
IN_TORCH = torch_implementation(
    name="in torch", profile="detr", **BY_TORCH, **{name: _raw(name) for name in ("heads", "decoder", "model")}
)
MATCHING = (np.arange(2), np.arange(2))


def _solver(number: int, answer: Any) -> Implementation:
    return numpy_implementation(name=f"in numpy {number}", solver=lambda _: answer)


ANSWERS = [planted(MATCHING, path, odd()) for path in places(MATCHING) for odd in ODD]
IN_NUMPY = tuple(_solver(number, answer) for number, answer in enumerate(ANSWERS))


def _raising(cost: np.ndarray[Any, Any]) -> Any:
    try:
        return {}[f"é, \x1b[31m and {cost.shape}"]
    except KeyError as error:
        raise ValueError("several\nlines, and " + "much of it " * 1000) from error


RAISING = numpy_implementation(name="raising", solver=_raising)
