"""Bridge to implementations in NumPy: box operations and solvers of cost matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_conformance.bridges.answers import describe, matching, same, sequence
from detr_spec.configuration import Configuration
from detr_spec.implementation import Assignment, BoxOperations, Implementation, Limits
from detr_spec.profile import DETR, Profile, named_profile
from detr_spec.values import Answer, Floats, Matching, Observation
from detr_spec.violation import Violation

Solver = Callable[[Any], Any]
BatchSolver = Callable[[list[Any]], Any]


def numpy_implementation(
    *,
    name: str,
    profile: Profile | str = DETR,
    limits: Limits | None = None,
    boxes: Mapping[str, Callable[..., Any]] | None = None,
    solver: Solver | None = None,
    batch_solver: BatchSolver | None = None,
) -> Implementation:
    """An implementation from functions on NumPy arrays.

    boxes: functions by the names of `BoxOperations`, arrays [n, 4] in the case's dtype → arrays. solver: a cost
    matrix [n, m] → (row indices, column indices). batch_solver: a list of cost matrices → a list of those.
    """
    declared = named_profile(profile) if isinstance(profile, str) else profile
    box_functions = boxes
    return Implementation(
        name=name,
        profile=declared,
        limits=limits or Limits(),
        boxes=None if box_functions is None else lambda configuration: _boxes(box_functions, configuration),
        assignment=None
        if solver is None
        else lambda configuration: _assignment(solver, batch_solver, np.dtype(configuration.dtype)),
    )


def observed(function: Callable[..., Any], inputs: Mapping[str, np.ndarray]) -> tuple[Any, tuple[str, ...]]:
    """The function's answer to writable copies of the inputs, and the names of those that it changed."""
    copies = {name: array.copy() for name, array in inputs.items()}
    answer = function(*copies.values())
    return answer, tuple(name for name, array in inputs.items() if not same(copies[name], array))


def _boxes(functions: Mapping[str, Callable[..., Any]], configuration: Configuration) -> BoxOperations:
    return BoxOperations(
        **{name: _box_operation(name, function, configuration) for name, function in functions.items()}
    )


def _box_operation(
    name: str, function: Callable[..., Any], configuration: Configuration
) -> Callable[..., Answer[Floats]]:
    def call(*boxes: Floats) -> Answer[Floats]:
        inputs = {f"argument {place}": array.astype(configuration.dtype) for place, array in enumerate(boxes)}
        answer, mutated = observed(function, inputs)
        if not isinstance(answer, np.ndarray):
            raise Violation(f"{name} returned {describe(answer)}", expected="an array", got=describe(answer))
        observation = Observation(mutated, dtypes={name: str(answer.dtype)}, shapes={name: answer.shape})
        return Answer(answer.astype(np.float64), observation)

    return call


@dataclass(frozen=True)
class NumpySolver:
    """A solver of one cost matrix, called with values of the specification."""

    solver: Solver
    dtype: np.dtype[Any]

    def __call__(self, cost: Floats) -> Answer[Matching]:
        """The matching that the solver answers with."""
        answer, mutated = observed(self.solver, {"cost": cost.astype(self.dtype)})
        return Answer(matching("the solver", answer, np.asarray), Observation(mutated))


@dataclass(frozen=True)
class NumpyBatchSolver:
    """A solver of several cost matrices, called with values of the specification."""

    solver: BatchSolver
    dtype: np.dtype[Any]

    def __call__(self, costs: Sequence[Floats]) -> Answer[tuple[Matching, ...]]:
        """The matching of each matrix."""
        inputs = {f"cost {place}": cost.astype(self.dtype) for place, cost in enumerate(costs)}
        answer, mutated = observed(lambda *arrays: self.solver(list(arrays)), inputs)
        expected = "a list of (row indices, column indices)"
        items = sequence("the batch solver", answer, expected, len(costs))
        return Answer(tuple(matching("the batch solver", item, np.asarray) for item in items), Observation(mutated))


def _assignment(solver: Solver, batch_solver: BatchSolver | None, dtype: np.dtype[Any]) -> Assignment:
    return Assignment(
        solve=NumpySolver(solver, dtype),
        solve_batch=None if batch_solver is None else NumpyBatchSolver(batch_solver, dtype),
    )
