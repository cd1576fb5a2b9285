"""What is special in a case, by name, each with the explanation that goes into the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from detr_conformance.vectors.vector import Expected, Optimum
from detr_spec.cases import Case, FeatureCase, RankCase, SetCase
from detr_spec.values import Floats, Outputs, Target

SATURATING_LOGIT = 60.0
TINY_SIDE = 2.0**-10

EXPLANATIONS = {
    "no-targets": "No image has a target: box losses are 0, and num_boxes is clamped to 1.",
    "image-without-targets": "Some image has no target, and another has: its queries are trained towards no object.",
    "more-targets-than-queries": "Some image has more targets than queries: every query is matched, and num_boxes "
    "still counts targets, unless the profile counts matches.",
    "tied-optimum": "Several matchings are optimal within the allowance: compare total costs, never indices. Losses "
    "and gradients are those under the matching in the file.",
    "unique-optimum": "One matching alone is optimal, for all costs in their ranges: indices may be compared.",
    "saturated-logits": "Logits of ±60 and beyond, where probabilities are 0 or 1 in every dtype: a logarithm of a "
    "probability overflows where one of the logits does not.",
    "zero-area-box": "A target box without width or height: every cost is finite still.",
    "tiny-boxes": "Boxes with sides below a thousandth of the image, whose areas float16 cannot hold.",
    "repeated-queries": "Queries that repeat one another exactly.",
    "auxiliary-layers": "Several decoder layers: each is matched on its own, and its losses have keys of their own.",
    "padded": "Positions outside an image, which must not influence anything.",
    "empty-problem": "A cost matrix without rows or without columns: no pair is answered.",
    "image-not-square": "An image whose height and width differ: x scales with the width, y with the height.",
    "rank-without-targets": "A rank without targets, beside others that have some: it must join every collective.",
    "fewer-targets-than-ranks": "Fewer targets than ranks: num_boxes is clamped to 1, after the division by the ranks.",
    "narrow-dtype": "Numbers of float16 or bfloat16, or autocast: the allowances are wide.",
}


def flags_of(case: Case, expected: Expected) -> dict[str, str]:
    """The flags of a case with their explanations, by name in order."""
    found = {*_flags_of_all(case, expected)}
    for kind, names in _FLAGS.items():
        if isinstance(case, kind):
            found |= set(names(case))
    return {name: EXPLANATIONS[name] for name in sorted(found)}


def _flags_of_all(case: Case, expected: Expected) -> Iterator[str]:
    if case.configuration.dtype not in ("float32", "float64"):
        yield "narrow-dtype"
    optima = list(_optima(expected))
    if any(not optimum.unique for optimum in optima):
        yield "tied-optimum"
    elif any(len(optimum.queries) for optimum in optima):
        yield "unique-optimum"
    if not isinstance(case, SetCase | RankCase) and any(len(optimum.queries) == 0 for optimum in optima):
        yield "empty-problem"


def _optima(expected: Expected) -> Iterator[Optimum]:
    yield from expected.optima
    for layer in (*expected.layers, *(layer for rank in expected.ranks for layer in rank)):
        yield from layer.optima


def _flags_of_set(case: SetCase) -> Iterator[str]:
    yield from _flags_of_batch(case.outputs, case.targets)
    if (case.sizes[:, 0] != case.sizes[:, 1]).any():
        yield "image-not-square"


def _flags_of_batch(outputs: Outputs, targets: tuple[Target, ...]) -> Iterator[str]:
    lengths = [len(target) for target in targets]
    if sum(lengths) == 0:
        yield "no-targets"
    elif 0 in lengths:
        yield "image-without-targets"
    if max(lengths, default=0) > outputs.queries:
        yield "more-targets-than-queries"
    if np.abs(outputs.logits).max(initial=0.0) >= SATURATING_LOGIT:
        yield "saturated-logits"
    if any((target.boxes[:, 2:] == 0).any() for target in targets):
        yield "zero-area-box"
    if any(_has_tiny_boxes(target.boxes) for target in targets):
        yield "tiny-boxes"
    if any(_repeats(np.concatenate(parts, axis=-1)) for parts in zip(outputs.logits, outputs.boxes, strict=True)):
        yield "repeated-queries"
    if outputs.auxiliary:
        yield "auxiliary-layers"


def _has_tiny_boxes(boxes: Floats) -> bool:
    sides = boxes[:, 2:]
    return bool(((sides > 0) & (sides < TINY_SIDE)).all(axis=-1).any())


def _repeats(rows: Floats) -> bool:
    return len(np.unique(rows, axis=0)) < len(rows)


def _flags_of_ranks(case: RankCase) -> Iterator[str]:
    totals = [sum(map(len, targets)) for _, targets in case.batches]
    for outputs, targets in case.batches:
        yield from (flag for flag in _flags_of_batch(outputs, targets) if flag != "no-targets")
    if sum(totals) == 0:
        yield "no-targets"
    elif 0 in totals:
        yield "rank-without-targets"
    if sum(totals) < len(totals):
        yield "fewer-targets-than-ranks"


_FLAGS: dict[type[Case], Callable[[Any], Iterator[str]]] = {
    SetCase: _flags_of_set,
    RankCase: _flags_of_ranks,
    FeatureCase: lambda case: iter(["padded"] if case.features.padding.any() else []),
}
