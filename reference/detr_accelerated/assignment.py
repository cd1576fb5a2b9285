"""The assignment: least-cost matchings of any number of problems at once, exact, by the rules of scipy's solver.

All solvers here find what `scipy.optimize.linear_sum_assignment` finds, ties included, as all follow its rule: shortest
augmenting paths with float64 prices (Crouse 2016, "On implementing 2D rectangular assignment algorithms").
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .compiled.calling import compiled, in_threads, shares, threads_worth
from .cuda import solver as cuda_solver
from .cuda.kernels import run_on

Array: TypeAlias = np.ndarray[Any, Any]

ELEMENTS_WORTH_A_THREAD = 2**18


def solve(cost: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the query of each target, int64 [P, T] on the device of the costs, at least total cost in each problem.

    cost: finite, [P, T, Q], of which the first n rows of a problem count. sizes: n of each problem. With n > Q only Q
    targets have a query; the others, and rows beyond n, have -1.
    """
    if max(cost.shape[1:]) <= cuda_solver.MOST_COLUMNS and run_on(cost.device):
        return cuda_solver.solve(cost, torch.tensor(sizes).to(cost.device, non_blocking=True))
    columns = np.full(cost.shape[:2], -1, np.int64)
    if cost.numel():
        _solve_in_threads(cost.cpu().numpy(), np.asarray(sizes), columns)
    return torch.from_numpy(columns).to(cost.device)


def _solve_in_threads(cost: Array, sizes: Array, columns: Array) -> None:
    """Solve the problems in as many threads as torch has and as are worth starting; the solvers release the GIL."""
    solver = compiled("solver", "solve_with_numba") or solve_with_scipy
    threads = threads_worth(cost.size, ELEMENTS_WORTH_A_THREAD)
    if threads == 1:
        # Around few small problems, to cut them into parts takes as long as they do.
        solver(cost, sizes, columns)
        return
    parts = shares(len(cost), threads)
    in_threads(threads, [partial(solver, cost[own], sizes[own], columns[own]) for own in parts])


def solve_with_scipy(cost: Array, sizes: Array, columns: Array) -> None:
    """Write the query of each target into columns [P, T]; rows beyond each problem's size are left as they are."""
    num_queries = cost.shape[2]
    for problem, size, found in zip(cost, sizes, columns, strict=True):
        if size < num_queries:
            targets, queries = linear_sum_assignment(problem[:size])
        else:
            # Of a square matrix, too, the reference gives the solver the queries as rows, which decides ties.
            queries, targets = linear_sum_assignment(problem[:size].T)
        found[targets] = queries
