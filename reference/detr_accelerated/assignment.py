"""The assignment: least-cost matchings of any number of problems at once, exact, by the rules of scipy's solver.

All solvers here find what `scipy.optimize.linear_sum_assignment` finds, ties included, as all follow its rule: shortest
augmenting paths with float64 prices (Crouse 2016, "On implementing 2D rectangular assignment algorithms").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from . import cuda_solver
from .cuda_kernels import run_on

Array: TypeAlias = np.ndarray[Any, Any]
Solver: TypeAlias = Callable[[Array, Array, Array], None]

ELEMENTS_WORTH_A_THREAD = 2**18

LONGEST_COMPILED = 100
"""With more targets the search itself takes the time, and scipy's is as fast."""


def solve(cost: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the query of each target, int64 [P, T] on the device of the costs, at least total cost in each problem.

    cost: finite, [P, T, Q], of which the first n rows of a problem count. sizes: n of each problem. With n > Q only Q
    targets have a query; the others, and rows beyond n, have -1.
    """
    if max(cost.shape[1:]) <= cuda_solver.MOST_COLUMNS and run_on(cost.device):
        return cuda_solver.solve(cost, torch.tensor(sizes).to(cost.device, non_blocking=True))
    columns = torch.full(cost.shape[:2], -1, dtype=torch.int64)
    if cost.numel():
        _solve_in_threads(cost.cpu().numpy(), np.asarray(sizes), columns.numpy())
    return columns.to(cost.device)


def _solve_in_threads(cost: Array, sizes: Array, columns: Array) -> None:
    """Solve the problems in as many threads as torch has and as are worth starting; the solvers release the GIL."""
    solver = _compiled_solver() if cost.shape[1] <= LONGEST_COMPILED else solve_with_scipy
    threads = max(min(torch.get_num_threads(), len(cost), cost.size // ELEMENTS_WORTH_A_THREAD), 1)
    if threads == 1:
        solver(cost, sizes, columns)
        return
    parts = list(zip(*(np.array_split(values, threads) for values in (cost, sizes, columns)), strict=True))
    # A pool for this call alone, as the threads of a kept one do not survive a fork.
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(solver, *part) for part in parts[1:]]
        solver(*parts[0])
        for other in others:
            other.result()


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


@cache
def _compiled_solver() -> Solver:
    """The solver without the time that a call of scipy's takes, where numba is installed."""
    if find_spec("numba") is None:
        return solve_with_scipy
    from .numba_solver import solve_with_numba  # noqa: PLC0415  it takes a second to import

    solver: Solver = solve_with_numba
    return solver
