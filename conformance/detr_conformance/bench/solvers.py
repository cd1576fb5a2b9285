"""The contestants for the assignment alone: solvers of many cost matrices of one shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import detr_reference
from detr_accelerated import assignment
from detr_accelerated.cuda import kernels as cuda_kernels
from detr_accelerated.cuda import solver as cuda_solver
from detr_conformance.bench.batches import Batch
from detr_conformance.bench.contestant import Package, why_missing
from detr_conformance.bench.ours import NUMBA
from detr_spec.matching.assignment import total_allowance
from detr_spec.values import Floats

ACCELERATED_SOLVER = "accelerated"
Pairs = Sequence[tuple[Any, Any]]


@dataclass(frozen=True)
class SolverContestant:
    """A solver of costs [P, T, Q].

    prepare: from the costs, as they lie on their device, to a call that solves all problems. pairs: from what the call
    returns to the (target, query) indices of each problem. dtype: in which it may work. only_on: the type of device
    that it is for, if there is one alone.
    """

    name: str
    package: Package | None
    prepare: Callable[[Tensor], Callable[[], Any]]
    pairs: Callable[[Any], Pairs]
    dtype: str = "float64"
    only_on: str | None = None

    def missing(self, device: str) -> str | None:
        """Why it cannot take part on a type of device, or None."""
        return why_missing(self.package, self.only_on, device)


def batch_costs(batch: Batch) -> Tensor:
    """The costs [P, T, Q] of the problems of all layers of a batch whose images have equally many targets."""
    softmax = batch.profile.has_no_object
    class_cost = detr_reference.negative_probability_cost if softmax else detr_reference.focal_cost()
    matcher = detr_reference.HungarianMatcher(*batch.profile.cost_weights, class_cost=class_cost)
    with torch.no_grad():
        problems = [
            matcher.cost_matrix(*image).mT
            for logits, boxes in zip(batch.logits, batch.boxes, strict=True)
            for image in zip(logits, boxes, batch.labels, batch.target_boxes, strict=True)
        ]
        return torch.stack(problems)


def totals_and_allowance(solver: SolverContestant, answer: Any, costs: Floats) -> tuple[Floats, Floats]:
    """The total cost of each problem, [P], NaN for no matching, and how far above the least rounding may leave it."""
    totals, allowances = np.full(len(costs), np.nan), np.zeros(len(costs))
    for problem, (pairs, cost) in enumerate(zip(solver.pairs(answer), costs, strict=True)):
        targets, queries = (np.asarray(part) for part in pairs)
        if len(set(targets.tolist())) == len(set(queries.tolist())) == len(targets) == min(cost.shape):
            totals[problem] = cost[targets, queries].sum()
        allowances[problem] = total_allowance(cost, solver.dtype)
    return totals, allowances


def _from_columns(columns: Any) -> Pairs:
    """Pairs from the query of each target [P, T], which is -1 where there is none."""
    columns = np.asarray(columns.cpu() if isinstance(columns, Tensor) else columns)
    return [(np.flatnonzero(found >= 0), found[found >= 0]) for found in columns]


def _turned(pairs: Pairs) -> Pairs:
    return [(targets, queries) for queries, targets in pairs]


def _scipy(turned: bool) -> Callable[[Tensor], Callable[[], Any]]:
    def prepare(cost: Tensor) -> Callable[[], Any]:
        given = cost.mT.contiguous() if turned else cost
        return lambda: [linear_sum_assignment(problem) for problem in given.cpu().numpy()]

    return prepare


def _numba(cost: Tensor) -> Callable[[], Any]:
    from detr_accelerated.compiled.kernels.solver import solve_with_numba  # noqa: PLC0415

    def call() -> Any:
        given = cost.cpu().numpy()
        columns = np.full(given.shape[:2], -1)
        solve_with_numba(given, np.full(len(given), given.shape[1]), columns)
        return columns

    return call


def _lapx(cost: Tensor) -> Callable[[], Any]:
    import lap  # noqa: PLC0415

    return lambda: [lap.lapjvr(problem, extend_cost=True, return_cost=False) for problem in cost.cpu().numpy()]


def _lapx_batch(cost: Tensor) -> Callable[[], Any]:
    import lap  # noqa: PLC0415

    threads = torch.get_num_threads()

    def call() -> Any:
        rows, columns = lap.lapjvr_batch(cost.cpu().numpy(), extend_cost=True, return_cost=False, n_threads=threads)
        return list(zip(rows, columns, strict=True))

    return call


def _torch_linear_assignment(cost: Tensor) -> Callable[[], Any]:
    from torch_linear_assignment import batch_linear_assignment  # noqa: PLC0415

    return lambda: batch_linear_assignment(cost)


def _accelerated(cost: Tensor) -> Callable[[], Any]:
    sizes = [cost.shape[1]] * len(cost)
    if not cuda_kernels.run_on(cost.device):
        return lambda: assignment.solve(cost, sizes)
    # Costs and sizes lie on the device, as the kernel for the costs leaves them there.
    on_device = torch.tensor(sizes, device=cost.device)
    return lambda: cuda_solver.solve(cost, on_device)


LAPX = Package("lapx", "lap")

SOLVERS = (
    SolverContestant("scipy, queries as rows", None, _scipy(turned=True), _turned),
    SolverContestant("scipy, targets as rows", None, _scipy(turned=False), list),
    SolverContestant("lapx lapjvr", LAPX, _lapx, list, "float32"),
    SolverContestant("lapx lapjvr_batch", LAPX, _lapx_batch, list, "float32"),
    SolverContestant("numba, one thread", NUMBA, _numba, _from_columns),
    SolverContestant(
        "torch-linear-assignment",
        Package("torch-linear-assignment", "torch_linear_assignment"),
        _torch_linear_assignment,
        _from_columns,
        "float32",
        only_on="cuda",
    ),
    SolverContestant(
        ACCELERATED_SOLVER,
        None,
        _accelerated,
        _from_columns,
    ),
)
