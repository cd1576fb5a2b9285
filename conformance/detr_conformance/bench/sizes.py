"""The sizes of a batch that matchers and criteria are timed on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from detr_conformance.base.errors import UsageError

LAYERS = 6


@dataclass(frozen=True, order=True)
class Size:
    """B images of Q queries, C logit columns and T targets, in L decoder layers."""

    images: int
    queries: int
    columns: int
    targets: int
    layers: int = LAYERS

    def __str__(self) -> str:
        return f"{self.images}, {self.queries}, {self.columns}, {self.targets}"


BASE = Size(8, 300, 92, 7)
"""What the growth curves start from: COCO's columns and mean number of objects."""

STANDARD = (
    Size(2, 300, 92, 7),
    BASE,
    Size(32, 300, 92, 7),
    Size(8, 300, 92, 50),
    Size(32, 300, 92, 50),
    Size(8, 900, 366, 7),
)
"""DETR on COCO in small, usual and large batches, in crowds, and a head of 900 queries for Objects365."""

LARGE_PROBLEMS = (Size(26, 300, 92, 100, layers=8), Size(26, 300, 92, 300, layers=8))
"""For solvers alone: 208 problems of 100 and of 300 targets."""

QUICK = (Size(2, 300, 92, 7),)

GROWTH: dict[str, tuple[int, ...]] = {
    "images": (2, 4, 8, 16, 32),
    "queries": (100, 300, 600, 900),
    "targets": (2, 7, 20, 50, 100),
}
"""By dimension, the lengths that it takes while the others are those of `BASE`."""


def growth_sizes() -> tuple[Size, ...]:
    """The sizes of all growth curves, each once."""
    sizes = [replace(BASE, **{name: length}) for name, lengths in GROWTH.items() for length in lengths]
    return tuple(dict.fromkeys(sizes))


def parsed_size(text: str) -> Size:
    """The size that "B,Q,C,T" names, with six layers; raises `UsageError`."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or min(numbers) < 1 or numbers[2] < 2:
        raise UsageError(f"the size {text!r} is not B,Q,C,T; give four numbers such as 8,300,92,7, C at least 2")
    return Size(*numbers)
