"""The assignment by shortest augmenting paths, compiled by numba (Crouse 2016; scipy's choice under ties).

Each row in turn is matched by the shortest path, in reduced costs, from it to an unmatched column. The prices u of rows
and v of columns keep every reduced cost c - u - v at least 0, and 0 on matched pairs, which is what makes it optimal.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, Any]

NONE = -1


# Costs are finite, so comparisons may be regrouped, and the least is found of several columns at a time.
@njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def _least(costs: Array, v: Array) -> Any:
    """Return the least reduced cost of an unmatched row, whose own price is still 0."""
    least = np.inf
    for column in range(len(costs)):
        least = min(least, costs[column] - v[column])
    return least


@njit(nogil=True, cache=True)
def _columns_of_rows(cost: Array) -> Array:
    """Return the column of each row; there are at least as many columns as rows."""
    num_rows, num_columns = cost.shape
    u = np.zeros(num_rows)
    v = np.zeros(num_columns)
    distance = np.empty(num_columns)
    before = np.empty(num_columns, np.int64)
    column_of = np.full(num_rows, NONE)
    row_of = np.full(num_columns, NONE)
    # The columns that the search has not reached come first, in an order that decides ties; the others follow.
    order = np.empty(num_columns, np.int64)

    for start in range(num_rows):
        # A path of one step, to an unmatched column that is as near as any, is the shortest, and moves no other price.
        least = _least(cost[start], v)
        for column in range(num_columns):
            if row_of[column] == NONE and cost[start, column] - v[column] == least:
                row_of[column], column_of[start], u[start] = start, column, least
                break
        if column_of[start] != NONE:
            continue

        distance[:] = np.inf
        for place in range(num_columns):
            order[place] = num_columns - 1 - place
        unreached = num_columns
        row = start
        length = 0.0
        sink = NONE
        while sink == NONE:
            nearest = NONE
            shortest = np.inf
            for place in range(unreached):
                column = order[place]
                through = length + cost[row, column] - u[row] - v[column]
                if through < distance[column]:
                    distance[column] = through
                    before[column] = row
                # Among equally near columns an unmatched one, the last such, ends the search at once.
                if distance[column] < shortest or (distance[column] == shortest and row_of[column] == NONE):
                    shortest = distance[column]
                    nearest = place
            length = shortest
            column = order[nearest]
            unreached -= 1
            order[nearest] = order[unreached]
            order[unreached] = column
            if row_of[column] == NONE:
                sink = column
            else:
                row = row_of[column]

        u[start] += length
        for place in range(unreached, num_columns):
            column = order[place]
            if column != sink:
                u[row_of[column]] += length - distance[column]
            v[column] -= length - distance[column]

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
            targets = _columns_of_rows(cost[problem, :size].T)
            for query in range(num_queries):
                columns[problem, targets[query]] = query
