"""Every verdict that one invariant can end with in this process, and what comes with it."""

from __future__ import annotations

import json
import random
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.encoding.reports import plain
from detr_conformance.implementations.resolve import resolve
from detr_conformance.judging.judge import judge
from detr_spec.cases import CostCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Invariant
from detr_spec.invariants import find_invariants
from detr_spec.profiles import DETR
from detr_spec.violation import NotProvided, PremiseFailed, RankFailure, Violation, premise, require

Toy = Callable[..., Invariant]
SolverOf = Callable[..., Implementation]


def ask(component: Any, case: CostCase) -> None:
    """Asks for an answer, whatever it is."""
    for cost in case.costs:
        component(case.configuration).solve(cost)


def without_times(judgement: Judgement) -> Judgement:
    return replace(judgement, seconds=0.0, implementation_seconds=0.0)


def test_what_holds_holds_with_its_evidence(toy: Toy, right: Implementation) -> None:
    judgement = judge(toy(ask), right, examples=20)
    assert judgement.verdict is Verdict.HOLDS
    assert (judgement.examples, judgement.fired) == (20, 20)
    assert (judgement.id, judgement.number, judgement.level) == ("assignment.toy", "S1", "MUST")
    assert 0 < judgement.implementation_seconds < judgement.seconds


def test_a_violation_comes_with_the_smallest_case_and_its_numbers(toy: Toy, right: Implementation) -> None:
    def few(component: Any, case: CostCase) -> None:
        rows = len(case.costs[0])
        require(rows < 3, "too many rows", expected="below 3", got=rows, allowance=0.5, columns=np.array([np.nan]))

    judgement = judge(toy(few), right)
    assert judgement.verdict is Verdict.VIOLATED
    assert judgement.message == "too many rows"
    found = judgement.counterexample
    assert found is not None
    assert (found.expected, found.got, found.allowance) == ("below 3", 3, 0.5)
    assert found.details == {"columns": ["nan"]}
    assert len(found.case["costs"][0]) == 3
    assert found.case["configuration"]["profile"] == "detr"
    json.dumps(found.case, allow_nan=False)


def test_shrinking_moves_between_the_messages_of_one_invariant(toy: Toy, right: Implementation) -> None:
    def large_or_small(component: Any, case: CostCase) -> None:
        size = case.costs[0].size
        if size > 12:
            raise Violation("large")
        require(size < 2, "small")

    judgement = judge(toy(large_or_small), right)
    assert judgement.message == "small"
    assert judgement.counterexample is not None
    assert np.size(judgement.counterexample.case["costs"][0]) == 2


def test_a_premise_that_never_fires_is_vacuous(toy: Toy, right: Implementation) -> None:
    judgement = judge(toy(lambda component, case: premise(False, "never")), right, examples=10)
    assert judgement.verdict is Verdict.VACUOUS
    assert (judgement.examples, judgement.fired) == (10, 0)


def test_a_premise_that_fires_at_times_is_counted(toy: Toy, right: Implementation) -> None:
    judgement = judge(toy(lambda component, case: premise(case.costs[0].size > 4, "small")), right)
    assert judgement.verdict is Verdict.HOLDS
    assert 0 < judgement.fired < judgement.examples


def test_what_does_not_apply_is_not_asked(toy: Toy, right: Implementation) -> None:
    judgement = judge(toy(ask, applies=lambda profile: False), right)
    assert judgement.verdict is Verdict.NOT_APPLICABLE
    assert judgement.message == "does not apply to profile detr"
    assert judgement.examples == 0


def test_a_component_that_is_missing_is_not_provided(toy: Toy, right: Implementation) -> None:
    judgement = judge(toy(ask, component="matcher"), right)
    assert judgement.verdict is Verdict.NOT_PROVIDED
    assert judgement.message == "right provides no matcher"


def test_a_part_that_turns_out_to_be_missing_is_not_provided(toy: Toy, right: Implementation) -> None:
    def needs_batch(component: Any, case: CostCase) -> None:
        if component(case.configuration).solve_batch is None:
            raise NotProvided("no batch solver")

    judgement = judge(toy(needs_batch), right)
    assert judgement.verdict is Verdict.NOT_PROVIDED
    assert judgement.message == "no batch solver"


def test_a_failure_counts_more_than_a_part_that_some_cases_miss(toy: Toy, right: Implementation) -> None:
    def at_times(component: Any, case: CostCase) -> None:
        if len(case.costs[0]) % 2:
            raise NotProvided("nothing for odd numbers of rows")
        require(len(case.costs[0]) < 2, "too many rows")

    judgement = judge(toy(at_times), right)
    assert judgement.verdict is Verdict.VIOLATED
    assert judgement.message == "too many rows"


def no_answer(cost: Any) -> Any:
    raise IndexError("no answer")


def leave(cost: Any) -> Any:
    sys.exit("enough")


class Unusual(BaseException):
    """Neither an exception nor the user's interrupt."""


def unusual(cost: Any) -> Any:
    raise Unusual("unusual")


