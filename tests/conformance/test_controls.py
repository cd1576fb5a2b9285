"""No law holds for what answers nothing, or always the same; no refusal is seen in what refuses everything."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis
import numpy as np
import pytest
from degenerate import alike, altering, boldly, degenerate, detached, emptied, filled, raising, raising_from_then_on
from judging import drawing

from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_conformance.implementations.solver import solver
from detr_conformance.judging.judge import judge
from detr_conformance.judging.variety import MANY, Variety
from detr_spec.declarable import declarable_values, drawn_profile, parts
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.violation import NotProvided, PremiseFailed, Raised, Violation

SOLVER = numpy_implementation(name="solver", solver=solver, batch_solver=lambda costs: [solver(cost) for cost in costs])

PROFILES = [DETR, DEFORMABLE, *map(drawn_profile, range(100))]
"""Between them every invariant applies."""

DEGENERATE: dict[str, Callable[[], Any]] = {
    "raises": lambda: raising,
    "answers zeros": lambda: altering(filled(0.0)),
    "answers NaN": lambda: altering(filled(np.nan)),
    "answers nothing": lambda: altering(emptied),
    "answers the first answer again": alike,
    "is connected to nothing": lambda: altering(detached),
}

TRAINING = ("gradients.learnability",)
"""Takes seconds a case, and is violated by what does not learn."""


def invariants() -> list[Invariant]:
    return [item for item in all_invariants() if item.id not in TRAINING]


def subject_of(item: Invariant) -> Implementation:
    """A right implementation that an invariant applies to."""
    right = declared_implementation(next(profile for profile in PROFILES if item.applies(profile)))
    return replace(right, assignment=SOLVER.assignment)


def drawn(item: Invariant, subject: Implementation, count: int) -> list[Any]:
    cases: list[Any] = []
    domain = Domain(subject.profile, subject.limits.of(item.component), small=True)

    @hypothesis.seed(0)
    @drawing(count)
    @hypothesis.given(item.cases(domain))
    def draw(case: Any) -> None:
        cases.append(case)

    draw()
    return cases


def verdict(item: Invariant, subject: Implementation, cases: list[Any]) -> Verdict:
    """As `judge` gives it, on these cases, without the search for the smallest; as if they were many.

    One case alone does not show what answers all alike.
    """
    variety = Variety()
    component, fired = variety.watched(subject.component(item.component)), 0
    for case in cases:
        try:
            item.check(component, case)
        except PremiseFailed:
            continue
        except NotProvided:
            return Verdict.NOT_PROVIDED
        except Violation:
            return Verdict.VIOLATED
        except Raised:
            return Verdict.ERROR
        fired += 1
    return Verdict.HOLDS if fired > 1 and not variety.is_lacking(MANY) else Verdict.VACUOUS


@pytest.mark.parametrize("item", invariants(), ids=lambda item: item.id)
def test_nothing_holds_for_what_answers_nothing(item: Invariant) -> None:
    right = subject_of(item)
    cases = drawn(item, right, 3)
    for name, respond in DEGENERATE.items():
        if name == "is connected to nothing" and item.component != "gradients":
            continue
        subject = boldly(degenerate(right, respond()))
        assert verdict(item, subject, cases) is not Verdict.HOLDS, name


def reached(check: Callable[..., Any]) -> set[str]:
    """The names that a check uses, itself or by way of functions of the invariants."""
    names: set[str] = set()
    waiting = [check]
    while waiting:
        new = set(waiting.pop().__code__.co_names) - names
        names |= new
        own = [item for name in new if inspect.isfunction(item := check.__globals__.get(name))]
        waiting += [function for function in own if function.__module__.startswith("detr_spec.invariants")]
    return names


def refusing(rules: Any) -> Any:
    """A profile, or a part of it, that refuses whatever one can refuse."""
    kind: Any = type(rules)
    own = {name: "refuse" for name, values in declarable_values(kind).items() if "refuse" in values}
    return replace(rules, **own, **{name: refusing(getattr(rules, name)) for name in parts(kind)})


REFUSALS = [item for item in all_invariants() if "require_refusal" in reached(item.check)]


def test_refusals_are_found_by_what_they_call() -> None:
    assert {item.component for item in REFUSALS} == {"boxes", "assignment", "matcher", "criterion", "postprocess"}
    assert {item.id for item in all_invariants() if item.id.endswith("-refused")} <= {item.id for item in REFUSALS}


@pytest.mark.parametrize("item", REFUSALS, ids=lambda item: item.id)
def test_a_refusal_is_seen_beside_an_answer_alone(item: Invariant) -> None:
    profile = next(profile for profile in (refusing(DEFORMABLE), refusing(DETR)) if item.applies(profile))
    right = replace(declared_implementation(profile), assignment=SOLVER.assignment)
    cases = drawn(item, right, 8)
    assert verdict(item, right, cases) is Verdict.HOLDS
    assert verdict(item, boldly(right), cases) is Verdict.VIOLATED
    for respond in (raising, raising_from_then_on()):
        assert verdict(item, degenerate(right, respond), cases) is Verdict.ERROR


def test_the_judge_knows_nothing_of_what_answers_all_alike() -> None:
    (item,) = find_invariants("criterion.query-order")
    zeros = degenerate(IMPLEMENTATIONS[0], altering(filled(0.0)))
    assert judge(item, zeros, examples=20).verdict is Verdict.VACUOUS


def test_of_few_cases_a_right_answer_may_be_the_same() -> None:
    (item,) = find_invariants("assignment.valid-pairs")
    assert judge(item, SOLVER, examples=2).verdict is Verdict.HOLDS
