"""Solvers of the assignment problem: scipy, lapx and torch-linear-assignment, as component `assignment`.

Declared, as documented by lapx: in `lapjv`, `lapjvx` and `lapjvc` +inf forbids a pair, and what happens to NaN
and −inf is left open. torch-linear-assignment takes a dense batch, so its problems have equal shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lap
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch_linear_assignment import assignment_to_indices, batch_linear_assignment

from detr_conformance import numpy_implementation
from detr_spec.implementation import Implementation, Limits
from detr_spec.profiles import DETR

Cost = NDArray[Any]
Pairs = tuple[NDArray[Any], NDArray[Any]]

FORBIDDING = replace(DETR, name="detr", non_finite_costs="forbid")


def lapjv(cost: Cost) -> Pairs:
    """Call lapx's `lapjv`, which answers with the column of each row, −1 where a row is left out."""
    columns = lap.lapjv(cost, extend_cost=True)[1]
    rows = np.flatnonzero(columns >= 0)
    return rows, columns[rows]


def rectangular(solver: Callable[..., Pairs]) -> Callable[[Cost], Pairs]:
    """A call of one of lapx's solvers that answer with row and column indices."""
    return lambda cost: solver(cost, extend_cost=True, return_cost=False)


def torch_batch(costs: list[Cost]) -> list[Pairs]:
    """torch-linear-assignment on a batch of problems of one shape."""
    batch = torch.from_numpy(np.stack(costs))
    rows, columns = assignment_to_indices(batch_linear_assignment(batch))
    return list(zip(rows.numpy(), columns.numpy(), strict=True))


def solver(name: str, solve: Callable[[Cost], Pairs], profile: object = DETR) -> Implementation:
    """A solver of one problem at a time."""
    return numpy_implementation(name=name, profile=profile, solver=solve)


IMPLEMENTATIONS = (
    solver("scipy", linear_sum_assignment),
    solver("lapx-lapjv", lapjv, FORBIDDING),
    solver("lapx-lapjvx", rectangular(lap.lapjvx), FORBIDDING),
    solver("lapx-lapjvr", rectangular(lap.lapjvr), FORBIDDING),
    solver("lapx-lapjvc", lambda cost: lap.lapjvc(cost, return_cost=False), FORBIDDING),
    numpy_implementation(
        name="torch-linear-assignment",
        solver=lambda cost: torch_batch([cost])[0],
        batch_solver=torch_batch,
        limits=Limits(equal_shapes=True),
    ),
)
