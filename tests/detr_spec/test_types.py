"""mypy reports each mistake in a definition, and nothing else: a file in which each line's mistake is marked."""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

ROOT = Path(__file__).parents[2]

DEFINITIONS = """
from dataclasses import dataclass

from detr_spec.activations import sigmoid
from detr_spec.boxes import elementwise_giou
from detr_spec.costs import ClassCost, Pairs
from detr_spec.terms import BoxTerm, ClassTerm, Layer
from detr_spec.tolerance import Interval, Numbers, concatenate, exp, gradient, maximum, where
from detr_spec.values import Floats


@dataclass(frozen=True, kw_only=True)
class Right(ClassTerm):
    margin: float = 0.5

    name = "right"

    def value(self, layer: Layer) -> Numbers:
        chance = sigmoid(layer.logits) ** 2.0 * where(layer.positive, self.margin, 1.0)
        overlap = elementwise_giou(layer.boxes, layer.truth, layer.rules)
        return chance.reshape(-1).sum() / layer.normaliser + maximum(overlap, 0.0).sum()


@dataclass(frozen=True, kw_only=True)
class Bool(BoxTerm):
    def value(self, layer: Layer) -> bool:  # override
        return True


@dataclass(frozen=True, kw_only=True)
class OfPairs(BoxTerm):
    def value(self, pairs: Pairs) -> Numbers:  # override
        return pairs.boxes


@dataclass(frozen=True, kw_only=True)
class Wrong(ClassTerm):
    margin: float = 0.5

    def value(self, layer: Layer) -> Numbers:
        layer.scores  # attr-defined
        layer.rules.epsilon  # attr-defined
        layer.truth.value  # attr-defined
        self.threshold  # attr-defined
        exp(layer)  # type-var
        sigmoid(layer.positive)  # type-var
        layer.boxes + "1"  # operator
        layer.boxes * layer  # operator
        layer.boxes[self.margin]  # index
        maximum(layer.boxes, None)  # arg-type
        where(layer.logits, layer.logits, 0.0)  # call-overload
        concatenate(layer.boxes, axis=0)  # arg-type
        elementwise_giou(layer.boxes, layer.truth, self)  # arg-type
        Layer(logits=layer.logits)  # call-arg
        layer.logits = layer.boxes  # misc
        return None  # return-value


@dataclass(frozen=True, kw_only=True)
class WrongCost(ClassCost):
    def value(self, pairs: Pairs) -> Numbers:
        return pairs.normaliser  # attr-defined


def wrong(numbers: Interval, array: Floats, layer: Layer) -> Interval:
    gradient(sigmoid, array)  # arg-type
    gradient(lambda logits: logits.shape, numbers)  # return-value
    sum_of_arrays: Floats = numbers + array  # assignment
    return layer.logits  # return-value
"""

MARK = re.compile(r"# ([\w-]+)$")


def marked(text: str) -> dict[int, str]:
    """The mistake that is marked on each line, by the line's number."""
    found = {number: MARK.search(line) for number, line in enumerate(text.splitlines(), start=1)}
    return {number: mark[1] for number, mark in found.items() if mark}


def test_each_mistake_in_a_definition_is_reported_and_nothing_else(tmp_path: Path) -> None:
    definitions = tmp_path / "definitions.py"
    definitions.write_text(DEFINITIONS)
    options = [f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={tmp_path / 'cache'}", "--no-pretty"]
    report, errors, _ = api.run([*options, str(definitions)])
    assert errors == ""
    found = re.findall(r"definitions\.py:(\d+): error: .*\[([\w-]+)\]$", report, flags=re.M)
    assert {int(line): code for line, code in found} == marked(DEFINITIONS), report
