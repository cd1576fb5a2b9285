"""Judges one invariant of one implementation in this process: draws cases, runs the check, shrinks what fails."""

from __future__ import annotations

import hashlib
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import hypothesis
from detr_spec.cases import plain
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.violation import NotProvided, PremiseFailed, Raised, Violation
from hypothesis import HealthCheck, Phase, settings

from detr_conformance.verdict import Counterexample, Judgement, Verdict

DEFAULT_EXAMPLES = 100
DEFAULT_SEED = 0


class _Failed(Exception):
    """The one exception that Hypothesis sees for a failing case, so that shrinking may move between failures of a kind."""


class _Errored(_Failed):
    """As above, for a case on which something raised instead of disagreeing."""


@dataclass
class _Run:
    """What happened while the cases of one invariant were run."""

    examples: int = 0
    fired: int = 0
    failing_case: Any = None
    failure: Exception | None = None
    not_provided: str | None = None


def invariant_seed(seed: int, id: str) -> int:
    """The seed of one invariant, from the run's seed and the invariant's id, so that it does not depend on the others."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{id}".encode()).digest()[:8], "big")


def judge(
    invariant: Invariant,
    implementation: Implementation,
    *,
    examples: int = DEFAULT_EXAMPLES,
    seed: int = DEFAULT_SEED,
) -> Judgement:
    """The judgement of one invariant on an implementation; never raises for what the implementation does."""
    blank = Judgement(invariant.id, invariant.number, invariant.level.value, invariant.component, Verdict.HOLDS)
    if not invariant.applies(implementation.profile):
        message = f"does not apply to profile {implementation.profile.name}"
        return replace(blank, verdict=Verdict.NOT_APPLICABLE, message=message)
    try:
        component = implementation.component(invariant.component)
    except NotProvided as missing:
        return replace(blank, verdict=Verdict.NOT_PROVIDED, message=str(missing))
    start = time.perf_counter()
    run = _Run()
    domain = Domain(implementation.profile, implementation.limits)
    flaky = _search(invariant, domain, component, run, examples, seed)
    if run.failure is not None and not flaky:
        readable = _Run()
        _search(invariant, replace(domain, small=True), component, readable, examples, seed)
        if type(readable.failure) is type(run.failure):
            run.failing_case, run.failure = readable.failing_case, readable.failure
    seconds = time.perf_counter() - start
    return replace(_concluded(blank, run, flaky), examples=run.examples, fired=run.fired, seconds=seconds)


def _search(
    invariant: Invariant,
    domain: Domain,
    component: Callable[[Configuration], Any],
    run: _Run,
    examples: int,
    seed: int,
) -> bool:
    """Runs the cases and leaves the smallest failing one in `run`; whether a case failed and then did not."""

    @hypothesis.seed(invariant_seed(seed, invariant.id))
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @hypothesis.given(case=invariant.cases(domain))
    def run_case(case: Any) -> None:
        if run.not_provided is not None:
            return
        run.examples += 1
        try:
            invariant.check(component, case)
            run.fired += 1
        except PremiseFailed:
            return
        except NotProvided as missing:
            run.not_provided = str(missing)
        except Violation as violation:
            run.failing_case, run.failure = case, violation
            raise _Failed from violation
        except Exception as error:
            run.failing_case, run.failure = case, error
            raise _Errored from error

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run_case()
        except _Failed:
            return False
        except hypothesis.errors.Flaky:
            return True
    return False


def _concluded(blank: Judgement, run: _Run, flaky: bool) -> Judgement:
    if run.not_provided is not None:
        return replace(blank, verdict=Verdict.NOT_PROVIDED, message=run.not_provided)
    if run.failure is None:
        if run.fired == 0:
            return replace(blank, verdict=Verdict.VACUOUS, message="no case met the premise")
        return blank
    failure = run.failure
    case = plain(run.failing_case)
    if isinstance(failure, Violation):
        numbers = [plain(part) for part in (failure.expected, failure.got, failure.allowance, dict(failure.details))]
        message = failure.message
        if flaky:
            message = f"not repeatable, the same case failed once and passed once: {message}"
        return replace(
            blank, verdict=Verdict.VIOLATED, message=message, counterexample=Counterexample(case, *numbers)
        )
    if isinstance(failure, Raised):
        message = f"the implementation raised {failure}"
        details = {"traceback": "".join(traceback.format_exception(failure.error))}
    else:
        message = f"the check itself raised {type(failure).__name__}: {failure}"
        details = {"traceback": "".join(traceback.format_exception(failure))}
    return replace(
        blank, verdict=Verdict.ERROR, message=message, counterexample=Counterexample(case, details=details)
    )