@pytest.mark.parametrize(
    ("solver", "told"),
    [(no_answer, "IndexError: no answer"), (leave, "SystemExit: enough"), (unusual, "Unusual: unusual")],
)
def test_what_the_implementation_raises_for_some_cases_is_an_error(
    toy: Toy, solver_of: SolverOf, solver: Callable[..., Any], told: str
) -> None:
    def solve(cost: Any) -> Any:
        return solver(cost) if cost.size > 1 else linear_sum_assignment(cost)

    judgement = judge(toy(ask), solver_of(solve), examples=10)
    assert judgement.verdict is Verdict.ERROR
    assert judgement.message == f"the implementation raised {told}"
    assert judgement.counterexample is not None
    trace = judgement.counterexample.details["traceback"]
    assert solver.__name__ in trace
    assert "numpy_bridge" not in trace
    assert "hypothesis" not in trace


def test_a_factory_that_raises_whatever_it_is_given_cannot_be_called(toy: Toy, right: Implementation) -> None:
    def refuse(configuration: Any) -> Any:
        raise SystemExit(3)

    judgement = judge(toy(ask), replace(right, assignment=refuse), examples=5)
    assert judgement.verdict is Verdict.CANNOT_BE_CALLED
    assert judgement.message.startswith("the assignment cannot be built. Built from a configuration, it raised ")
    assert "SystemExit: 3" in judgement.message


def test_an_exception_of_the_check_itself_is_told_apart(toy: Toy, right: Implementation) -> None:
    def broken(component: Any, case: CostCase) -> None:
        raise KeyError("mistake in the check")

    judgement = judge(toy(broken), right, examples=5)
    assert judgement.verdict is Verdict.ERROR
    assert judgement.message.startswith("the check itself raised KeyError")


