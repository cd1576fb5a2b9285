"""How a project's matcher is called and answers, found by trying with the tiny batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from detr_conformance.bridges.criteria import matchings
from detr_conformance.bridges.torch_framework import TORCH
from detr_spec.profile import MatcherRules
from detr_spec.values import Matching
from detr_spec.violation import Violation

ORDERS = (("boxes", "logits", "target_boxes", "labels"), ("logits", "boxes", "labels", "target_boxes"))

CALLS: tuple[tuple[Literal["listed", "concatenated"], tuple[str, ...]], ...] = (
    *(("listed", order) for order in ORDERS),
    *(("concatenated", (*order, "target_counts")) for order in ORDERS),
)
"""The calls with tensors that are known, beside that with outputs and targets: the layout of targets, and what a
matcher is called with."""


def rules_of_answer(answer: Any, counts: Sequence[int], queries: int) -> MatcherRules | None:
    """The form of a matcher's answer; None where it is no valid matching in any form that is known."""
    for rules in _forms(answer):
        try:
            found, _ = matchings("the matcher", answer, counts, rules, TORCH)
        except Violation:
            continue
        if all(_is_valid(own, count, queries) for own, count in zip(found, counts, strict=True)):
            dtypes = {str(side.dtype) for own in found for side in (own.queries, own.targets)}
            return replace(
                rules, index_dtype="int64" if dtypes == {"int64"} else "int32" if dtypes == {"int32"} else "any"
            )
    return None


def _forms(answer: Any) -> Iterator[MatcherRules]:
    for entry in map(str, answer) if isinstance(answer, Mapping) else (None,):
        for indices in ("image", "batch"):
            for form, first in (("pairs", 0), ("columns", 0), ("rows", 0), ("assignment", 0), ("assignment", 1)):
                yield MatcherRules(entry=entry, answer=form, target_indices=indices, first_target=first)  # type: ignore[arg-type]


def _is_valid(own: Matching, count: int, queries: int) -> bool:
    found = own.queries.tolist()
    return (
        own.queries.dtype.kind == own.targets.dtype.kind == "i"
        and sorted(own.targets.tolist()) == list(range(count))
        and len(set(found)) == len(found)
        and set(found) <= set(range(queries))
    )
