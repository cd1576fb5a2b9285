"""The specification's own assignment solver as an implementation, judged like any other."""

from __future__ import annotations

from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_spec.matching.assignment import solve
from detr_spec.values import Floats, Integers


def solver(cost: Floats) -> tuple[Integers, Integers]:
    """The row and column indices of a minimum-cost assignment of costs [n, m]."""
    solution = solve(cost)
    return solution.rows, solution.columns


SOLVER = numpy_implementation(name="detr-spec-solver", solver=solver)
