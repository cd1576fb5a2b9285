"""Invariants of solvers: entries that are not finite, batches of problems, repeated calls. norm §3, S7–S9."""

from __future__ import annotations

from functools import partial

import numpy as np

from detr_spec.cases import CostCase
from detr_spec.implementation import Assignment
from detr_spec.invariant import invariant
from detr_spec.invariants.assignment import CHOICE, FEASIBLE, SOURCE, Build, require_same_total, total_of
from detr_spec.invariants.shared import require_refusal, require_unchanged, require_valid
from detr_spec.matching.assignment import lower_bound, solve, total_allowance
from detr_spec.profile import Profile
from detr_spec.strategies import cost_cases
from detr_spec.values import Floats, Matching
from detr_spec.violation import NotProvided, premise, require, require_equal


def refuses(profile: Profile) -> bool:
    """Dialects whose solver raises for NaN, for −inf, and where no finite assignment is left."""
    return profile.non_finite_costs == "refuse"


def forbids(profile: Profile) -> bool:
    """Dialects in which a cost of +inf forbids a pair."""
    return profile.non_finite_costs in ("refuse", "forbid")


def _require_entry_refused(component: Build, case: CostCase, entry: float) -> None:
    cost = case.costs[0].copy()
    cost.flat[case.generator("place").integers(cost.size)] = entry
    _require_cost_refused(f"a cost of {entry}", component, case, cost)


def _require_cost_refused(what: str, component: Build, case: CostCase, cost: Floats) -> None:
    """Raises `Violation` unless the cost matrix is refused by a solver that answers the case's own."""
    solver = component(case.configuration)
    require_refusal(what, sound=partial(solver.solve, case.costs[0]), broken=partial(solver.solve, cost))


@invariant(
    "assignment.nan-refused",
    number="S7",
    formula="C_ij = NaN for some (i, j) ⇒ the solver raises",
    source="norm §3: NaN is refused; [scipy] linear_sum_assignment",
    breaks="NaN replaced by a number; comparisons that are false for NaN, and so choose it",
    applies=refuses,
    cases=cost_cases(regimes=FEASIBLE),
    rarity=3,
)
def nan_refused(component: Build, case: CostCase) -> None:
    """A cost matrix with a NaN is refused, wherever it stands.

    A NaN cost is a broken prediction, and a matching around it hides that.
    """
    _require_entry_refused(component, case, np.nan)


@invariant(
    "assignment.minus-infinity-refused",
    number="S7",
    formula="C_ij = −∞ for some (i, j) ⇒ the solver raises",
    source="norm §3; [scipy] linear_sum_assignment",
    breaks="−∞ − (−∞) = NaN inside the solver; infinities of either sign replaced by the largest number",
    applies=refuses,
    cases=cost_cases(regimes=FEASIBLE),
    rarity=3,
)
def minus_infinity_refused(component: Build, case: CostCase) -> None:
    """A cost matrix with an entry of −∞ is refused.

    Its total is −∞ whatever the other pairs are, so nothing would be minimised among them.
    """
    _require_entry_refused(component, case, -np.inf)


def _partly_forbidden(case: CostCase) -> Floats:
    """The case's costs with +inf in a share of the entries, which leaves at least one assignment finite."""
    cost, chance = case.costs[0], case.generator("forbidden")
    forbidden = chance.random(cost.shape) < chance.choice([0.25, 0.5, 0.75])
    matched = min(cost.shape)
    rows, columns = (chance.permutation(size)[:matched] for size in cost.shape)
    forbidden[rows, columns] = False
    premise(bool(forbidden.any()), "no pair is forbidden")
    return np.where(forbidden, np.inf, cost)


@invariant(
    "assignment.infinity-forbids",
    number="S7",
    formula="C_ij = +∞ ⇒ (i, j) is not matched, and Σ C_ij = min over the assignments that are left",
    source="norm §3; [scipy] linear_sum_assignment",
    breaks="infinity replaced by a number that costs can exceed; ∞ − ∞ = NaN inside; a needless error",
    applies=forbids,
    cases=cost_cases(regimes=(*FEASIBLE, "huge"), size=CHOICE),
    rarity=3,
)
def infinity_forbids(component: Build, case: CostCase) -> None:
    """Where finite assignments are left, entries of +∞ are never matched, and the rest is minimised.

    It is how a matcher says that a query may not take a target.
    """
    cost, dtype = _partly_forbidden(case), case.configuration.dtype
    matching = component(case.configuration).solve(cost).value
    total = total_of("the assignment", matching, cost)
    require(total < np.inf, "a forbidden pair was matched", cost=cost, pairs=matching.pairs())
    bound = lower_bound(cost, solve(cost).prices)
    allowance = total_allowance(np.where(np.isinf(cost), 0.0, cost), dtype)
    require(
        total - bound <= allowance,
        "a cheaper assignment without forbidden pairs exists",
        expected=bound,
        got=total,
        allowance=allowance,
        cost=cost,
        pairs=matching.pairs(),
    )


