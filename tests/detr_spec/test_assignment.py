"""The solver finds the minimum, the certificate shows it without the solver, and uniqueness has a margin."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from exact import exhaustive_minimum
from scipy.optimize import linear_sum_assignment

from detr_spec.matching.assignment import (
    lower_bound,
    minimum_total,
    optimality,
    second_best,
    solve,
    total_allowance,
    unique_optimum,
)
from detr_spec.tolerance import SPACING, Interval
from detr_spec.values import Floats, Matching

Array = np.ndarray[Any, Any]

KINDS = ("general", "tied", "all equal", "negative", "large offset", "sparse", "large numbers")


def problem(generator: np.random.Generator, kind: str, largest: int) -> Floats:
    """A cost matrix [n, m] of up to `largest` rows and columns, now and then with none."""
    shape = tuple(generator.integers(0, largest + 1, 2))
    tables = {
        "general": lambda: generator.normal(size=shape),
        "tied": lambda: generator.integers(0, 3, shape).astype(float),
        "all equal": lambda: np.full(shape, 0.25),
        "negative": lambda: -generator.integers(1, 9, shape) / 4,
        "large offset": lambda: 2.0**30 + generator.integers(0, 64, shape) / 64,
        "sparse": lambda: (generator.random(shape) < 0.2).astype(float),
        "large numbers": lambda: generator.normal(size=shape) * 1e12,
    }
    return np.asarray(tables[kind]())


def problems(kind: str, count: int, largest: int) -> list[Floats]:
    generator = np.random.default_rng([KINDS.index(kind), largest])
    return [problem(generator, kind, largest) for _ in range(count)]


def resolution(cost: Floats) -> float:
    """What float64 may lose in a total of such costs."""
    return 16 * SPACING["float64"] * float(np.abs(cost).max(initial=0.0)) * sum(cost.shape)


def all_assignments(cost: Floats) -> list[tuple[float, list[tuple[int, int]]]]:
    """Every assignment as (total, pairs by row), the cheapest first."""
    turned = cost.shape[0] > cost.shape[1]
    wide = cost.T if turned else cost
    found = []
    for columns in permutations(range(wide.shape[1]), wide.shape[0]):
        pairs = sorted((column, row) if turned else (row, column) for row, column in enumerate(columns))
        found.append((float(sum(cost[pair] for pair in pairs)), pairs))
    return sorted(found)


def matching(pairs: list[tuple[int, int]]) -> Matching:
    return Matching(*np.array(pairs, dtype=np.int64).reshape(-1, 2).T)


@pytest.mark.parametrize("kind", KINDS)
def test_the_solver_agrees_with_scipy(kind: str) -> None:
    for cost in [*problems(kind, 250, 7), *problems(kind, 12, 40)]:
        found, (rows, columns) = solve(cost), linear_sum_assignment(cost)
        assert abs(found.total - cost[rows, columns].sum()) <= resolution(cost)
        assert found.total == pytest.approx(cost[found.rows, found.columns].sum(), rel=1e-15)
        assert len(found.rows) == len(found.columns) == min(cost.shape)
        assert (np.diff(found.rows) > 0).all()
        assert len(set(found.columns.tolist())) == len(found.columns)


@pytest.mark.parametrize("kind", KINDS)
def test_the_solver_agrees_with_trying_everything(kind: str) -> None:
    for cost in problems(kind, 150, 5):
        least = all_assignments(cost)[0][0]
        assert abs(minimum_total(cost) - least) <= resolution(cost)
        assert abs(exhaustive_minimum(cost) - least) <= resolution(cost)


@pytest.mark.parametrize("kind", KINDS)
def test_prices_are_dual_and_reach_the_total(kind: str) -> None:
    for cost in problems(kind, 250, 7):
        found = solve(cost)
        assert len(found.prices) == max(cost.shape)
        assert (found.prices <= resolution(cost)).all()
        assert abs(lower_bound(cost, found.prices) - found.total) <= resolution(cost)


def test_any_prices_give_a_bound_below_every_assignment() -> None:
    generator = np.random.default_rng(5)
    for cost in problems("general", 200, 6):
        prices = generator.normal(size=max(cost.shape))
        assert lower_bound(cost, prices) <= minimum_total(cost) + resolution(cost)


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0), (1, 1)])
def test_small_and_empty_matrices(shape: tuple[int, int]) -> None:
    found = solve(np.full(shape, -2.0))
    assert len(found.rows) == min(shape)
    assert found.total == -2.0 * min(shape)
    assert optimality(Matching(found.rows, found.columns), np.full(shape, -2.0)).holds
    unique = unique_optimum(np.full(shape, -2.0))
    assert unique is not None
    assert unique.pairs() == [(0, 0)] * min(shape)


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_costs_that_are_no_cost_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match=r"NaN or -inf; expected finite numbers"):
        solve(np.array([[1.0, number], [0.0, 1.0]]))


def test_infinite_costs_forbid_a_pair() -> None:
    generator = np.random.default_rng(9)
    judged = {True: 0, False: 0}
    for cost in [*problems("general", 300, 6), *problems("tied", 300, 6)]:
        forbidding = np.where(generator.random(cost.shape) < 0.6, np.inf, cost)
        try:
            rows, columns = linear_sum_assignment(forbidding)
        except ValueError:
            with pytest.raises(ValueError, match="no assignment of finite cost is left"):
                solve(forbidding)
            judged[False] += 1
            continue
        found = solve(forbidding)
        assert abs(found.total - forbidding[rows, columns].sum()) <= resolution(cost)
        assert abs(lower_bound(forbidding, found.prices) - found.total) <= resolution(cost)
        judged[True] += 1
    assert min(judged.values()) > 50


def test_a_matrix_of_another_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cost has shape \[3\]; expected \[n, m\]"):
        solve(np.zeros(3))


@pytest.mark.parametrize("kind", KINDS)
def test_the_certificate_accepts_exactly_the_cheapest(kind: str) -> None:
    for cost in problems(kind, 120, 4):
        ranked = all_assignments(cost)
        margin = total_allowance(cost)
        for total, pairs in ranked:
            judged = optimality(matching(pairs), cost)
            assert judged.total == pytest.approx(total, abs=resolution(cost))
            if total <= ranked[0][0] + margin / 4:
                assert judged.holds
            if total > ranked[0][0] + 2 * margin + resolution(cost):
                assert not judged.holds


def test_the_certificate_refuses_a_difference_of_a_thousand_roundings() -> None:
    generator = np.random.default_rng(6)
    for dtype in ("float32", "float64"):
        for _ in range(100):
            cost = generator.random((4, 4)) + 1
            best = solve(cost)
            worse = cost.copy()
            worse[best.rows, best.columns] -= worse[best.rows, best.columns].min() / 2
            shift = np.roll(best.columns, 1)
            gap = worse[best.rows, shift].sum() - worse[best.rows, best.columns].sum()
            assert gap > 1000 * SPACING[dtype]
            assert not optimality(Matching(best.rows, shift), worse, dtype).holds


def ranged(cost: Floats, slack: float | Floats) -> Interval:
    return Interval(cost, cost - slack, cost + slack, "float32")


def test_an_assignment_that_is_cheapest_for_some_costs_in_range_is_accepted() -> None:
    cost = np.array([[1.0, 2.0], [2.0, 1.0]])
    crossed = matching([(0, 1), (1, 0)])
    assert not optimality(crossed, cost).holds
    assert not optimality(crossed, ranged(cost, 0.49)).holds
    assert optimality(crossed, ranged(cost, 0.51)).holds
    assert optimality(matching([(0, 0), (1, 1)]), ranged(cost, 0.0)).holds


def test_the_range_counts_where_it_is() -> None:
    cost = np.array([[1.0, 2.0], [2.0, 1.0]])
    only_crossed = np.array([[0.0, 1.01], [1.01, 0.0]])
    assert optimality(matching([(0, 1), (1, 0)]), ranged(cost, only_crossed)).holds
    one_entry = np.array([[0.0, 1.01], [0.0, 0.0]])
    assert not optimality(matching([(0, 1), (1, 0)]), ranged(cost, one_entry)).holds


def test_an_optimum_for_random_costs_in_range_is_accepted() -> None:
    generator = np.random.default_rng(7)
    for cost in problems("general", 300, 6):
        allowed = ranged(cost, generator.exponential(0.3, cost.shape))
        inside = generator.uniform(allowed.lower, allowed.upper)
        found = solve(inside)
        assert optimality(Matching(found.rows, found.columns), allowed).holds


@pytest.mark.parametrize("kind", KINDS)
def test_uniqueness_is_that_of_the_second_best(kind: str) -> None:
    judged = {True: 0, False: 0}
    for cost in problems(kind, 150, 4):
        ranked = all_assignments(cost)
        gap = ranked[1][0] - ranked[0][0] if len(ranked) > 1 else np.inf
        allowance, found = total_allowance(cost), unique_optimum(cost)
        if gap > 2 * allowance + resolution(cost):
            assert found is not None
            assert found.pairs() == ranked[0][1]
        elif gap < allowance / 2 or gap == 0:
            assert found is None
        judged[found is not None] += 1
    assert judged[True] > 0
    assert judged[False] > 0 or kind in ("general", "large numbers")


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_best_is_the_next_of_all_assignments(kind: str) -> None:
    for cost in problems(kind, 150, 4):
        ranked, best = all_assignments(cost), solve(cost)
        found = second_best(cost).pairs()
        if len(ranked) == 1:
            assert found == ranked[0][1]
        else:
            assert found != Matching(best.rows, best.columns).pairs()
            totals = {tuple(pairs): total for total, pairs in ranked}
            assert totals[tuple(found)] - ranked[1][0] <= resolution(cost)


def test_uniqueness_holds_for_all_costs_in_range() -> None:
    cost = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert unique_optimum(ranged(cost, 0.51)) is None
    found = unique_optimum(ranged(cost, 0.49))
    assert found is not None
    assert found.pairs() == [(0, 0), (1, 1)]
    generator = np.random.default_rng(8)
    unique = 0
    for cost in problems("general", 150, 5):
        allowed = ranged(cost, generator.exponential(0.05, cost.shape))
        found = unique_optimum(allowed)
        if found is None:
            continue
        unique += 1
        for _ in range(5):
            other = solve(generator.uniform(allowed.lower, allowed.upper))
            assert sorted(found.pairs()) == sorted(zip(other.rows.tolist(), other.columns.tolist(), strict=True))
    assert unique > 30


def test_no_optimum_is_unique_where_the_range_is_open() -> None:
    cost = np.array([[1.0, 2.0], [2.0, 1.0]])
    open_upwards = Interval(cost, cost, np.where(np.eye(2) > 0, np.inf, cost), "float32")
    assert unique_optimum(open_upwards) is None


def test_a_coarser_solver_has_a_larger_allowance() -> None:
    cost = np.array([[1.0, 1.0 + 1e-6], [1.0 + 1e-6, 1.0]])
    crossed = matching([(0, 1), (1, 0)])
    assert not optimality(crossed, cost, "float64").holds
    assert optimality(crossed, cost, "float32").holds
    assert unique_optimum(cost, "float64") is not None
    assert unique_optimum(cost, "float32") is None
