"""Judges one invariant of one implementation in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

from hypothesis.database import ExampleDatabase

from detr_conformance.base.isolation import MOMENT, restoring_component
from detr_conformance.base.text import cut
from detr_conformance.base.tracebacks import check_traceback, implementation_traceback
from detr_conformance.base.verdict import Counterexample, Judgement, Verdict
from detr_conformance.encoding.plain_data import LONGEST, plain_data, told
from detr_conformance.judging.database import Part, opened
from detr_conformance.judging.passed import numbers_built_with, other_call
from detr_conformance.judging.search import Component, Search, search
from detr_conformance.judging.smaller import Smaller
from detr_conformance.judging.uncallable import Doubt, Uncallable
from detr_conformance.judging.variety import Variety
from detr_conformance.processes.usage import own_processor_seconds
from detr_conformance.testee.bounds import BOUNDS
from detr_conformance.testee.ended import Ended
from detr_conformance.testee.stopwatch import Stopwatch
from detr_conformance.vectors.vector import counterexample_document
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.violation import Raised, RankFailure, Violation

DEFAULT_EXAMPLES = 30
DEFAULT_SEED = 0
DEFAULT_DEVICE = "cpu"

SMALLER_SECONDS = 60.0
"""The seconds of processor time that the search for a smaller case takes at most; half of the time limit, if less."""

ALIKE = "all was answered alike, so nothing is known"
"""Why nothing is known of an invariant that holds for answers that are all the same."""

Tell = Callable[[Judgement], None]
"""Called with what is known by now of an invariant that is violated, while a smaller case is searched for."""


def blank_judgement(invariant: Invariant, verdict: Verdict, message: str = "") -> Judgement:
    """A judgement that rests on no case."""
    return Judgement(
        id=invariant.id,
        number=invariant.number,
        level=invariant.level.value,
        component=invariant.component,
        statement=invariant.statement,
        verdict=verdict,
        message=cut(message, LONGEST),
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
    tell: Tell | None = None,
) -> Judgement:
    """The judgement of one invariant on an implementation; never raises for what the implementation does.

    The same arguments give the same judgement, save the times, whatever ran before. Global state is left as
    it was. database: locations of what failed before, which is run first; what fails is kept there, and then the
    judgement depends on what is there. tell: called with the judgement as it is known by then once a case fails, and
    while smaller ones are searched for.
    """
    unasked = not_asked(invariant, implementation)
    if unasked is not None:
        return unasked
    MOMENT.judgement += 1
    start = perf_counter()
    stopwatch = Stopwatch()
    domain = Domain(implementation.profile, implementation.limits.of(invariant.component), device=device)
    variety = Variety()
    doubt = Doubt(implementation, invariant.component, device)
    built = stopwatch.watched(restoring_component(implementation, invariant.component))
    component = variety.watched(doubt.calls.watched(built))
    kept = opened(database)
    part = kept and Part(kept, [implementation.name, implementation.profile.name, invariant.id])

    def timed(judgement: Judgement) -> Judgement:
        seconds = perf_counter() - start
        return replace(judgement, seconds=seconds, implementation_seconds=stopwatch.seconds)

    def tell_found(found: Search) -> None:
        if tell is not None:
            tell(timed(concluded(invariant, found, seed)))

    smaller = Smaller(min(SMALLER_SECONDS, BOUNDS.seconds / 2), own_processor_seconds, tell_found)
    judgement = _judged(invariant, domain, component, examples, seed, part, smaller, doubt)
    if judgement.verdict is Verdict.HOLDS and variety.is_lacking(judgement.fired):
        judgement = replace(judgement, verdict=Verdict.VACUOUS, message=ALIKE)
    return timed(judgement)


def _judged(
    invariant: Invariant,
    domain: Domain,
    component: Any,
    examples: int,
    seed: int,
    database: ExampleDatabase | None,
    smaller: Smaller,
    doubt: Doubt,
) -> Judgement:
    cases = invariant.case_count(examples)

    def over() -> bool:
        return smaller.over() or doubt.confirmed is not None

    try:
        found = search(invariant, domain, component, cases, seed, database, failed=smaller.failed, over=over)
        if doubt.confirmed is not None:
            return cannot_be_called(invariant, doubt.confirmed)
        if found.failure is not None and not found.not_repeatable and found.unanswered is None:
            smaller.seek(invariant, domain, component, found, cases, seed)
    except (Exception, Ended) as error:
        # What was found before is found, though it cannot be made smaller any more.
        if smaller.found is None:
            return _without_cases(invariant, error)
        why = error.message if isinstance(error, Ended) else told(error)
        return not_made_smaller(concluded(invariant, smaller.found, seed), why)
    return with_passed(concluded(invariant, found, seed), invariant, component, found)


def cannot_be_called(invariant: Invariant, why: Uncallable) -> Judgement:
    """The judgement of any invariant that asks what cannot be called; it rests on no case of its own."""
    judgement = blank_judgement(invariant, Verdict.CANNOT_BE_CALLED, why.message)
    return replace(judgement, counterexample=why.counterexample)


def not_made_smaller(judgement: Judgement, why: str) -> Judgement:
    """The judgement of a case that fails, which says why the search for a smaller one was ended."""
    assert judgement.counterexample is not None
    details = {**(judgement.counterexample.details or {}), "search": f"for a smaller case was ended: {why}"}
    return replace(judgement, counterexample=replace(judgement.counterexample, details=details))


def with_passed(judgement: Judgement, invariant: Invariant, component: Component, found: Search) -> Judgement:
    """The judgement, with a call that was not given the case that failed; runs the check once more where one did."""
    if judgement.counterexample is None or found.failure is None or found.unanswered is not None:
        return judgement
    passed = other_call(invariant, component, found.failing_case)
    return replace(judgement, counterexample=replace(judgement.counterexample, passed=passed))


def _without_cases(invariant: Invariant, error: Exception | Ended) -> Judgement:
    """The judgement where a search was ended before any case had failed."""
    if isinstance(error, Ended):
        case = Counterexample(plain_data(error.case))
        return replace(blank_judgement(invariant, error.verdict, error.message), counterexample=case)
    return replace(
        blank_judgement(invariant, Verdict.ERROR, f"drawing the cases raised {told(error)}"),
        counterexample=Counterexample(None, details={"traceback": check_traceback(error)}),
    )


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
    built_with = plain_data(numbers_built_with(invariant, found.failing_case.configuration))
    counterexample = Counterexample(plain_data(found.failing_case), vector=vector, built_with=built_with)
    if isinstance(failure, Violation):
        verdict, message = Verdict.VIOLATED, failure.message
        counterexample = replace(
            counterexample,
            expected=plain_data(failure.expected),
            got=plain_data(failure.got),
            allowance=plain_data(failure.allowance),
        )
        details = dict(failure.details)
    elif isinstance(failure, Raised):
        message = f"the implementation raised {told(failure.error)}"
        details = {"traceback": implementation_traceback(failure.error)}
    elif isinstance(failure, RankFailure):
        message = str(failure)
    else:
        message = f"the check itself raised {told(failure)}"
        details = {"traceback": check_traceback(failure)}
    if found.not_repeatable:
        message = f"not repeatable, the same case failed once and passed once: {message}"
    return replace(
        blank_judgement(invariant, verdict, message),
        counterexample=replace(counterexample, details=plain_data(details)),
    )
