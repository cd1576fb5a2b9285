"""Which queries are matched with which targets, and which matching each term uses. norm §3.

A matching of an image consists of problems, each an assignment of its own: one of all queries and targets, or one of
each group of queries (Chen et al. 2023, "Group DETR"), in which a target may be there several times (Jia et al. 2023,
"H-DETR").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Literal

import numpy as np

from detr_spec.declarations import require_choices
from detr_spec.values import Integers, InvalidValue, Matching


@dataclass(frozen=True, kw_only=True)
class MatchingScope:
    """Which queries are matched with which targets."""

    groups: int = 1
    """In training, the queries are so many groups of equal size, in their order, and each is matched by itself with
    all targets; in evaluation they are one."""
    group_losses: Literal["mean", "sum"] = "mean"
    """Whether num_boxes counts the targets once for each group, so that losses are a mean over groups, or once."""
    repeats: int = 1
    """How many queries a target is given: it is matched as if it were there so many times, and counted so too."""
    box_pairs: Literal["layer", "all-layers", "all-predictions"] = "layer"
    """The pairs of the losses of boxes: the layer's own; or the union of the pairs of all decoder layers, of which each
    query keeps the target that it has most often, divided by their number (Peng et al. 2024, "D-FINE", section 4.2).
    Where a query has several targets equally often, either is right. "all-predictions": the pairs of initial
    predictions and of the encoder's, one for each query, are among them, and their boxes have losses under it too."""

    def __post_init__(self) -> None:
        require_choices(self)
        for name in ("groups", "repeats"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} is {getattr(self, name)}; expected at least 1")

    @property
    def is_one_to_one(self) -> bool:
        """Whether a matching gives a target one query at most."""
        return self.groups == self.repeats == 1

    @property
    def targets_counted(self) -> int:
        """How many times num_boxes counts a target in training."""
        return self.repeats * (self.groups if self.group_losses == "mean" else 1)


@dataclass(frozen=True, eq=False)
class Problem:
    """One assignment of queries to targets, by their indices in the image; targets may repeat, one after another.

    targets: as they are, each `repeats` times.
    """

    queries: Integers
    targets: Integers
    repeats: int = 1

    @property
    def pairs(self) -> int:
        """The number of pairs of its assignments."""
        return min(len(self.queries), len(self.targets))


def problems(queries: int, targets: int, scope: MatchingScope) -> tuple[Problem, ...]:
    """The problems of an image of so many queries and targets; raises `InvalidValue` unless groups have equal size."""
    size, rest = divmod(queries, scope.groups)
    if rest:
        raise InvalidValue(f"{queries} queries are not {scope.groups} groups of equal size")
    columns = np.repeat(np.arange(targets), scope.repeats)
    starts = range(0, queries, size) if size else range(0)
    return tuple(Problem(np.arange(start, start + size), columns, scope.repeats) for start in starts)


def part_of(matching: Matching, problem: Problem) -> Matching:
    """The pairs of a matching that belong to a problem, as indices in it, queries ascending; copies in turn."""
    chosen = np.flatnonzero(np.isin(matching.queries, problem.queries))
    chosen = chosen[np.argsort(matching.queries[chosen], kind="stable")]
    queries, targets = (np.asarray(side, dtype=np.int64)[chosen] for side in (matching.queries, matching.targets))
    seen: Counter[int] = Counter()
    places = []
    for target in targets.tolist():
        places.append(target * problem.repeats + seen[target])
        seen[target] += 1
    return Matching(queries - problem.queries[0], np.array(places, dtype=np.int64))


def unions(images: Iterable[Sequence[Matching]], most: int) -> list[tuple[Matching, ...]]:
    """Each union of the matchings of a batch, of which each query keeps a target that it has most often.

    images: for each image, the matchings that it is the union of, such as those of every decoder layer. There are
    several unions where a query has two targets equally often; none are given where there are more than `most`.
    """
    found = [_most_frequent(layers) for layers in images]
    if prod(len(targets) for image in found for targets in image.values()) > most:
        return []
    return [*product(*([_chosen(image, targets) for targets in product(*image.values())] for image in found))]


def _most_frequent(layers: Sequence[Matching]) -> dict[int, list[int]]:
    """The targets that each query of an image has in most layers, by query."""
    own: dict[int, Counter[int]] = {}
    for query, target in sorted(pair for matching in layers for pair in matching.pairs()):
        own.setdefault(query, Counter())[target] += 1
    return {
        query: [target for target, count in counts.items() if count == max(counts.values())]
        for query, counts in own.items()
    }


def _chosen(queries: Iterable[int], targets: Iterable[int]) -> Matching:
    return Matching(np.array([*queries], dtype=np.int64), np.array([*targets], dtype=np.int64))


def joined(parts: Sequence[Matching], whole: Sequence[Problem]) -> Matching:
    """The matching of an image from those of its problems."""
    queries = [problem.queries[part.queries] for part, problem in zip(parts, whole, strict=True)]
    targets = [problem.targets[part.targets] for part, problem in zip(parts, whole, strict=True)]
    return Matching(np.concatenate(queries), np.concatenate(targets))
