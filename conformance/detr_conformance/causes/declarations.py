"""Which declarations would explain violations: the failing cases hold under them, and nothing else is worse."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from detr_conformance.base.cause import Cause
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.causes.alternatives import Alternative, alternatives, names_in
from detr_conformance.causes.asking import Answer, Asking, OutOfTime
from detr_conformance.causes.reads import fields_read
from detr_conformance.encoding.places import Place
from detr_conformance.testee.ended import Ended
from detr_conformance.vectors.vector import Vector, from_document
from detr_spec.cases import Case
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profile import Profile

FRESH = 6
"""Fresh cases of each invariant whose violation a declaration would explain."""

ELSEWHERE = 2
"""Fresh cases of each invariant that held, which it must not break."""

MOST_CANDIDATES = 6
"""The declarations, best first, that are tried on fresh cases before none is believed to explain anything."""


@dataclass(frozen=True)
class Finding:
    """A violated invariant, the case that it does not hold for, and the fields that its check looks at."""

    id: str
    invariant: Invariant
    case: Case
    read: frozenset[str]


@dataclass(frozen=True)
class Candidate:
    """An alternative, and the findings whose cases hold under it, or are open."""

    alternative: Alternative
    holding: tuple[Finding, ...]
    open: tuple[Finding, ...]

    @property
    def order(self) -> tuple[int, bool, int]:
        """Before others where more is explained, with no less asked, and more of it by an answer that is right."""
        return -(len(self.holding) + len(self.open)), bool(self.alternative.kept), -len(self.holding)


def declarations(judgements: Sequence[Judgement], asking: Asking) -> tuple[Cause, ...]:
    """The declarations that explain violations, each what the ones before have left over; what is known in time."""
    failing = [judgement for judgement in judgements if judgement.verdict.fails]
    held = _held(judgements)
    names = names_in(failing)
    profile = asking.implementation.profile
    causes: list[Cause] = []
    try:
        left = list(_findings(failing, asking))
        while left:
            found = _best(left, held, names, profile, asking)
            if found is None:
                break
            own = found.alternative
            profile = own.profile
            explained = [finding.id for finding in (*found.holding, *found.open)]
            causes.append(_declared(own, explained, failing))
            # A case that has two causes holds once both are declared.
            others = [one for one in left if one.id not in explained]
            left = [one for other in others if (one := _still(other, profile, asking)) is not None]
            explained += [one.id for one in others if one.id not in {finding.id for finding in left}]
            causes[-1] = _declared(own, explained, failing)
    except (OutOfTime, Ended):
        pass
    return tuple(causes)


def _declared(alternative: Alternative, explained: Sequence[str], failing: Sequence[Judgement]) -> Cause:
    return Cause("declaration", alternative.path, alternative.line, tuple(explained), len(explained), len(failing))


def _still(finding: Finding, profile: Profile, asking: Asking) -> Finding | None:
    """The finding with a case that fails in that profile too; None where none does any more."""
    if asking.case(finding.invariant, finding.case, profile) is Answer.FAILS:
        return finding
    case = asking.failing_case(finding.invariant, FRESH, profile)
    return None if case is None else replace(finding, case=case)


def _held(judgements: Sequence[Judgement]) -> tuple[Invariant, ...]:
    """The invariants that held, what is done soonest first."""
    held = [judgement.id for judgement in judgements if judgement.verdict is Verdict.HOLDS]
    return tuple(sorted((one for name in held for one in find_invariants(name)), key=lambda one: one.cost))


def _findings(failing: Sequence[Judgement], asking: Asking) -> Iterator[Finding]:
    """The findings that have a case, which fails again."""
    profile = asking.implementation.profile
    for number, judgement in enumerate(failing):
        document = judgement.counterexample and judgement.counterexample.vector
        if not document:
            continue
        # What is kept of the profile from an earlier call would be looked up without a look at its fields.
        own = replace(profile, summary=f"{profile.summary} {judgement.id} {number} {time.monotonic_ns()}")
        vector: Vector = from_document(document, Place(judgement.id))
        (invariant,) = find_invariants(vector.invariants[0])
        read: set[str] = set()
        answer = asking.watched_case(invariant, vector.case, own, partial(fields_read, read))
        if answer is Answer.FAILS:
            yield Finding(judgement.id, invariant, vector.case, frozenset(read))


def _best(
    left: Sequence[Finding], held: Sequence[Invariant], names: Sequence[str], profile: Profile, asking: Asking
) -> Candidate | None:
    """The alternative that explains most, and still does on fresh cases."""
    candidates = []
    for alternative in alternatives(profile, names):
        candidate = _candidate(alternative, left, asking)
        if candidate is not None:
            candidates.append(candidate)
    for candidate in sorted(candidates, key=lambda one: one.order)[:MOST_CANDIDATES]:
        confirmed = _confirmed(candidate, held, asking)
        if confirmed is not None:
            return confirmed
    return None


def _candidate(alternative: Alternative, left: Sequence[Finding], asking: Asking) -> Candidate | None:
    answers: Mapping[str, Answer] = {
        finding.id: asking.case(finding.invariant, finding.case, alternative.profile)
        for finding in left
        if alternative.path in finding.read
    }
    return _explaining(alternative, left, answers, asking)


def _explaining(
    alternative: Alternative, left: Sequence[Finding], answers: Mapping[str, Answer], asking: Asking
) -> Candidate | None:
    """What is explained; None where nothing is, or by silence alone though others would speak in its place."""
    holding = tuple(finding for finding in left if answers.get(finding.id) is Answer.HOLDS)
    silent = tuple(finding for finding in left if answers.get(finding.id) is Answer.OPEN)
    if not holding and not (silent and not _newly_asked(alternative.profile, asking)):
        return None
    return Candidate(alternative, holding, silent)


def _newly_asked(profile: Profile, asking: Asking) -> tuple[Invariant, ...]:
    """The invariants that speak about a profile, and not about the one that the implementation declares."""
    own = asking.implementation.profile
    return tuple(one for one in all_invariants() if one.applies(profile) and not one.applies(own))


def _confirmed(candidate: Candidate, held: Sequence[Invariant], asking: Asking) -> Candidate | None:
    """The candidate, with what it explains on fresh cases too; None where that is nothing, or something else breaks."""
    alternative = candidate.alternative
    explained = (*candidate.holding, *candidate.open)
    answers = {one.id: asking.fresh(one.invariant, FRESH, alternative.profile) for one in explained}
    confirmed = _explaining(alternative, explained, answers, asking)
    if confirmed is None:
        return None
    components = {finding.invariant.component for finding in explained}
    others = (*_newly_asked(alternative.profile, asking), *held)
    concerned = [invariant for invariant in others if invariant.component in components]
    broken = (asking.fresh(one, ELSEWHERE, alternative.profile) is Answer.FAILS for one in concerned)
    return None if any(broken) else confirmed
