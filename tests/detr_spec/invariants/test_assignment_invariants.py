"""The invariants of assignment hold for right solvers, whatever their ways, and each finds its defects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from exact import exhaustive_minimum
from hypothesis import given, settings
from judging import Failing, judged, own_invariants, share_fired
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_spec.cases import CostCase
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Domain
from detr_spec.matching.assignment import lower_bound, solve, total_allowance
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.strategies import cost_cases

Array = NDArray[Any]
Pairs = tuple[Any, Any]
Solver = Callable[[Array], Pairs]
BatchSolver = Callable[[list[Array]], list[Pairs]]

ASSIGNMENT = own_invariants("assignment")
EXAMPLES = 40
OPEN = replace(DETR, non_finite_costs="unchecked")
FORBIDDING = replace(DETR, non_finite_costs="forbid")
OPTIMALITY = {
    f"assignment.{name}" for name in ("optimal-total", "ties", "negative-costs", "large-offset", "small-gaps")
}


def scipy(cost: Array) -> Pairs:
    return linear_sum_assignment(cost)


def own(cost: Array) -> Pairs:
    solution = solve(cost.astype(np.float64))
    return solution.rows, solution.columns


def each(solver: Solver) -> BatchSolver:
    return lambda costs: list(map(solver, costs))


def subject(solver: Solver, batch: BatchSolver | None = None, profile: Profile = DETR, **limits: Any) -> Implementation:
    return numpy_implementation(
        name="solver",
        profile=profile,
        solver=solver,
        batch_solver=batch or each(solver),
        limits=Limits(**limits),
    )


@pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda profile: profile.name)
@pytest.mark.parametrize("item", ASSIGNMENT, ids=lambda item: item.id)
def test_each_holds_and_fires_on_scipy(item: Any, profile: Profile) -> None:
    assert share_fired(item.id, subject(scipy, profile=profile), EXAMPLES) > 0.5


def last_tie(cost: Array) -> Pairs:
    """Chooses among ties from the other end."""
    rows, columns = scipy(cost[::-1, ::-1])
    return cost.shape[0] - 1 - rows, cost.shape[1] - 1 - columns


def unsorted(cost: Array) -> Pairs:
    rows, columns = scipy(cost)
    return rows[::-1].astype(np.int32), columns[::-1].astype(np.int32)


def turned(cost: Array) -> Pairs:
    columns, rows = scipy(cost.T)
    return rows, columns


def lists(cost: Array) -> Pairs:
    rows, columns = scipy(cost)
    return rows.tolist(), columns.tolist()


def shifted_in_its_dtype(cost: Array) -> Pairs:
    """Subtracts row minima first, in the dtype of the costs, as Hungarian solvers do."""
    lowest = cost.min(axis=1, keepdims=True) if cost.size and cost.shape[0] <= cost.shape[1] else 0
    return scipy(cost - lowest)


@pytest.mark.parametrize("solver", [own, last_tie, unsorted, turned, lists, shifted_in_its_dtype])
def test_other_right_solvers_are_not_accused(failing: Failing, solver: Solver) -> None:
    assert failing(subject(solver)) == set()


def test_a_batch_of_one_shape_is_all_that_equal_shapes_asks(failing: Failing) -> None:
    def stacked(costs: list[Array]) -> list[Pairs]:
        return [scipy(cost) for cost in np.stack(costs)]

    about_batches = {
        "assignment.batch-valid-pairs",
        "assignment.batch-one-by-one",
        "assignment.input-unchanged",
    }
    assert failing(subject(scipy, stacked, equal_shapes=True)) == set()
    assert failing(subject(scipy, stacked)) == about_batches


def test_half_precision_is_not_accused(failing: Failing) -> None:
    solver = subject(own, dtypes=("float16",))
    assert failing(solver) == set()


def test_a_solver_without_batches_does_not_provide_them() -> None:
    single = numpy_implementation(name="single", solver=scipy)
    verdicts = {item.id: judged(item.id, single, 5).verdict for item in ASSIGNMENT}
    missing = {name for name, verdict in verdicts.items() if verdict is Verdict.NOT_PROVIDED}
    assert missing == {"assignment.batch-valid-pairs", "assignment.batch-one-by-one"}


def greedy(cost: Array) -> Pairs:
    """The cheapest pair first, then the cheapest of what is left."""
    left, pairs = cost.astype(np.float64), []
    for _ in range(min(cost.shape)):
        row, column = np.unravel_index(np.argmin(left), left.shape)
        pairs.append((row, column))
        left[row], left[:, column] = np.inf, np.inf
    return [row for row, _ in pairs], [column for _, column in pairs]


def best_column_of_each_row(cost: Array) -> Pairs:
    rows = np.arange(min(cost.shape))
    return rows, cost[rows].argmin(axis=1) if cost.size else rows


def exchanged(cost: Array) -> Pairs:
    rows, columns = scipy(cost)
    return columns, rows


def left_out_as_minus_one(cost: Array) -> Pairs:
    rows, columns = scipy(cost)
    answer = np.full(cost.shape[0], -1)
    answer[rows] = columns
    return np.arange(cost.shape[0]), answer


def largest(cost: Array) -> Pairs:
    return linear_sum_assignment(cost, maximize=True)


def single_precision(cost: Array) -> Pairs:
    return scipy(cost.astype(np.float32))


def nine_decimals(cost: Array) -> Pairs:
    return scipy(np.round(cost, 9))


def clamped(cost: Array) -> Pairs:
    return scipy(np.maximum(cost, 0))


def at_most_a_million(cost: Array) -> Pairs:
    return scipy(np.minimum(cost, 1e6))


def perturbed(cost: Array) -> Pairs:
    """Breaks ties by adding the index, not small enough."""
    return scipy(cost + np.arange(cost.size).reshape(cost.shape))


def tall_in_order(cost: Array) -> Pairs:
    return scipy(cost) if cost.shape[0] <= cost.shape[1] else (np.arange(cost.shape[1]),) * 2


def nothing_is_an_error(cost: Array) -> Pairs:
    cost.min()
    return scipy(cost)


def squeezed(cost: Array) -> Pairs:
    return scipy(cost.squeeze())


def positive_left_out(cost: Array) -> Pairs:
    rows, columns = scipy(cost)
    return (rows[:0], columns[:0]) if cost.size == 1 and cost[0, 0] > 0 else (rows, columns)


def infinity_as_a_million(cost: Array) -> Pairs:
    return scipy(np.nan_to_num(cost, nan=np.nan, posinf=1e6, neginf=-np.inf))


def sanitised(cost: Array) -> Pairs:
    return scipy(np.nan_to_num(cost))


def forbidden_not_understood(cost: Array) -> Pairs:
    if not np.isfinite(cost).all():
        raise ValueError("the costs must be finite")
    return scipy(cost)


def fewer_pairs(cost: Array) -> Pairs:
    """Forbidden pairs are matched, and dropped from the answer."""
    rows, columns = scipy(np.where(np.isposinf(cost), 1e30, cost))
    allowed = np.isfinite(cost[rows, columns])
    return rows[allowed], columns[allowed]


def reduced_in_place(cost: Array) -> Pairs:
    if cost.size:
        cost -= cost.min()
    return scipy(cost)


def alternating() -> Solver:
    """Prefers the first and the last tie in turn."""
    calls = count()

    def solver(cost: Array) -> Pairs:
        return last_tie(cost) if next(calls) % 4 >= 2 else scipy(cost)

    return solver


def keeping_its_prices() -> Solver:
    """Starts each problem from the prices that the last one of its shape ended with, and stops early."""
    prices: dict[tuple[int, ...], Array] = {}

    def solver(cost: Array) -> Pairs:
        pairs = scipy(cost + prices.get(cost.shape, 0))
        prices[cost.shape] = cost / 2
        return pairs

    return solver


def padded(fill: float) -> BatchSolver:
    """Solves square problems of the size of the largest, and drops the pairs that are all padding."""

    def solver(costs: list[Array]) -> list[Pairs]:
        size = max(max(cost.shape) for cost in costs)
        answers = []
        for cost in costs:
            square = np.full((size, size), fill)
            square[: cost.shape[0], : cost.shape[1]] = cost
            rows, columns = scipy(square)
            real = (rows < cost.shape[0]) & (columns < cost.shape[1])
            answers.append((rows[real], columns[real]))
        return answers

    return solver


def longest_for_all(costs: list[Array]) -> list[Pairs]:
    length = max(min(cost.shape) for cost in costs)
    return [(np.arange(length), np.arange(length)) for _ in costs]


def first_for_its_shape(costs: list[Array]) -> list[Pairs]:
    """Problems of one shape all get the answer of the first."""
    return [scipy(next(other for other in costs if other.shape == cost.shape)) for cost in costs]


def greedy_batch(costs: list[Array]) -> list[Pairs]:
    return [greedy(cost) for cost in costs]


def one_answer_short(costs: list[Array]) -> list[Pairs]:
    return [scipy(cost) for cost in costs][1:]


def by_stride(cost: Array) -> Pairs:
    return scipy(cost if cost.strides[-1] == cost.itemsize else -cost)


DEFECTS: dict[str, tuple[Callable[[], Implementation], set[str]]] = {
    "by the layout in memory": (lambda: subject(by_stride), {"assignment.ways-of-calling"}),
    "greedy": (lambda: subject(greedy), OPTIMALITY),
    "the best column of each row": (lambda: subject(best_column_of_each_row), {"assignment.valid-pairs"}),
    "rows and columns exchanged": (lambda: subject(exchanged), {"assignment.valid-pairs"}),
    "−1 for rows left out": (
        lambda: subject(left_out_as_minus_one),
        {"assignment.valid-pairs", "assignment.empty"},
    ),
    "maximum": (lambda: subject(largest), OPTIMALITY),
    "float32 inside": (
        lambda: subject(single_precision),
        {"assignment.large-offset", "assignment.small-gaps"},
    ),
    "absolute tolerance": (
        lambda: subject(nine_decimals),
        {"assignment.positive-scale", "assignment.small-gaps"},
    ),
    "clamped at 0": (
        lambda: subject(clamped),
        {"assignment.optimal-total", "assignment.negative-costs", "assignment.constant-shift"},
    ),
    "a large number as a mark": (
        lambda: subject(at_most_a_million),
        {"assignment.optimal-total", "assignment.large-offset"},
    ),
    "ties broken by too much": (lambda: subject(perturbed), {"assignment.ties", "assignment.transposed"}),
    "tall matrices not solved": (
        lambda: subject(tall_in_order),
        {"assignment.transposed", "assignment.optimal-total"},
    ),
    "a minimum over nothing": (lambda: subject(nothing_is_an_error), {"assignment.empty"}),
    "dimensions squeezed": (lambda: subject(squeezed), {"assignment.one-by-one"}),
    "positive costs left out": (lambda: subject(positive_left_out), {"assignment.one-by-one"}),
    "infinity as a million": (
        lambda: subject(infinity_as_a_million),
        {"assignment.infinity-forbids", "assignment.infeasible-refused"},
    ),
    "sanitised": (
        lambda: subject(sanitised),
        {"assignment.nan-refused", "assignment.minus-infinity-refused", "assignment.infeasible-refused"},
    ),
    "forbidden pairs not understood": (
        lambda: subject(forbidden_not_understood, profile=FORBIDDING),
        {"assignment.infinity-forbids"},
    ),
    "fewer pairs": (lambda: subject(fewer_pairs), {"assignment.infeasible-refused"}),
    "reduced in place": (
        lambda: subject(reduced_in_place),
        {"assignment.input-unchanged", "assignment.ways-of-calling"},
    ),
    "batch reduced in place": (
        lambda: subject(scipy, each(reduced_in_place)),
        {"assignment.input-unchanged"},
    ),
    "ties in turn": (lambda: subject(alternating()), {"assignment.repeatable"}),
    "prices kept": (lambda: subject(keeping_its_prices(), profile=OPEN), {"assignment.repeatable"}),
    "padded with 0": (lambda: subject(scipy, padded(0.0)), {"assignment.batch-valid-pairs"}),
    "padded with a million": (lambda: subject(scipy, padded(1e6)), {"assignment.batch-valid-pairs"}),
    "the longest for all": (lambda: subject(scipy, longest_for_all), {"assignment.batch-valid-pairs"}),
    "the first of its shape": (lambda: subject(scipy, first_for_its_shape), {"assignment.batch-one-by-one"}),
    "greedy in batches": (lambda: subject(scipy, greedy_batch), {"assignment.batch-one-by-one"}),
    "one answer short": (
        lambda: subject(scipy, one_answer_short),
        {"assignment.batch-valid-pairs", "assignment.batch-one-by-one"},
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_found(failing: Failing, name: str) -> None:
    build, expected = DEFECTS[name]
    assert failing(build(), among=expected, examples=EXAMPLES) == expected


def test_every_invariant_finds_a_defect() -> None:
    assert {item.id for item in ASSIGNMENT} == set().union(*(expected for _, expected in DEFECTS.values()))


@pytest.mark.parametrize(
    "name",
    ["fewer pairs", "batch reduced in place", "float32 inside", "ties in turn"],
)
def test_a_defect_of_one_kind_is_accused_of_that_alone(failing: Failing, name: str) -> None:
    build, expected = DEFECTS[name]
    assert failing(build()) == expected


def test_a_float32_solver_of_float32_costs_is_not_accused(failing: Failing) -> None:
    assert failing(subject(single_precision, dtypes=("float32",))) == set()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("regime", ["large-offset", "near-resolution"])
def test_hard_costs_have_gaps_that_the_allowance_does_not_cover(dtype: str, regime: str) -> None:
    domain = Domain(DETR, Limits(dtypes=(dtype,)), small=True)
    decisive: list[bool] = []

    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @given(case=cost_cases(regimes=(regime,))(domain))
    def run(case: CostCase) -> None:
        cost = case.costs[0]
        gaps = np.diff(np.unique(cost))
        decisive.append(gaps.size > 0 and bool(gaps.min() > total_allowance(cost, dtype)))

    run()
    assert sum(decisive) > 0.1 * len(decisive)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(case=cost_cases(size=(0, 4))(Domain(DETR, small=True)))
def test_the_certificate_agrees_with_exhaustive_search(case: CostCase) -> None:
    cost = case.costs[0]
    solution, least = solve(cost), exhaustive_minimum(cost)
    allowance = total_allowance(cost)
    assert abs(solution.total - least) <= allowance
    assert least - allowance <= lower_bound(cost, solution.prices) <= least + allowance
