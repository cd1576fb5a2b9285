"""Minimum-cost assignment: a solver, a certificate of optimality, exhaustive search, and the uniqueness of an optimum.

An assignment of a cost matrix [n, m] is judged without trusting any solver: for any column prices v ≤ 0 the
number Σ_i min_j (C_ij − v_j) + Σ_j v_j bounds the total cost of every assignment of n ≤ m rows from below (weak
duality of linear programming), so an assignment that reaches the bound is optimal. The solver only proposes the
prices.

Costs that an implementation computed in its own dtype are known as a range. An assignment can be right exactly
if it is optimal for some costs in the range, and the most favourable are: the lower end on its own pairs, the
upper end elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detr_spec.tolerance import Interval, solver_allowance
from detr_spec.values import Floats, Integers, Matching


@dataclass(frozen=True, eq=False)
class Solution:
    """An optimal assignment of a cost matrix [n, m]: rows ascending, columns [min(n, m)], total, dual prices.

    prices [max(n, m)] are at most 0 and belong to the longer side, whose members may stay unmatched.
    """

    rows: Integers
    columns: Integers
    total: float
    prices: Floats


def solve(cost: Floats) -> Solution:
    """A minimum-cost assignment of a matrix [n, m], by shortest augmenting paths; +∞ forbids a pair.

    Raises `ValueError` for NaN and −∞, and where no assignment of finite cost exists. Source: Jonker and Volgenant
    1987; the successive shortest paths are those of Dijkstra on reduced costs.
    """
    if cost.ndim != 2:
        raise ValueError(f"cost has shape {list(cost.shape)}; expected [n, m]")
    if not (cost > -np.inf).all():
        raise ValueError("cost has an entry that is NaN or -inf; expected finite numbers, or +inf for a forbidden pair")
    if cost.shape[0] > cost.shape[1]:
        turned = solve(cost.T)
        order = np.argsort(turned.columns)
        return Solution(turned.columns[order], turned.rows[order], turned.total, turned.prices)
    rows_of, prices = _augment_all_rows(np.asarray(cost, dtype=np.float64))
    columns = np.flatnonzero(rows_of >= 0)
    order = np.argsort(rows_of[columns])
    rows, columns = rows_of[columns][order], columns[order]
    return Solution(rows, columns, float(cost[rows, columns].sum()), prices)


def _augment_all_rows(cost: Floats) -> tuple[Integers, Floats]:
    """The row of each column (−1 for none) and the column prices of an optimal assignment of n ≤ m rows."""
    row_prices = np.zeros(cost.shape[0])
    prices = np.zeros(cost.shape[1])
    rows_of = np.full(cost.shape[1], -1, dtype=np.int64)
    for start in range(cost.shape[0]):
        _augment(cost, start, rows_of, row_prices, prices)
    return rows_of, prices


def _augment(cost: Floats, start: int, rows_of: Integers, row_prices: Floats, prices: Floats) -> None:
    """Assigns one more row along a shortest path of reduced costs, and moves the prices so that they stay dual."""
    distance = np.full(cost.shape[1], np.inf)
    previous = np.full(cost.shape[1], -1, dtype=np.int64)
    visited = np.zeros(cost.shape[1], dtype=bool)
    row, reached, end = start, 0.0, -1
    while end < 0:
        through = reached + cost[row] - row_prices[row] - prices
        shorter = ~visited & (through < distance)
        distance[shorter] = through[shorter]
        previous[shorter] = row
        unvisited = np.where(visited, np.inf, distance)
        nearest = int(np.argmin(unvisited))
        reached = float(unvisited[nearest])
        if reached == np.inf:
            raise ValueError("cost forbids so many pairs that no assignment of finite cost is left")
        visited[nearest] = True
        row = int(rows_of[nearest])
        end = nearest if row < 0 else -1
    on_path = np.flatnonzero(visited)
    gain = reached - distance[on_path]
    matched = rows_of[on_path] >= 0
    row_prices[start] += reached
    row_prices[rows_of[on_path[matched]]] += gain[matched]
    prices[on_path] -= gain
    while True:
        row = int(previous[end])
        rows_of[end] = row
        if row == start:
            return
        end = int(np.flatnonzero((rows_of == row) & (np.arange(len(rows_of)) != end))[0])


def lower_bound(cost: Floats, prices: Floats) -> float:
    """A bound below every assignment's total cost, from any prices of the longer side of a matrix [n, m].

    The bound holds whatever the prices are: those above 0 are taken as 0, and the other side's best answers are
    computed.
    """
    oriented = cost if cost.shape[0] <= cost.shape[1] else cost.T
    if oriented.size == 0:
        return 0.0
    admissible = np.minimum(prices, 0.0)
    return float((oriented - admissible).min(axis=1).sum() + admissible.sum())


def minimum_total(cost: Floats) -> float:
    """The least total cost of an assignment of a finite matrix [n, m]; 0 for an empty one."""
    return solve(cost).total


@dataclass(frozen=True)
class Optimality:
    """What is known of an assignment: its total cost, the bound below all assignments, and how much may lie between."""

    total: float
    bound: float
    allowance: float

    @property
    def holds(self) -> bool:
        """Whether the total reaches the bound, within the allowance."""
        return self.total - self.bound <= self.allowance


def _closing(cost: Floats) -> float:
    """The rounding error in float64 of a total and its bound: sums of at most n + m terms of the largest magnitude."""
    size = sum(cost.shape)
    return 4.0 * size * size * 2.0**-52 * float(np.abs(cost).max(initial=0.0))


def total_allowance(cost: Floats, solver_dtype: str = "float64") -> float:
    """How far above the minimum a right solver in `solver_dtype` may end, for a finite cost matrix [n, m]."""
    matched = min(cost.shape)
    largest = float(np.abs(cost).max(initial=0.0))
    return float(2 * matched * solver_allowance(largest, matched, solver_dtype) + _closing(cost))


def optimality(
    matching: Matching, cost: Floats | Interval, solver_dtype: str = "float64", copies: int = 1
) -> Optimality:
    """Whether an assignment of (row, column) pairs is optimal, for the exact costs or for some costs in their range.

    `cost` [n, m]. `solver_dtype` is the dtype in which the implementation's solver may have worked. copies: how many
    consecutive columns are copies of one.
    """
    rows, columns = np.asarray(matching.queries, dtype=np.int64), np.asarray(matching.targets, dtype=np.int64)
    favourable = np.array(cost.upper if isinstance(cost, Interval) else cost, dtype=np.float64)
    if isinstance(cost, Interval):
        favourable[_alike(rows, columns, copies)] = cost.lower[_alike(rows, columns, copies)]
    bound = lower_bound(favourable, solve(favourable).prices)
    total = float(favourable[rows, columns].sum())
    return Optimality(total, bound, total_allowance(favourable, solver_dtype))


def _alike(rows: Integers, columns: Integers, copies: int) -> tuple[Integers, Integers]:
    """The indices of pairs, and of the pairs with another copy of the same column; [k · copies] twice."""
    others = (columns // copies * copies)[:, None] + np.arange(copies)
    return np.repeat(rows, copies), others.ravel()


def unique_optimum(cost: Floats | Interval, solver_dtype: str = "float64", copies: int = 1) -> Matching | None:
    """The optimal assignment if it is the only one for all costs in the range, else None.

    Shown by forbidding each of its pairs in turn, with the least favourable costs: the upper end on its pairs, the
    lower end elsewhere; every assignment that remains must cost more, by more than a solver in `solver_dtype` may lose.
    copies: how many consecutive columns are copies of one; which copy a row has does not matter.
    """
    value = np.array(cost.value if isinstance(cost, Interval) else cost, dtype=np.float64)
    if not np.isfinite(value).all():
        return None
    best = solve(value)
    harsh = np.array(cost.lower if isinstance(cost, Interval) else value, dtype=np.float64)
    if isinstance(cost, Interval):
        own = _alike(best.rows, best.columns, copies)
        harsh[own] = cost.upper[own]
    if not np.isfinite(harsh).all():
        return None
    allowance = total_allowance(harsh, solver_dtype)
    total = float(harsh[best.rows, best.columns].sum())
    if any(other.total - total <= allowance for other in _without_each_pair(harsh, best, allowance, copies)):
        return None
    return Matching(best.rows, best.columns)


def second_best(cost: Floats) -> Matching:
    """The least costly assignment of a finite matrix [n, m] that differs from the one `solve` finds, if there are two.

    Source: Murty 1968, whose first step this is.
    """
    best = solve(cost)
    other = min(_without_each_pair(cost, best, 0.0), key=lambda found: found.total, default=best)
    return Matching(other.rows, other.columns)


def _without_each_pair(cost: Floats, best: Solution, allowance: float, copies: int = 1) -> Iterator[Solution]:
    """The best assignments of a finite matrix [n, m] without each pair of the best one in turn, and its copies.

    Where there is none, one that costs more than the best one by more than the allowance.
    """
    largest = float(np.abs(cost).max(initial=0.0))
    forbidden_cost = (2 * len(best.rows) + 1) * (2 * largest + allowance + 1.0)
    for row, column in zip(best.rows, best.columns, strict=True):
        without = cost.copy()
        without[_alike(np.array([row]), np.array([column]), copies)] = forbidden_cost
        yield solve(without)