@invariant(
    "assignment.infeasible-refused",
    number="S7",
    formula="every assignment has a pair with C_ij = +∞ ⇒ the solver raises",
    source="norm §3; [scipy] linear_sum_assignment",
    breaks="forbidden pairs matched in silence; fewer pairs returned; an endless search",
    applies=refuses,
    cases=cost_cases(regimes=FEASIBLE),
    rarity=3,
)
def infeasible_refused(component: Build, case: CostCase) -> None:
    """A cost matrix whose every assignment holds an entry of +∞ is refused.

    Otherwise a forbidden pair comes back as if it were a match.
    """
    cost, chance = case.costs[0].copy(), case.generator("infeasible")
    lines = cost if cost.shape[0] <= cost.shape[1] else cost.T
    first, *others = chance.permutation(len(lines))
    kept = lines[:, 0].copy()
    lines[first] = np.inf
    if others and chance.integers(2):
        lines[others[0]] = np.inf
        lines[:, 0] = kept
    _require_cost_refused("an infeasible cost matrix", component, case, cost)


def _batched(solver: Assignment, case: CostCase) -> tuple[Matching, ...]:
    """The assignments of all problems in one call; raises `NotProvided` where there is no such call."""
    if solver.solve_batch is None:
        raise NotProvided("the solver takes one cost matrix at a time")
    matchings = solver.solve_batch(case.costs).value
    count = len(case.costs)
    require_equal("a batch has a wrong number of answers", len(matchings), count)
    return matchings


BATCHES = cost_cases(regimes=("general", "huge"), problems=(2, 4), size=(0, 6))


@invariant(
    "assignment.batch-valid-pairs",
    number="S8",
    formula="for every problem of a batch: min(n_b, m_b) distinct pairs in its own range",
    source=SOURCE,
    breaks="padding matched; the longest problem's length used for all; an empty problem skipped",
    cases=BATCHES,
    rarity=3,
)
def batch_valid_pairs(component: Build, case: CostCase) -> None:
    """In a batch of problems of any sizes each gets min(n, m) pairs in its own range: no padding is matched.

    Images have different numbers of targets, so a batch is padded, which must not show in the answer.
    """
    for place, matching in enumerate(_batched(component(case.configuration), case)):
        require_valid(f"problem {place} of the batch", matching, *case.costs[place].shape)


@invariant(
    "assignment.batch-one-by-one",
    number="S8",
    formula="total of problem b in a batch = total of problem b alone",
    source=SOURCE,
    breaks="one problem's costs or prices used for the next; padding that is cheaper than a real pair",
    cases=BATCHES,
    rarity=3,
)
def batch_one_by_one(component: Build, case: CostCase) -> None:
    """Each problem of a batch has the total that it has alone.

    A solver made faster by solving together must answer what it answered one by one.
    """
    solver = component(case.configuration)
    for place, (matching, cost) in enumerate(zip(_batched(solver, case), case.costs, strict=True)):
        together = total_of(f"problem {place} of the batch", matching, cost)
        alone = total_of(f"problem {place} alone", solver.solve(cost).value, cost)
        allowance = total_allowance(cost, case.configuration.dtype)
        require_same_total(f"problem {place} has another total in a batch", together, alone, allowance, cost)


def _pairs(matching: Matching) -> list[tuple[object, object]]:
    return sorted(zip(matching.queries.tolist(), matching.targets.tolist(), strict=False))


@invariant(
    "assignment.repeatable",
    number="S9",
    formula="solve(C), solve(other), solve(C), solve(C): all of C have the same pairs",
    source=SOURCE,
    breaks="prices kept from the last problem; ties broken at random; buffers not cleared",
    cases=cost_cases(),
    rarity=3,
)
def repeatable(component: Build, case: CostCase) -> None:
    """The same cost matrix gives the same pairs again, whatever was solved in between.

    A run that cannot be repeated cannot be debugged.
    """
    solver, cost = component(case.configuration), case.costs[0]
    first = solver.solve(cost).value
    solver.solve(np.flip(cost))
    for _ in range(2):
        expected, got = _pairs(first), _pairs(solver.solve(cost).value)
        require(got == expected, "the same matrix was answered differently", expected=expected, got=got, cost=cost)


@invariant(
    "assignment.input-unchanged",
    number="S9",
    formula="C after the call = C before it",
    source=SOURCE,
    breaks="rows reduced in place; infinities or maxima written into the caller's matrix",
    cases=cost_cases(problems=(1, 3)),
    rarity=3,
)
def input_unchanged(component: Build, case: CostCase) -> None:
    """Solving leaves the cost matrix as it was, alone and in a batch.

    The costs are often shown or used again after the matching.
    """
    solver = component(case.configuration)
    require_unchanged(solver.solve(case.costs[0]))
    if solver.solve_batch is not None:
        require_unchanged(solver.solve_batch(case.costs))
