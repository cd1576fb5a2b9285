"""Bridge to implementations in NumPy: box operations and solvers of cost matrices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_conformance.bridges.answers import index_vectors, instance, numbers, sequence
from detr_conformance.bridges.box_operations import box_operations
from detr_spec.calls import LAYOUTS, PLAIN
from detr_spec.configuration import Configuration
from detr_spec.implementation import Assignment, Implementation, Limits
from detr_spec.profile import Profile
from detr_spec.profiles import DETR, named_profile
from detr_spec.values import Answer, Floats, Matching, Observation

CALLS = (*LAYOUTS, "read-only", "after-errors", "refilled")
"""The ways in which functions on arrays are called."""

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
    matrix [n, m] → (row indices, column indices). batch_solver: a list of cost matrices → a list of those. Raises
    `UsageError` for a box operation that there is not.
    """
    declared = named_profile(profile) if isinstance(profile, str) else profile
    return Implementation(
        name=name,
        profile=declared,
        limits=(limits or Limits()).within_calls(CALLS),
        boxes=None if boxes is None else box_operations(boxes, _box_operation),
        assignment=None if solver is None else lambda configuration: _assignment(solver, batch_solver, configuration),
    )


def observed(
    function: Callable[..., Any], inputs: Mapping[str, np.ndarray], call: str = PLAIN
) -> tuple[Any, tuple[str, ...]]:
    """The function's answer to copies of the inputs in the layout of a way of calling, and the names of those changed.

    What lies beside an input in memory counts as part of it.
    """
    laid = {name: laid_out(array, call) for name, array in inputs.items()}
    before = {name: memory.copy() for name, (memory, _) in laid.items()}
    if call == "refilled":
        _call_refilled(function, [view for _, view in laid.values()])
    answer = function(*(view for _, view in laid.values()))
    return answer, tuple(name for name, (memory, _) in laid.items() if not _same(memory, before[name]))


def _call_refilled(function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> None:
    """Calls the function with arrays that hold their rows in reverse order, and puts these back."""
    own = [array.copy() for array in arrays]
    for array, held in zip(arrays, own, strict=True):
        array[:] = held[::-1]
    with contextlib.suppress(Exception):
        function(*arrays)
    for array, held in zip(arrays, own, strict=True):
        array[:] = held


def laid_out(array: np.ndarray, call: str) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of an array in the layout of a way of calling: memory of their own, and the view of it that has them.

    It can be written to, but in the way "read-only".
    """
    if call == "expanded":
        kept = tuple(slice(0, 1) if _repeats(array, axis) else slice(None) for axis in range(array.ndim))
        memory = array[kept].copy()
        strides = [0 if array.shape[axis] != memory.shape[axis] else step for axis, step in enumerate(memory.strides)]
        return memory, np.lib.stride_tricks.as_strided(memory, array.shape, strides)
    if call == "transposed":
        memory = array.T.copy()
        return memory, memory.T
    if call == "sliced":
        return _within(array, (3, *array.shape), (1,))
    if call == "gaps":
        return _within(array, tuple(2 * size + 1 for size in array.shape), (slice(1, None, 2),) * array.ndim)
    memory = array.copy()
    memory.setflags(write=call != "read-only")
    return memory, memory


def _repeats(array: np.ndarray, axis: int) -> bool:
    """Whether there are several slices along the axis, and all are the same."""
    return array.shape[axis] > 1 and bool((array == np.take(array, [0], axis)).all())


def _within(array: np.ndarray, shape: tuple[int, ...], place: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray]:
    memory = np.full(shape, np.nan, dtype=array.dtype)
    memory[place] = array
    return memory, memory[place]


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two arrays hold the same values, NaN being the same as NaN."""
    return first.shape == second.shape and bool(np.array_equal(first, second, equal_nan=True))


def _box_operation(
    name: str, function: Callable[..., Any], configuration: Configuration
) -> Callable[..., Answer[Floats]]:
    def call(*boxes: Floats) -> Answer[Floats]:
        inputs = {f"argument {place}": array.astype(configuration.dtype) for place, array in enumerate(boxes)}
        answer, mutated = observed(function, inputs, configuration.call)
        array = numbers(name, instance(name, answer, np.ndarray))
        observation = Observation(
            mutated, dtypes={name: str(answer.dtype)}, shapes={name: answer.shape}, call=configuration.call
        )
        return Answer(array, observation)

    return call


@dataclass(frozen=True)
class NumpySolver:
    """A solver of one cost matrix, called with values of the specification."""

    solver: Solver
    dtype: np.dtype[Any]
    call: str = PLAIN

    def __call__(self, cost: Floats) -> Answer[Matching]:
        """The matching that the solver answers with."""
        given = cost.astype(self.dtype)
        if self.call == "after-errors":
            for broken in _broken_costs(given):
                with contextlib.suppress(Exception):
                    self.solver(broken)
        answer, mutated = observed(self.solver, {"cost": given}, self.call)
        return Answer(Matching(*index_vectors("the solver", answer)), Observation(mutated, call=self.call))


def _broken_costs(cost: np.ndarray) -> Iterator[np.ndarray]:
    """What breaks a solver: NaN as the last entry of the matrix in reverse order, and a row in place of a matrix."""
    reverse = np.flip(cost).copy()
    reverse[-1:, -1:] = np.nan
    yield reverse
    yield reverse.ravel()


@dataclass(frozen=True)
class NumpyBatchSolver:
    """A solver of several cost matrices, called with values of the specification."""

    solver: BatchSolver
    dtype: np.dtype[Any]
    call: str = PLAIN

    def __call__(self, costs: Sequence[Floats]) -> Answer[tuple[Matching, ...]]:
        """The matching of each matrix."""
        inputs = {f"cost {place}": cost.astype(self.dtype) for place, cost in enumerate(costs)}
        answer, mutated = observed(lambda *arrays: self.solver(list(arrays)), inputs, self.call)
        expected = "a list of (row indices, column indices)"
        items = sequence("the batch solver", answer, expected, len(costs))
        matchings = tuple(Matching(*index_vectors("the batch solver", item)) for item in items)
        return Answer(matchings, Observation(mutated, call=self.call))


def _assignment(solver: Solver, batch_solver: BatchSolver | None, configuration: Configuration) -> Assignment:
    dtype = np.dtype(configuration.dtype)
    return Assignment(
        solve=NumpySolver(solver, dtype, configuration.call),
        solve_batch=None if batch_solver is None else NumpyBatchSolver(batch_solver, dtype, configuration.call),
    )
