"""Judges one invariant of one implementation in this process."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from typing import Any

from hypothesis.database import ExampleDatabase

from detr_conformance.database import Part, opened
from detr_conformance.isolation import MOMENT
from detr_conformance.search import Search, search
from detr_conformance.stopwatch import Stopwatch
from detr_conformance.testee.ended import Ended
from detr_conformance.tracebacks import check_traceback, implementation_traceback
from detr_conformance.vectors.vector import counterexample_document
from detr_conformance.verdict import Counterexample, Judgement, Verdict
from detr_spec.cases import plain
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.violation import Raised, RankFailure, Violation

DEFAULT_EXAMPLES = 100
DEFAULT_SEED = 0
DEFAULT_DEVICE = "cpu"

SMALL_SEARCHES = 3
"""How often a smaller failing case is looked for, each time from another start."""

FEW = 2
"""How many images, queries and targets the smallest cases have that are looked for."""


def blank_judgement(invariant: Invariant, verdict: Verdict, message: str = "") -> Judgement:
    """A judgement that rests on no case."""
    return Judgement(
        id=invariant.id,
        number=invariant.number,
        level=invariant.level.value,
        component=invariant.component,
        statement=invariant.statement,
        verdict=verdict,
        message=message,
    )


def not_asked(invariant: Invariant, implementation: Implementation) -> Judgement | None:
    """The judgement of an invariant that does not concern the implementation; None where it does."""
    if not invariant.applies(implementation.profile):
        message = f"does not apply to profile {implementation.profile.name}"
        return blank_judgement(invariant, Verdict.NOT_APPLICABLE, message)
    if invariant.component not in implementation.components:
        message = f"{implementation.name} provides no {invariant.component}"
        return blank_judgement(invariant, Verdict.NOT_PROVIDED, message)
    return None


def judge(
    invariant: Invariant,
    implementation: Implementation,
    *,
    examples: int = DEFAULT_EXAMPLES,
    seed: int = DEFAULT_SEED,
    device: str = DEFAULT_DEVICE,
    database: tuple[str, ...] = (),
) -> Judgement:
    """The judgement of one invariant on an implementation; never raises for what the implementation does.

    The same arguments give the same judgement, save the times, whatever ran before. Global state is left as
    it was. database: locations of what failed before, which is run first; what fails is kept there, and then the
    judgement depends on what is there.
    """
    unasked = not_asked(invariant, implementation)
    if unasked is not None:
        return unasked
    MOMENT.judgement += 1
    start = time.perf_counter()
    stopwatch = Stopwatch()
    domain = Domain(implementation.profile, implementation.limits.of(invariant.component), device=device)
    component = stopwatch.watched(implementation.component(invariant.component))
    kept = opened(database)
    part = kept and Part(kept, [implementation.name, implementation.profile.name, invariant.id])
    judgement = _judged(invariant, domain, component, examples, seed, part)
    seconds = time.perf_counter() - start
    return replace(judgement, seconds=seconds, implementation_seconds=stopwatch.seconds)


def _judged(
    invariant: Invariant, domain: Domain, component: Any, examples: int, seed: int, database: ExampleDatabase | None
) -> Judgement:
    try:
        cases = invariant.case_count(examples)
        found = search(invariant, domain, component, cases, seed, database)
        if found.failure is not None and not found.not_repeatable and found.unanswered is None:
            with contextlib.suppress(Ended):
                _seek_smaller(invariant, domain, component, found, cases, seed)
    except Ended as ended:
        case = Counterexample(_data(ended.case))
        return replace(blank_judgement(invariant, ended.verdict, ended.message), counterexample=case)
    except Exception as error:
        return replace(
            blank_judgement(invariant, Verdict.ERROR, f"drawing the cases raised {_named(error)}"),
            counterexample=Counterexample(None, details={"traceback": check_traceback(error)}),
        )
    return concluded(invariant, found, seed)


def _seek_smaller(
    invariant: Invariant, domain: Domain, component: Any, found: Search, examples: int, seed: int
) -> None:
    """Puts the smallest failure of the same kind into `found` that more searches, of small cases, find.

    Shrinking can end in a case from which no single step leads on; a search from elsewhere often does not. Sets of few
    are searched first, and larger ones where no set of few fails.
    """
    for most in (FEW, None):
        failed = False
        for attempt in range(SMALL_SEARCHES):
            small = search(invariant, replace(domain, small=True, most=most), component, examples, seed + attempt)
            found.examples += small.examples
            found.fired += small.fired
            found.dtypes += small.dtypes
            if type(small.failure) is type(found.failure) and not small.not_repeatable:
                failed = True
                if _length(small.failing_case) < _length(found.failing_case):
                    found.failing_case, found.failure = small.failing_case, small.failure
        if failed:
            return


def _length(case: Any) -> int:
    return len(json.dumps(_data(case)))


def concluded(invariant: Invariant, found: Search, seed: int) -> Judgement:
    """The judgement that follows from a search, which began with that seed."""
    if found.failure is not None:
        judgement = _failed(invariant, found, found.failure, seed)
    elif found.not_provided is not None:
        judgement = blank_judgement(invariant, Verdict.NOT_PROVIDED, found.not_provided)
    elif found.unanswered is not None:
        judgement = blank_judgement(invariant, Verdict.VACUOUS, f"not judged, as {found.unanswered}")
    elif found.fired == 0:
        judgement = blank_judgement(invariant, Verdict.VACUOUS, "no case met the premise")
    else:
        judgement = blank_judgement(invariant, Verdict.HOLDS)
    return replace(judgement, examples=found.examples, fired=found.fired, dtypes=dict(sorted(found.dtypes.items())))


def _failed(invariant: Invariant, found: Search, failure: Exception, seed: int) -> Judgement:
    verdict, details = Verdict.ERROR, {}
    vector = counterexample_document(invariant, found.failing_case, seed)
    counterexample = Counterexample(_data(found.failing_case), vector=vector)
    if isinstance(failure, Violation):
        verdict, message = Verdict.VIOLATED, failure.message
        counterexample = replace(
            counterexample,
            expected=_data(failure.expected),
            got=_data(failure.got),
            allowance=_data(failure.allowance),
        )
        details = dict(failure.details)
    elif isinstance(failure, Raised):
        message = f"the implementation raised {_named(failure.error)}"
        details = {"traceback": implementation_traceback(failure.error)}
    elif isinstance(failure, RankFailure):
        message = str(failure)
    else:
        message = f"the check itself raised {_named(failure)}"
        details = {"traceback": check_traceback(failure)}
    if found.not_repeatable:
        message = f"not repeatable, the same case failed once and passed once: {message}"
    return replace(
        blank_judgement(invariant, verdict, message),
        counterexample=replace(counterexample, details=_data(details)),
    )


def _named(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _data(value: Any) -> Any:
    """`value` as JSON gives it back, so that it is the same from a worker, in a file and in memory."""
    return json.loads(json.dumps(plain(value), default=repr, allow_nan=False))
