"""The assignment by shortest augmenting paths, compiled by numba (Crouse 2016; scipy's choice under ties).

Each row in turn is matched by the shortest path, in reduced costs, from it to an unmatched column. The prices u of rows
and v of columns keep every reduced cost c - u - v at least 0, and 0 on matched pairs, which is what makes it optimal.
A step of the search is a few passes over all columns, reached or not, which is less work than a list of the others is.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, Any]

NONE = -1


@njit(nogil=True, cache=True)
def _write_reduced_costs(costs: Array, v: Array, reduced: Array) -> None:
    """Write the reduced costs of an unmatched row, whose own price is still 0."""
    for column in range(len(costs)):
        reduced[column] = costs[column] - v[column]


@njit(nogil=True, cache=True)
def _look_from(
    row: int, costs: Array, length: float, price: float, v: Array, closed: Array, distance: Array, before: Array
) -> None:
    """Shorten the distances of the columns that are nearer by way of a row, at the end of a path of that length."""
    # Without a branch it is compiled to vectors. The operations are in scipy's order, which decides how sums round.
    for column in range(len(costs)):
        through = length + costs[column] - price - v[column] + closed[column]
        nearer = through < distance[column]
        distance[column] = through if nearer else distance[column]
        before[column] = row if nearer else before[column]


# Nothing is NaN, so comparisons may be regrouped, and eight numbers at a time become one vector.
@njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def _least(numbers: Array) -> Any:
    a = b = c = d = e = f = g = h = np.inf
    whole = len(numbers) // 8 * 8
    for i in range(0, whole, 8):
        a, b, c, d = min(a, numbers[i]), min(b, numbers[i + 1]), min(c, numbers[i + 2]), min(d, numbers[i + 3])
        e, f, g, h = min(e, numbers[i + 4]), min(f, numbers[i + 5]), min(g, numbers[i + 6]), min(h, numbers[i + 7])
    for number in numbers[whole:]:
        a = min(a, number)
    return min(a, b, c, d, e, f, g, h)


@njit(nogil=True, cache=True)
def _first_rank(distance: Array, least: float, rank: Array) -> Any:
    """Return the lowest rank of the columns at the least distance."""
    beyond = 2 * len(rank)
    first = beyond
    for column in range(len(rank)):
        first = min(first, rank[column] if distance[column] == least else beyond)
    return first


@njit(nogil=True, cache=True)
def _rank(place: int, unmatched: bool, num_columns: int) -> Any:
    """Return which of several equally near columns comes first, by its place in the list of those not reached.

    It is the last unmatched one, which ends the search at once, or if there is none the first matched one.
    """
    return num_columns - 1 - place if unmatched else num_columns + place


@njit(nogil=True, cache=True)
def _place_of_rank(rank: int, num_columns: int) -> Any:
    return num_columns - 1 - rank if rank < num_columns else rank - num_columns


@njit(nogil=True, cache=True)
def _columns_of_rows(cost: Array) -> Array:
    """Return the column of each row; there are at least as many columns as rows."""
    num_rows, num_columns = cost.shape
    u = np.zeros(num_rows)
    v = np.zeros(num_columns)
    column_of = np.full(num_rows, NONE)
    row_of = np.full(num_columns, NONE)
    # A column that was reached is closed: infinity is added to whatever would be its distance, which is kept apart.
    # Of rows of one array the compiler would not know that they lie apart.
    distance = np.empty(num_columns)
    closed = np.empty(num_columns)
    reached_at = np.empty(num_columns)
    before = np.empty(num_columns, np.int64)
    rank = np.empty(num_columns, np.int64)
    # The columns that the search has not reached come first, in an order that decides ties; the others follow.
    order = np.empty(num_columns, np.int64)

    for start in range(num_rows):
        # A path of one step, to an unmatched column that is as near as any, is the shortest, and moves no other price.
        _write_reduced_costs(cost[start], v, distance)
        least = _least(distance)
        for column in range(num_columns):
            if row_of[column] == NONE and distance[column] == least:
                row_of[column], column_of[start], u[start] = start, column, least
                break
        if column_of[start] != NONE:
            continue

        distance[:] = np.inf
        closed[:] = 0
        # Where broken costs lead to no column, one is taken as if the start led there.
        before[:] = start
        for column in range(num_columns):
            place = num_columns - 1 - column
            order[place] = column
            rank[column] = _rank(place, row_of[column] == NONE, num_columns)
        unreached = num_columns
        row = start
        length = 0.0
        while row != NONE:
            _look_from(row, cost[row], length, u[row], v, closed, distance, before)
            length = _least(distance)
            place = _place_of_rank(_first_rank(distance, length, rank), num_columns)
            column = order[place]
            distance[column], closed[column], reached_at[column] = np.inf, np.inf, length
            # The last column of the list moves to where the nearest was.
            unreached -= 1
            last = order[unreached]
            order[place], order[unreached] = last, column
            rank[last] = _rank(place, row_of[last] == NONE, num_columns)
            row = row_of[column]
        sink = column

        u[start] += length
        for place in range(unreached, num_columns):
            column = order[place]
            if column != sink:
                u[row_of[column]] += length - reached_at[column]
            v[column] -= length - reached_at[column]

        column = sink
        while True:
            row = before[column]
            row_of[column] = row
            column, column_of[row] = column_of[row], column
            if row == start:
                break
    return column_of


@njit(nogil=True, cache=True)
def solve_with_numba(cost: Array, sizes: Array, columns: Array) -> None:
    """Write the query of each target into columns [P, T]; rows beyond each problem's size are left as they are.

    cost: float32 or float64 [P, T, Q]. sizes: int64 [P].
    """
    num_queries = cost.shape[2]
    for problem in range(len(cost)):
        size = sizes[problem]
        if size < num_queries:
            columns[problem, :size] = _columns_of_rows(cost[problem, :size])
        else:
            # The rows are to lie side by side.
            targets = _columns_of_rows(np.ascontiguousarray(cost[problem, :size].T))
            for query in range(num_queries):
                columns[problem, targets[query]] = query
