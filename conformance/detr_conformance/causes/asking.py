"""Asks cases again, as if the implementation had declared another profile."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from detr_conformance.base.isolation import restoring_component
from detr_conformance.causes.alternatives import kept_weights
from detr_conformance.judging.search import Search, first_failure, search_case
from detr_spec.cases import Case
from detr_spec.configuration import PARTS, Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.profile import Profile
from detr_spec.values import InvalidValue
from detr_spec.violation import Raised


class Answer(Enum):
    """What an invariant says of a case, or of several: open where it does not ask."""

    HOLDS = "holds"
    FAILS = "fails"
    OPEN = "open"


class OutOfTime(Exception):
    """There is no time left to look for causes."""


@dataclass
class Time:
    """Until when causes are looked for, on the clock of `time.monotonic`."""

    end: float

    def require(self) -> None:
        """Raises `OutOfTime` where it is over."""
        if time.monotonic() >= self.end:
            raise OutOfTime


@dataclass(frozen=True)
class Asking:
    """An implementation that is asked under other profiles than its own, on a device, as long as there is time."""

    implementation: Implementation
    device: str
    seed: int
    time: Time

    def case(self, invariant: Invariant, case: Case, profile: Profile) -> Answer:
        """What the invariant says of the case in that profile."""
        return self.watched_case(invariant, case, profile, nullcontext)

    def watched_case(
        self, invariant: Invariant, case: Case, profile: Profile, watch: Callable[[], AbstractContextManager[object]]
    ) -> Answer:
        """As `case`; watch: gives the context in which it is seen whether the invariant applies, and it is asked."""
        self.time.require()
        try:
            component = restoring_component(self._declaring(profile), invariant.component)
            with watch():
                if not invariant.applies(profile):
                    return Answer.OPEN
                found = search_case(invariant, component, in_profile(case, profile))
        except InvalidValue:
            return Answer.FAILS
        return _answer(found.failure, found.fired)

    def fresh(self, invariant: Invariant, cases: int, profile: Profile) -> Answer:
        """What the invariant says of fresh cases in that profile, none of which the implementation has seen before."""
        try:
            if not invariant.applies(profile):
                return Answer.OPEN
            found = self._searched(invariant, cases, self._declaring(profile))
        except InvalidValue:
            return Answer.FAILS
        return _answer(found.failure, found.fired)

    def failing_case(self, invariant: Invariant, cases: int, profile: Profile) -> Case | None:
        """The first of fresh cases in that profile that the invariant does not hold for; None where none fails."""
        if not invariant.applies(profile):
            return None
        found: Case | None = self._searched(invariant, cases, self._declaring(profile)).failing_case
        return found

    def in_dtype(self, invariant: Invariant, cases: int, dtype: str) -> str:
        """What fresh cases of one dtype give, in a word; empty where none met the premise."""
        own = self.implementation
        limits = replace(own.limits, dtypes=(dtype,)).with_dtypes({invariant.component: (dtype,)})
        found = self._searched(invariant, cases, replace(own, limits=limits))
        if found.failure is not None:
            return "raises" if isinstance(found.failure, Raised) else "violated"
        return "holds" if found.fired else ""

    def _searched(self, invariant: Invariant, cases: int, subject: Implementation) -> Search:
        self.time.require()
        domain = Domain(subject.profile, subject.limits.of(invariant.component), device=self.device)
        component = restoring_component(subject, invariant.component)
        return first_failure(invariant, domain, component, invariant.affordable(cases), self.seed)

    def _declaring(self, profile: Profile) -> Implementation:
        """The implementation, as if it had declared the profile, and kept to the weights in which that one differs."""
        own = self.implementation
        fixed = {**own.limits.fixed, **kept_weights(profile, own.profile)}
        return replace(own, profile=profile, limits=replace(own.limits, fixed=fixed))


def _answer(failure: Exception | None, fired: int) -> Answer:
    if failure is not None:
        return Answer.FAILS
    return Answer.HOLDS if fired else Answer.OPEN


def in_profile(case: Case, profile: Profile) -> Case:
    """The case, whose configuration is of another profile, with that profile's numbers where they differ.

    Raises `InvalidValue` where the case cannot be one of that profile.
    """
    configuration = case.configuration
    own = configuration.profile
    changes: dict[str, Any] = {part: _part(configuration, part, profile) for part in PARTS}
    changes |= kept_weights(profile, own)
    if profile.detection.top_k not in (None, own.detection.top_k):
        changes["top_k"] = profile.detection.top_k
    given: Case = replace(case, configuration=replace(configuration, profile=profile, **changes))
    return given


def _part(configuration: Configuration, name: str, profile: Profile) -> Any:
    """A part of the case; where the profile has another kind, that, with the numbers that cases vary in both."""
    own, other = getattr(configuration.profile, name), getattr(profile, name)
    given = getattr(configuration, name)
    if other == own:
        return given
    if type(other) is type(own):
        return other
    shared = {number: given.numbers[number] for number in other.drawn if number in given.numbers}
    return replace(other, **shared)
