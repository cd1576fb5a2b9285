"""The sizes of a batch that matchers and criteria are timed on."""

from __future__ import annotations

from dataclasses import dataclass

from detr_conformance.base.errors import UsageError

LAYERS = 6


@dataclass(frozen=True)
class Size:
    """B images of Q queries, C logit columns and T targets, in L decoder layers."""

    images: int
    queries: int
    columns: int
    targets: int
    layers: int = LAYERS


STANDARD = (
    Size(2, 300, 92, 7),
    Size(8, 300, 92, 7),
    Size(32, 300, 92, 7),
    Size(8, 300, 92, 50),
    Size(32, 300, 92, 50),
    Size(8, 900, 366, 7),
)
"""DETR on COCO in small, usual and large batches, in crowds, and a head of 900 queries for Objects365."""

LARGE_PROBLEMS = (Size(26, 300, 92, 100, layers=8), Size(26, 300, 92, 300, layers=8))
"""For solvers alone: 208 problems of 100 and of 300 targets."""

QUICK = (Size(2, 300, 92, 7),)


def parsed_size(text: str) -> Size:
    """The size that "B,Q,C,T" names, with six layers; raises `UsageError`."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or min(numbers) < 1 or numbers[2] < 2:
        raise UsageError(f"the size {text!r} is not B,Q,C,T; give four numbers such as 8,300,92,7, C at least 2")
    return Size(*numbers)