def test_an_exception_while_cases_are_drawn_is_an_error(toy: Toy, right: Implementation) -> None:
    def no_cases(domain: Any) -> Any:
        return st.integers().map(lambda number: 1 // 0)

    judgement = judge(toy(ask, cases=no_cases), right, examples=5)
    assert judgement.verdict is Verdict.ERROR
    assert "ZeroDivisionError" in judgement.message


def test_the_users_interrupt_is_not_swallowed(toy: Toy, solver_of: SolverOf) -> None:
    def interrupted(cost: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(toy(ask), solver_of(interrupted), examples=5)


def test_what_fails_once_and_passes_once_is_called_not_repeatable(toy: Toy, solver_of: SolverOf) -> None:
    calls: list[int] = []

    def moody(cost: Any) -> Any:
        calls.append(1)
        rows, columns = linear_sum_assignment(cost)
        return (rows, columns) if len(calls) % 7 else ([99], [99])

    def in_range(component: Any, case: CostCase) -> None:
        for cost in case.costs:
            matching = component(case.configuration).solve(cost).value
            require(99 not in matching.queries, "a row that does not exist")

    judgement = judge(toy(in_range), solver_of(moody))
    assert judgement.verdict is Verdict.VIOLATED
    assert judgement.message.startswith("not repeatable, the same case failed once and passed once: a row")


def test_hidden_randomness_is_made_repeatable(toy: Toy, solver_of: SolverOf) -> None:
    def random_solver(cost: Any) -> Any:
        rows, columns = linear_sum_assignment(cost)
        order = np.random.permutation(len(rows))
        return rows[order], columns[order]

    def ascending(component: Any, case: CostCase) -> None:
        matching = component(case.configuration).solve(case.costs[0]).value
        require(sorted(matching.queries) == list(matching.queries), "rows are not ascending")

    judgement = judge(toy(ascending), solver_of(random_solver))
    assert judgement.verdict is Verdict.VIOLATED
    assert judgement.message == "rows are not ascending"


def wrong_solvers() -> dict[str, Callable[..., Any]]:
    def mutating(cost: Any) -> Any:
        answer = linear_sum_assignment(cost)
        cost += 1
        return answer

    def alternating(cost: Any) -> Any:
        alternating.calls = getattr(alternating, "calls", 0) + 1  # type: ignore[attr-defined]
        rows, columns = linear_sum_assignment(cost)
        return (rows, columns if alternating.calls % 2 else columns[::-1])  # type: ignore[attr-defined]

    return {
        "mutating": mutating,
        "alternating": alternating,
        "nan": lambda cost: (np.full(min(cost.shape), np.nan),) * 2,
        "wrong type": lambda cost: "text",
        "wrong length": lambda cost: (np.arange(min(cost.shape)), np.arange(min(cost.shape) + 1)),
        "swapped": lambda cost: linear_sum_assignment(cost)[::-1],
        "nothing": lambda cost: None,
    }


@pytest.mark.parametrize("name", list(wrong_solvers()))
def test_a_wrong_answer_of_any_kind_is_violated_and_said(name: str, solver_of: SolverOf) -> None:
    wrong = solver_of(wrong_solvers()[name])
    invariants = [item for number in ("S1", "S2", "S9") for item in find_invariants(number)]
    verdicts = {item.id: judge(item, wrong, examples=15) for item in invariants}
    said = [item for item in verdicts.values() if item.verdict is Verdict.VIOLATED]
    assert said, [str(item.verdict) for item in verdicts.values()]
    assert all(item.message and item.counterexample for item in said)
    assert all(item.verdict in (Verdict.VIOLATED, Verdict.HOLDS, Verdict.VACUOUS) for item in verdicts.values())


def test_the_same_arguments_give_the_same_judgement(subjects: Path) -> None:
    (greedy,) = resolve(f"{subjects}:GREEDY")
    for invariant in find_invariants("S1") + find_invariants("S2"):
        random.seed()
        first, second = (without_times(judge(invariant, greedy, examples=50)) for _ in range(2))
        assert first == second


def test_the_seed_changes_the_cases(toy: Toy, right: Implementation) -> None:
    seen: dict[int, list[int]] = {0: [], 1: []}
    for seed, sizes in seen.items():
        judge(toy(lambda component, case, sizes=sizes: sizes.append(case.seed)), right, seed=seed, examples=30)
    assert seen[0] != seen[1]


def test_the_cases_do_not_depend_on_what_else_is_loaded(
    toy: Toy, right: Implementation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seeds() -> list[int]:
        drawn: list[int] = []
        cases = toy(ask).cases

        def check(component: Any, case: CostCase) -> None:
            drawn.append(case.seed)

        judge(
            toy(check, cases=lambda domain: st.tuples(cases(domain), st.integers(0, 10**9)).map(seeded)),
            right,
        )
        return drawn

    def seeded(pair: tuple[CostCase, int]) -> CostCase:
        return replace(pair[0], seed=pair[1])

    before = seeds()
    source = tmp_path / "full_of_numbers.py"
    source.write_text("\n".join(f"A{number} = {number}" for number in range(123456, 123956)))
    module = types.ModuleType("full_of_numbers")
    module.__file__ = str(source)
    exec(source.read_text(), module.__dict__)
    monkeypatch.setitem(sys.modules, "full_of_numbers", module)
    assert seeds() == before
    assert not set(before) & set(range(123456, 123956))


def test_limits_are_obeyed(toy: Toy, solver_of: SolverOf) -> None:
    seen = set()
    limited = solver_of(linear_sum_assignment, limits=Limits(dtypes=("float64",)))
    judge(toy(lambda component, case: seen.add(case.configuration.dtype)), limited, examples=20)
    assert seen == {"float64"}


def test_warnings_of_an_implementation_are_not_errors(toy: Toy, solver_of: SolverOf) -> None:
    def warning(cost: Any) -> Any:
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
        return linear_sum_assignment(cost)

    assert judge(toy(ask), solver_of(warning), examples=5).verdict is Verdict.HOLDS


def silent(case: CostCase) -> None:
    if case.costs[0].size > 4:
        raise RankFailure("rank 1 did not answer")


def test_a_rank_without_answer_ends_the_search_without_shrinking(toy: Toy, right: Implementation) -> None:
    asked: list[CostCase] = []

    def accuse(component: Any, case: CostCase) -> None:
        asked.append(case)
        try:
            silent(case)
        except RankFailure as failure:
            raise Violation(str(failure)) from failure

    judgement = judge(toy(accuse), right)
    assert (judgement.verdict, judgement.message) == (Verdict.VIOLATED, "rank 1 did not answer")
    assert judgement.counterexample is not None
    assert judgement.counterexample.case == plain(asked[-1])
    assert judgement.examples == len(asked) < 100


def test_a_premise_that_fails_for_a_rank_without_answer_is_no_evidence(toy: Toy, right: Implementation) -> None:
    def excuse(component: Any, case: CostCase) -> None:
        try:
            silent(case)
        except RankFailure as failure:
            raise PremiseFailed from failure

    judgement = judge(toy(excuse), right)
    assert judgement.verdict is Verdict.VACUOUS
    assert judgement.message == "not judged, as rank 1 did not answer"
    assert judgement.examples == judgement.fired + 1 < 100


def test_a_rank_without_answer_that_a_check_lets_through_is_an_error(toy: Toy, right: Implementation) -> None:
    judgement = judge(toy(lambda component, case: silent(case)), right)
    assert (judgement.verdict, judgement.message) == (Verdict.ERROR, "rank 1 did not answer")


def test_a_rank_without_answer_is_not_taken_for_an_exception_of_the_implementation() -> None:
    def ranks(_: Configuration) -> Any:
        raise RankFailure("rank 1 did not answer")

    item = Implementation(name="item", profile=DETR, distributed=ranks)
    with pytest.raises(RankFailure):
        item.component("distributed")(Configuration(profile=DETR))


def test_a_check_that_returns_its_finding_has_not_found_anything(
    toy: Callable[..., Invariant], right: Implementation
) -> None:
    """A comparison whose truth is returned, in place of an exception, would pass whatever it is."""
    judgement = judge(toy(lambda component, case: False), right, examples=5)
    assert judgement.verdict is Verdict.ERROR
    assert "returned False; expected nothing" in judgement.message
