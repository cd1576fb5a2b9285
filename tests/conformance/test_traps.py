"""Traps into which suites of this kind have fallen: each way to pass without having been judged is closed."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from detr_conformance import Verdict, check, conformance_tests, torch_implementation
from detr_conformance.base.errors import UsageError
from detr_conformance.implementations.reference import detr_matcher
from detr_conformance.judging.judge import judge
from detr_spec.cases import CostCase
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.invariants.shared import same_pairs
from detr_spec.profiles import DETR
from detr_spec.violation import NotProvided, require

Toy = Callable[..., Invariant]
SolverOf = Callable[..., Implementation]


def ask(component: Any, case: CostCase) -> None:
    component(case.configuration).solve(case.costs[0])


def test_what_is_not_provided_for_some_cases_does_not_hold_by_the_others(toy: Toy, right: Implementation) -> None:
    def at_times(component: Any, case: CostCase) -> None:
        if len(case.costs[0]) % 2:
            raise NotProvided("nothing for odd numbers of rows")
        ask(component, case)

    judgement = judge(toy(at_times), right)
    assert judgement.fired > 0
    assert (judgement.verdict, judgement.message) == (Verdict.NOT_PROVIDED, "nothing for odd numbers of rows")


def test_a_report_counts_what_is_not_provided_apart(right: Implementation) -> None:
    (item,) = check(right, invariants=["S1", "M1", "B1"], examples=3).implementations
    assert item.counts[Verdict.HOLDS] == len(find_invariants("S1"))
    assert item.counts[Verdict.NOT_PROVIDED] == len(find_invariants("M1")) + len(find_invariants("B1"))


def test_an_implementation_of_nothing_has_passed_nothing() -> None:
    with pytest.raises(UsageError, match="nothing that was chosen is asked of nothing: it provides nothing"):
        check(Implementation(name="nothing", profile=DETR))


INVARIANT_MODULES = [import_module(name) for name in sorted({item.check.__module__ for item in all_invariants()})]


@pytest.mark.parametrize("item", all_invariants(), ids=lambda item: item.id)
def test_a_check_returns_nothing_that_a_judge_would_have_to_look_at(item: Invariant) -> None:
    (check_itself,) = ast.parse(textwrap.dedent(inspect.getsource(item.check))).body
    assert not [node for node in own_nodes(check_itself) if isinstance(node, ast.Return) and node.value is not None]


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What a function consists of, without the functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from own_nodes(child)


def dropped_truths(source: str, names: Mapping[str, Any]) -> list[str]:
    """The statements whose truth nobody looks at: comparisons, and calls of NumPy or of what returns a bool."""
    dropped = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)]
    return [ast.unparse(value) for value in dropped if is_truth(value, names)]


def is_truth(value: ast.expr, names: Mapping[str, Any]) -> bool:
    if not isinstance(value, ast.Call):
        return not isinstance(value, (ast.Constant, ast.Yield, ast.YieldFrom))
    if isinstance(value.func, ast.Name):
        function = names.get(value.func.id)
        return getattr(function, "__annotations__", {}).get("return") in (bool, "bool")
    return isinstance(value.func, ast.Attribute) and ast.unparse(value.func.value) == "np"


@pytest.mark.parametrize("module", INVARIANT_MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_no_comparison_is_made_and_not_looked_at(module: Any) -> None:
    assert dropped_truths(inspect.getsource(module), vars(module)) == []


@pytest.mark.parametrize("statement", ["a == b", "not a", "np.allclose(a, b)", "same_pairs(a, b)"])
def test_a_comparison_that_is_not_looked_at_is_seen(statement: str) -> None:
    assert dropped_truths(f"def check(a, b):\n    {statement}", {"same_pairs": same_pairs}) == [statement]
    assert dropped_truths(f"def check(a, b):\n    require({statement})", {"require": require}) == []


UNEXPECTED = """
from detr_conformance import conformance_tests
from subjects import RIGHT
test_conformance = conformance_tests(RIGHT, invariants=["assignment.valid-pairs"], ledger=["ledger.toml"])
"""


def test_a_violation_that_is_gone_fails_in_pytest_too(subjects: Path, ledger_of: Callable[..., Path]) -> None:
    ledger_of("right", "assignment.valid-pairs", reason="it was so once")
    (subjects.parent / "test_mine.py").write_text(UNEXPECTED)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--detr-spec-examples=3", "test_mine.py"],
        cwd=subjects.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(subjects.parent), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "UNEXPECTEDLY HOLDS: assignment.valid-pairs" in done.stdout
    assert "1 failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"invariants": ["assignment.valid-pair"]}, "did you mean assignment.valid-pairs"),
        ({"components": ["asignment"]}, "did you mean assignment"),
        ({"components": ["matcher"]}, "right provides no matcher"),
        ({"profile": "deformable"}, "right declares no profile deformable"),
        ({"ledger": ["missing.toml"]}, "missing.toml cannot be read"),
    ],
)
def test_what_is_misspelt_or_missing_collects_no_empty_test(
    right: Implementation, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        conformance_tests(right, **arguments)


def test_pytest_collects_an_item_for_every_invariant(right: Implementation) -> None:
    (mark,) = conformance_tests(right).pytestmark  # type: ignore[attr-defined]
    assert [parameter.id for parameter in mark.args[1]] == [item.id for item in all_invariants()]


class Careless(torch.nn.Module):
    """A matcher that leaves its settings behind for whoever comes next."""

    def __init__(self, matcher: torch.nn.Module, seen: list[Any]) -> None:
        super().__init__()
        self.matcher = matcher
        self.seen = seen

    def forward(self, outputs: Any, targets: Any) -> Any:
        self.seen.append(global_state())
        answer = self.matcher(outputs, targets)
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        torch.set_num_threads(2)
        torch.manual_seed(len(self.seen))
        np.random.seed(len(self.seen))
        return answer


def global_state() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.get_rng_state().sum().item(),
        int(np.random.get_state()[1].sum()),  # type: ignore[index]
    )


def test_settings_that_an_implementation_changes_reach_no_case_and_no_caller() -> None:
    seen: list[Any] = []
    careless = torch_implementation(name="careless", profile="detr", matcher=lambda c: Careless(detr_matcher(c), seen))
    before = global_state()
    (invariant,) = find_invariants("matcher.optimal-cost")
    judgement = judge(invariant, careless, examples=20)
    assert judgement.verdict is Verdict.HOLDS, judgement.message
    assert len(seen) == judgement.examples
    assert len(set(seen)) == 1
    assert global_state() == before


def test_a_judgement_is_the_same_after_one_that_left_settings_behind(right: Implementation) -> None:
    (invariant,) = find_invariants("matcher.optimal-cost")
    plain = torch_implementation(name="plain", profile="detr", matcher=detr_matcher)
    careless = torch_implementation(name="careless", profile="detr", matcher=lambda c: Careless(detr_matcher(c), []))
    alone = judge(invariant, plain, examples=20)
    judge(invariant, careless, examples=5)
    again = judge(invariant, plain, examples=20)
    for item in (alone, again):
        assert (item.verdict, item.examples, item.fired) == (Verdict.HOLDS, alone.examples, alone.fired)


def test_what_depends_on_the_case_before_is_called_not_repeatable(solver_of: SolverOf) -> None:
    """An answer kept from an earlier call is wrong for one case and right when that case is asked again."""
    kept: list[Any] = []

    def stale(cost: Any) -> Any:
        answer = linear_sum_assignment(cost)
        late = kept[-1] if kept and len(kept[-1][0]) == len(answer[0]) else answer
        kept.append(answer)
        return late

    (invariant,) = find_invariants("assignment.optimal-total")
    judgement = judge(invariant, solver_of(stale))
    assert judgement.verdict is Verdict.VIOLATED
    assert judgement.message.startswith("not repeatable, the same case failed once and passed once")
