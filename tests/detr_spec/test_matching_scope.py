"""Which queries are matched with which targets: problems of an image, and what a dialect may declare of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detr_spec.configuration import Configuration
from detr_spec.losses import num_boxes
from detr_spec.matching.assignment import optimality, unique_optimum
from detr_spec.profile import replace
from detr_spec.profiles import DETR
from detr_spec.scope import MatchingScope, joined, part_of, problems, unions
from detr_spec.values import Floats, Matching, Target


def matching(*pairs: tuple[int, int]) -> Matching:
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Matching(first, second)


def test_groups_are_problems_of_their_own_queries() -> None:
    first, second = problems(6, 2, MatchingScope(groups=2))
    assert (first.queries.tolist(), second.queries.tolist()) == ([0, 1, 2], [3, 4, 5])
    assert first.targets.tolist() == second.targets.tolist() == [0, 1]
    whole = matching((0, 1), (2, 0), (3, 0), (5, 1))
    parts = [part_of(whole, problem) for problem in (first, second)]
    assert [part.pairs() for part in parts] == [[(0, 1), (2, 0)], [(0, 0), (2, 1)]]
    assert joined(parts, (first, second)).pairs() == whole.pairs()
    with pytest.raises(ValueError, match="7 queries are not 2 groups of equal size"):
        problems(7, 2, MatchingScope(groups=2))


def test_a_repeated_target_takes_as_many_queries_whichever_of_its_copies_they_have() -> None:
    (problem,) = problems(4, 2, MatchingScope(repeats=2))
    assert problem.targets.tolist() == [0, 0, 1, 1]
    assert part_of(matching((3, 0), (0, 1), (1, 0), (2, 1)), problem).pairs() == [(0, 2), (1, 0), (2, 3), (3, 1)]
    cost = repeated([[0.0, 5.0], [1.0, 5.0], [5.0, 0.0], [5.0, 1.0]])
    best = unique_optimum(cost, copies=2)
    assert best is not None
    assert [(row, column // 2) for row, column in best.pairs()] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert unique_optimum(cost) is None
    assert optimality(matching((0, 1), (1, 0), (2, 2), (3, 3)), cost, copies=2).holds
    assert unique_optimum(repeated([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]), copies=2) is None


def repeated(cost: Sequence[Sequence[float]]) -> Floats:
    return np.repeat(np.array(cost), 2, axis=1)


def test_each_query_keeps_the_target_that_it_has_in_most_layers() -> None:
    layers = [matching((0, 0), (1, 1)), matching((0, 0), (2, 1)), matching((0, 1), (3, 0))]
    assert pairs_of(unions([layers], 1)) == [[[(0, 0), (1, 1), (2, 1), (3, 0)]]]
    assert pairs_of(unions([[matching(), matching()]], 1)) == [[[]]]


def test_a_query_with_two_targets_equally_often_may_keep_either() -> None:
    tied = [matching((0, 0), (1, 1)), matching((0, 1), (1, 0))]
    ways = [[(0, first), (1, second)] for first in (0, 1) for second in (0, 1)]
    assert pairs_of(unions([tied], 4)) == [[way] for way in ways]
    assert pairs_of(unions([tied, [matching((2, 0))]], 4)) == [[way, [(2, 0)]] for way in ways]
    assert unions([tied], 3) == []


def pairs_of(found: Sequence[Sequence[Matching]]) -> list[list[list[tuple[int, int]]]]:
    return [[own.pairs() for own in union] for union in found]


@pytest.mark.parametrize(
    ("scope", "call", "expected"),
    [
        (MatchingScope(), "plain", 3),
        (MatchingScope(groups=4), "plain", 12),
        (MatchingScope(groups=4), "evaluation", 3),
        (MatchingScope(groups=4, group_losses="sum"), "plain", 3),
        (MatchingScope(repeats=2), "evaluation", 6),
        (MatchingScope(groups=4, repeats=2), "plain", 24),
    ],
)
def test_num_boxes_counts_targets_as_the_scope_says(scope: MatchingScope, call: str, expected: int) -> None:
    configuration = Configuration(profile=replace(DETR, matching=scope), call=call)
    targets = (Target([0, 0, 0], np.full((3, 4), 0.5)), Target([], []))
    assert num_boxes(targets, [matching(), matching()], configuration) == expected


@pytest.mark.parametrize("name", ["groups", "repeats"])
def test_what_is_no_scope_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0; expected at least 1"):
        MatchingScope(**{name: 0})
