"""How the tests of the invariants judge a subject."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.judge import judge
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.violation import NotProvided, PremiseFailed, Raised, Violation

Failing = Callable[..., set[str]]
"""What the fixture `failing` is."""


ELSEWHERE = tuple(
    f"detr_spec.invariants.{name}"
    for name in ("apart_gradients", "distributions", "mask_layers", "mixed", "one_to_many", "phrases", "sizes")
)
"""The modules that speak about several components, and have tests of their own."""


def own_invariants(component: str) -> tuple[Invariant, ...]:
    """The invariants of a component, but those that several components share."""
    return tuple(
        item for item in all_invariants() if item.component == component and item.check.__module__ not in ELSEWHERE
    )


def judged(id: str, subject: Implementation, examples: int) -> Judgement:
    """The judgement of the invariant of that id."""
    (invariant,) = find_invariants(id)
    return judge(invariant, subject, examples=examples)


def share_fired(id: str, subject: Implementation, examples: int) -> float:
    """In what share of the cases the premise was met, of an invariant that must hold for the subject."""
    judgement = judged(id, subject, examples)
    assert judgement.verdict is Verdict.HOLDS, judgement
    return judgement.fired / judgement.examples


def share_fired_where_it_applies(id: str, subject: Implementation, examples: int) -> float | None:
    """As above; None where the invariant does not apply to the subject's profile, and is judged so."""
    (invariant,) = find_invariants(id)
    if invariant.applies(subject.profile):
        return share_fired(id, subject, examples)
    assert judged(id, subject, examples).verdict is Verdict.NOT_APPLICABLE
    return None


def drawing(examples: int) -> settings:
    """Draws that many cases, and neither shrinks nor keeps what fails."""
    return settings(
        max_examples=examples,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def failure(id: str, subject: Implementation, examples: int) -> Exception | None:
    """What the first failing case leaves, without the time that shrinking it takes; None where no case fails.

    An error of the check itself is raised.
    """
    (invariant,) = find_invariants(id)
    component = subject.component(invariant.component)

    @seed(0)
    @drawing(examples)
    @given(invariant.cases(Domain(subject.profile, subject.limits.of(invariant.component))))
    def run(case: Any) -> None:
        with contextlib.suppress(PremiseFailed, NotProvided):
            invariant.check(component, case)

    try:
        run()
    except (Violation, Raised) as found:
        return found
    return None
