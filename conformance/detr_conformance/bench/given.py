"""Implementations that the benchmark is given by name, as contestants: their criteria, and their solvers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from torch import Tensor

from detr_conformance.base.errors import UsageError
from detr_conformance.bench.batches import DTYPE, Batch
from detr_conformance.bench.contestant import Contestant, Step, usual_step
from detr_conformance.bench.others import OTHERS
from detr_conformance.bench.ours import OURS
from detr_conformance.bench.solvers import SOLVERS, SolverContestant
from detr_conformance.bridges.framework_bridge import BridgedComponent
from detr_conformance.bridges.numpy_bridge import NumpyBatchSolver, NumpySolver
from detr_conformance.bridges.torch_framework import TORCH
from detr_conformance.implementations.resolve import resolve
from detr_conformance.testee.names import is_testee
from detr_spec.configuration import Configuration, replace
from detr_spec.implementation import Implementation
from detr_spec.profiles import PROFILES

KNOWN = {item.name for item in (*OURS, *OTHERS)} | {item.name for item in SOLVERS}


@cache
def given_implementations(names: tuple[str, ...]) -> tuple[Implementation, ...]:
    """The implementations of those names.

    Raises `UsageError` for a name that has nothing to time: neither a criterion that takes float32 nor a solver; and
    where two of a dialect have one name.
    """
    found = tuple(implementation for name in names for implementation in _timeable(name))
    called = [(_dialect(implementation), implementation.name) for implementation in found]
    twins = [name for name in called if called.count(name) > 1]
    if twins:
        raise UsageError(f"two implementations of {twins[0][0]} are called {twins[0][1]!r}; give one another name")
    return found


def given_contestants(names: tuple[str, ...]) -> tuple[Contestant, ...]:
    """Those of the implementations of these names that have a criterion, each in its dialect."""
    return tuple(
        Contestant(
            _name(item),
            replace(item.profile, name=_dialect(item)),
            None,
            partial(_step, item),
            item.limits.of("criterion").fixed,
        )
        for item in given_implementations(names)
        if _has_criterion(item)
    )


def given_solvers(names: tuple[str, ...]) -> tuple[SolverContestant, ...]:
    """Those of the implementations of these names that have a solver."""
    return tuple(_solver(item) for item in given_implementations(names) if item.assignment is not None)


def _timeable(name: str) -> list[Implementation]:
    if is_testee(name):
        raise UsageError(f"{name} answers from a process of its own, which cannot be timed; give what can be imported")
    found = [item for item in resolve(name) if _has_criterion(item) or item.assignment is not None]
    if not found:
        raise UsageError(f"{name} has nothing to time; expected a criterion that computes in {DTYPE}, or a solver")
    return found


def _has_criterion(implementation: Implementation) -> bool:
    return implementation.criterion is not None and DTYPE in implementation.limits.of("criterion").dtypes


def _name(implementation: Implementation) -> str:
    """The name in tables, where those that are there without being given keep theirs."""
    return f"{implementation.name} (given)" if implementation.name in KNOWN else implementation.name


def _dialect(implementation: Implementation) -> str:
    """The named profile with the same logit columns, whose contestants compute what compares."""
    return next(
        name for name, profile in PROFILES.items() if profile.has_no_object == implementation.profile.has_no_object
    )


def _step(given: Implementation, batch: Batch) -> Step:
    """A step of an implementation's criterion; raises TypeError where its parts are not called as in PyTorch."""
    configuration = batch.configuration(given.profile, given.limits.of("criterion").fixed)
    criterion = _module("criterion", given.criterion, configuration)
    matcher = getattr(criterion, "matcher", None)
    if given.matcher is not None:
        matcher = _module("matcher", given.matcher, configuration)
    if not callable(matcher):
        raise TypeError("its matchings cannot be seen; give its matcher, too, or keep it as criterion.matcher")
    return usual_step(batch, given.profile.keys, criterion, matcher)


def _module(what: str, factory: Callable[[Configuration], Any] | None, configuration: Configuration) -> Any:
    component = None if factory is None else factory(configuration)
    if not isinstance(component, BridgedComponent) or component.framework is not TORCH:
        raise TypeError(f"its {what} is not built by torch_implementation")
    return component.module


def _solver(implementation: Implementation) -> SolverContestant:
    dtype = DTYPE if DTYPE in implementation.limits.of("assignment").dtypes else "float64"
    configuration = Configuration(profile=implementation.profile, dtype=dtype)

    def prepare(cost: Tensor) -> Callable[[], Any]:
        assert implementation.assignment is not None
        assignment = implementation.assignment(configuration)
        solve, solve_batch = assignment.solve, assignment.solve_batch
        if isinstance(solve_batch, NumpyBatchSolver):
            return lambda: solve_batch.solver(list(_numbers(cost, dtype)))
        if isinstance(solve, NumpySolver):
            return lambda: [solve.solver(problem) for problem in _numbers(cost, dtype)]
        raise TypeError("its solver is not built by numpy_implementation")

    return SolverContestant(_name(implementation), None, prepare, list, dtype)


def _numbers(cost: Tensor, dtype: str) -> np.ndarray:
    return cost.cpu().numpy().astype(dtype, copy=False)
