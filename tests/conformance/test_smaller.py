"""What was found stays found, whatever becomes of the search for a smaller case."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.judge import judge
from detr_conformance.judging.search import Search
from detr_conformance.judging.smaller import Smaller
from detr_conformance.testee.bounds import BOUNDS
from detr_conformance.testee.ended import Ended
from detr_spec.cases import CostCase
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.violation import require

Toy = Callable[..., Invariant]


def computing(seconds: float) -> None:
    """Uses that much processor time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize(("wait", "processor"), [(computing, True), (time.sleep, False)], ids=["computes", "sleeps"])
def test_the_search_for_a_smaller_case_ends_in_time(
    toy: Toy, right: Implementation, monkeypatch: pytest.MonkeyPatch, wait: Callable[[float], None], processor: bool
) -> None:
    monkeypatch.setattr(BOUNDS, "seconds", 1.0 if processor else 0.2)
    failures = []

    def slow(component: Any, case: CostCase) -> None:
        if case.costs[0].size > 6:
            failures.append(case)
            wait(0.1)
        require(case.costs[0].size <= 6, "too large")

    start = time.monotonic()
    judgement = judge(toy(slow), right)
    assert judgement.verdict is Verdict.VIOLATED
    assert len(failures) < 20
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("ending", [Ended(Verdict.TIMED_OUT, "late"), MemoryError()], ids=["ended", "no memory"])
def test_what_ends_the_search_for_a_smaller_case_takes_nothing_away(
    toy: Toy, right: Implementation, monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    """MemoryError stands for whatever may be raised outside of the check, where no case is accused."""
    calls: list[int] = []

    def large(component: Any, case: CostCase) -> None:
        calls.append(case.costs[0].size)
        if len(calls) > 1 and isinstance(ending, Ended):
            raise ending
        require(case.costs[0].size < 1, "too large")

    if not isinstance(ending, Ended):
        monkeypatch.setattr(Smaller, "seek", lambda *_: (_ for _ in ()).throw(ending))
    judgement = judge(toy(large), right)
    assert (judgement.verdict, judgement.message) == (Verdict.VIOLATED, "too large")


def test_what_is_found_is_told_before_it_is_made_smaller(toy: Toy, right: Implementation) -> None:
    seen: list[tuple[Judgement, int]] = []
    calls: list[int] = []

    def large(component: Any, case: CostCase) -> None:
        calls.append(1)
        require(case.costs[0].size < 3, "too large")

    last = judge(toy(large), right, tell=lambda judgement: seen.append((judgement, len(calls))))
    first, so_far = seen[0]
    assert (first.verdict, first.message, first.examples) == (last.verdict, last.message, so_far)
    assert so_far < len(calls)
    assert first.counterexample is not None
    assert first.counterexample.vector is not None


def test_failing_cases_are_told_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told: list[float] = []
    smaller = Smaller(60, lambda: 0.0, lambda _: told.append(now[0]))
    for second in (0, 0.5, 0.9, 1.1, 1.2, 2.3):
        now[0] = 100.0 + second
        smaller.failed(Search())
    assert told == [100.0, 101.1, 102.3]
