"""Invariants of solvers of the assignment problem, on finite cost matrices. norm §3, S1–S6."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detr_spec.cases import CostCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Assignment
from detr_spec.invariant import invariant
from detr_spec.invariants.shared import require_optimal, require_valid
from detr_spec.matching.assignment import total_allowance
from detr_spec.strategies import cost_cases
from detr_spec.values import Floats, Matching, round_to
from detr_spec.violation import PremiseFailed, Violation, premise, require

Build = Callable[[Configuration], Assignment]
SOURCE = "norm §3; Kuhn 1955, The Hungarian method for the assignment problem"
FEASIBLE = ("general", "tied", "negative")
CHOICE = (2, 6)
"""Sides of matrices that leave something to choose."""


def total_of(what: str, matching: Matching, cost: Floats) -> float:
    """The total cost of an assignment; raises `Violation` unless its pairs are valid for the matrix."""
    require_valid(what, matching, *cost.shape)
    rows, columns = matching.queries.astype(np.int64), matching.targets.astype(np.int64)
    return float(cost[rows, columns].sum())


def require_same_total(what: str, got: float, expected: float, allowance: float, cost: Floats) -> None:
    """Raises `Violation` unless two totals agree as far as two right answers to one problem do."""
    require(abs(got - expected) <= allowance, what, expected=expected, got=got, allowance=allowance, cost=cost)


@invariant(
    "assignment.valid-pairs",
    number="S1",
    formula="min(n, m) pairs (i, j); the i distinct in 0 … n − 1, the j distinct in 0 … m − 1",
    source=SOURCE,
    breaks="−1 for rows left out; rows and columns exchanged; each row's best column, whoever else has it",
    cases=cost_cases(),
    rarity=3,
)
def valid_pairs(component: Build, case: CostCase) -> None:
    """The answer is min(n, m) pairs of distinct rows and distinct columns, all in range.

    Fewer pairs leave targets without a query, and a repeated one trains a query towards two objects.
    """
    matching = component(case.configuration).solve(case.costs[0]).value
    require_valid("the assignment", matching, *case.costs[0].shape)


def _optimal(component: Build, case: CostCase) -> None:
    cost, configuration = case.costs[0], case.configuration
    matching = component(configuration).solve(cost).value
    require_optimal("the assignment", matching, cost, configuration.dtype)


@invariant(
    "assignment.optimal-total",
    number="S2",
    formula="Σ C_ij over the pairs = min over assignments, shown by dual prices",
    source=SOURCE,
    breaks="a greedy choice; the maximum in place of the minimum; a large number that costs can exceed",
    cases=cost_cases(regimes=("general", "huge"), size=CHOICE),
    rarity=3,
)
def optimal_total(component: Build, case: CostCase) -> None:
    """The total cost is the minimum over all assignments.

    It is judged by a lower bound from dual prices, so no solver is trusted and any optimal answer is right.
    """
    _optimal(component, case)


@invariant(
    "assignment.transposed",
    number="S3",
    formula="total(Cᵀ) = total(C)",
    source=SOURCE,
    breaks="tall matrices solved differently, or not at all; strides ignored",
    cases=cost_cases(regimes=FEASIBLE, size=CHOICE),
    rarity=3,
)
def transposed(component: Build, case: CostCase) -> None:
    """The transposed matrix has the same minimum.

    Images with more targets than queries turn the problem round, and are rare enough to hide an error.
    """
    cost, solver = case.costs[0], component(case.configuration)
    total = total_of("the assignment", solver.solve(cost).value, cost)
    turned = total_of("the assignment of the transposed matrix", solver.solve(cost.T).value, cost.T)
    allowance = total_allowance(cost, case.configuration.dtype)
    require_same_total("the transposed matrix has another total", turned, total, allowance, cost)


@invariant(
    "assignment.constant-shift",
    number="S4",
    formula="M optimal for C + c·1ᵀ ⇒ M optimal for C, if every row must be matched; so for columns",
    source=SOURCE,
    breaks="costs taken to be positive; 0 or a large number used as a mark; a first guess never revised",
    cases=cost_cases(regimes=FEASIBLE, size=CHOICE),
    rarity=3,
)
def constant_shift(component: Build, case: CostCase) -> None:
    """A constant added to a row or a column that must be matched keeps an optimum an optimum.

    Every assignment pays the constant once, so it cannot decide between them.
    """
    cost = np.round(case.costs[0] * 64) / 64  # on this grid the constants are added exactly
    chance = case.generator("constants")
    sides = {0, 1} if cost.shape[0] == cost.shape[1] else {int(cost.shape[0] > cost.shape[1])}
    axis = chance.choice(sorted(sides))
    constants = chance.choice([-256.0, -16.0, -1.0, 0.0, 1.0, 16.0, 256.0], size=cost.shape[axis])
    shifted = cost + np.expand_dims(constants, 1 - axis)
    allowance = max(total_allowance(matrix, case.configuration.dtype) for matrix in (cost, shifted))
    _require_same_optimum(component, case, "with constants added to its lines", cost, shifted, allowance)


@invariant(
    "assignment.positive-scale",
    number="S4",
    formula="M optimal for s·C, s > 0 ⇒ M optimal for C",
    source=SOURCE,
    breaks="an absolute tolerance in the solver; costs rounded to integers or to some decimals",
    cases=cost_cases(regimes=FEASIBLE, size=CHOICE),
    rarity=3,
)
def positive_scale(component: Build, case: CostCase) -> None:
    """Multiplying all costs by a positive number keeps an optimum an optimum.

    Costs have no unit: loss weights of 0.001 and of 1000 ask for the same matching.
    """
    cost = case.costs[0]
    allowance = total_allowance(cost, case.configuration.dtype)
    for power in (-40, 40):
        how = f"with all costs multiplied by 2^{power}"
        _require_same_optimum(component, case, how, cost, cost * 2.0**power, allowance)


def _require_same_optimum(
    component: Build, case: CostCase, how: str, cost: Floats, changed: Floats, allowance: float
) -> None:
    """Raises `Violation` unless the answers for two equivalent matrices cost the same in the first one."""
    dtype = case.configuration.dtype
    held = all((round_to(matrix, dtype) == matrix).all() for matrix in (cost, changed))
    premise(held, f"{dtype} cannot hold the matrix {how}")
    solver = component(case.configuration)
    before = total_of("the assignment", solver.solve(cost).value, cost)
    after = total_of(f"the assignment {how}", solver.solve(changed).value, cost)
    require_same_total(f"the assignment {how} has another total", after, before, allowance, cost)


@invariant(
    "assignment.empty",
    number="S5",
    formula="[0, m] and [n, 0] → no pairs",
    source=SOURCE,
    breaks="a minimum over nothing; an answer with −1 for every row; an error",
    cases=cost_cases(regimes=("empty",)),
    rarity=3,
)
def empty(component: Build, case: CostCase) -> None:
    """A matrix without rows or without columns has an assignment without pairs.

    Images without objects occur in every data set.
    """
    solver = component(case.configuration)
    matching = solver.solve(case.costs[0]).value
    require_valid("the assignment of an empty matrix", matching, *case.costs[0].shape)
    _premise_two_pairs(solver)


def _premise_two_pairs(solver: Assignment) -> None:
    """Ends the check unless the solver gives two rows and two columns their two pairs."""
    try:
        require_valid("the assignment of two rows", solver.solve(np.eye(2)).value, 2, 2)
    except Violation as violation:
        raise PremiseFailed("larger matrices have no valid assignment") from violation


@invariant(
    "assignment.one-by-one",
    number="S5",
    formula="[1, 1] → {(0, 0)}, whatever the cost",
    source=SOURCE,
    breaks="dimensions of length 1 squeezed away; a pair left out because its cost is positive",
    cases=cost_cases(regimes=("one-by-one",)),
    rarity=3,
)
def one_by_one(component: Build, case: CostCase) -> None:
    """A matrix of one entry is answered with its one pair.

    A pair is matched however much it costs: the loss has no price for leaving a target out.
    """
    solver = component(case.configuration)
    require_valid("the assignment of one entry", solver.solve(case.costs[0]).value, 1, 1)
    _premise_two_pairs(solver)


@invariant(
    "assignment.ties",
    number="S6",
    formula="Σ C_ij = min, where many entries are equal",
    source=SOURCE,
    breaks="perturbations that break ties and change the order of what was not tied; endless cycling",
    cases=cost_cases(regimes=("tied",), size=CHOICE),
    rarity=3,
)
def ties(component: Build, case: CostCase) -> None:
    """The total is the minimum where many costs are equal.

    Early in training all queries predict nearly the same. Which optimum is chosen is open.
    """
    _optimal(component, case)


@invariant(
    "assignment.negative-costs",
    number="S6",
    formula="Σ C_ij = min, where every entry is negative",
    source=SOURCE,
    breaks="0 as the start of a minimum; costs clamped at 0; padding with 0, which attracts nothing here",
    cases=cost_cases(regimes=("negative",), size=CHOICE),
    rarity=3,
)
def negative_costs(component: Build, case: CostCase) -> None:
    """The total is the minimum where all costs are negative.

    A good prediction's cost is negative, for the class term and GIoU enter with a minus sign.
    """
    _optimal(component, case)


@invariant(
    "assignment.large-offset",
    number="S6",
    formula="Σ C_ij = min, for C = 2³⁰ + small differences in float64, 2¹² in float32",
    source=SOURCE,
    breaks="a float32 kernel behind a float64 interface; large numbers as marks",
    cases=cost_cases(regimes=("large-offset",), size=CHOICE),
    rarity=3,
)
def large_offset(component: Build, case: CostCase) -> None:
    """The total is the minimum where the costs share a large offset, within the rounding of their dtype.

    A diverging coordinate raises a whole column of costs, and the matching of the others must not suffer.
    """
    _optimal(component, case)


@invariant(
    "assignment.small-gaps",
    number="S6",
    formula="Σ C_ij = min, for entries that differ by a few to a few thousand spacings of the dtype",
    source=SOURCE,
    breaks="an absolute tolerance; a narrower dtype inside; duplicates dropped by rounding",
    cases=cost_cases(regimes=("near-resolution",), size=CHOICE),
    rarity=3,
)
def small_gaps(component: Build, case: CostCase) -> None:
    """The total is the minimum where costs differ little, within the rounding of their dtype.

    Crowds of nearly equal boxes give such costs, and there the matching flickers between steps.
    """
    _optimal(component, case)
