"""What of an implementation cannot be called at all: it raises whatever it is given, and that is one finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from detr_conformance.base.isolation import restoring_component
from detr_conformance.base.tracebacks import implementation_traceback, raised_at
from detr_conformance.base.verdict import Counterexample, Judgement, Verdict
from detr_conformance.encoding.plain_data import plain_data, told
from detr_conformance.judging.passed import numbers_built_with
from detr_conformance.judging.search import Component, search
from detr_conformance.testee.ended import Ended
from detr_conformance.testee.names import spoken
from detr_conformance.testee.stopwatch import Stopwatch
from detr_conformance.vectors.vector import counterexample_document
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, with_functions
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import all_invariants
from detr_spec.profile import Profile
from detr_spec.values import Answer, HeadParameters
from detr_spec.violation import Raised, Violation

CASES = 20
"""The cases of a part's plainest invariant, all of which raise where it cannot be called."""

SEED = 0
"""What they are drawn from, whatever a run is drawn from, so that all invariants of a part tell of the same."""

STANDS_ON = {"gradients": "criterion", "distributed": "criterion"}
"""The components that are calls of another one."""

FACTORY = "factory"
"""What stands for the name of a function where building the component raised."""


@dataclass(frozen=True)
class Uncallable:
    """Why something cannot be called, in words, and the first case that shows it."""

    message: str
    counterexample: Counterexample


class Calls:
    """What the functions of the components that it watches have answered and raised, by their names."""

    def __init__(self) -> None:
        self.answered: set[str] = set()
        self.raised: defaultdict[str, list[Raised]] = defaultdict(list)
        self._last: str | None = None

    @property
    def unanswered(self) -> str | None:
        """The function that raised last, where none of its calls was answered; None where there is no such."""
        return None if self._last in self.answered else self._last

    def has_answered(self, function: str) -> bool:
        """Whether a function has answered."""
        return function in self.answered

    def watched(self, build: Component) -> Component:
        """The factory, whose calls are noted, and those of what it builds."""

        def build_watched(configuration: Configuration) -> Any:
            return with_functions(self._noted(FACTORY, build)(configuration), self._noted)

        return build_watched

    def _noted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                answer = function(*arguments)
            except Raised as raised:
                self.raised[name].append(raised)
                self._last = name
                raise
            except Violation:
                # What answers in a wrong form has been called.
                self.answered.add(name)
                raise
            if name == FACTORY or isinstance(answer, (Answer, HeadParameters)):
                self.answered.add(name)
            return answer

        return call


class Doubt:
    """Whether what a component raises comes of a function that cannot be called, looked into once a function."""

    def __init__(self, implementation: Implementation, component: str, device: str) -> None:
        self.calls = Calls()
        self._known: dict[str, Uncallable | None] = {}
        self._about = implementation, component, device

    @property
    def confirmed(self) -> Uncallable | None:
        """Why the function that raised last cannot be called; None where it can, or has not raised."""
        function = self.calls.unanswered
        if function is None:
            return None
        if function not in self._known:
            implementation, component, device = self._about
            self._known[function] = uncallable(implementation, component, function, device)
        return self._known[function]


def uncallable(implementation: Implementation, component: str, function: str, device: str) -> Uncallable | None:
    """Why a function of a component, or its factory, cannot be called; None where it answers some case.

    What hangs or dies is not said to raise.
    """
    base = STANDS_ON.get(component)
    asked = [(base, FACTORY), (base, "")] if base is not None and base in implementation.components else []
    for name, part in (*asked, (component, function)):
        found = _asked(implementation, name, part, device)
        if found is not None:
            return found
    return None


def _asked(implementation: Implementation, component: str, function: str, device: str) -> Uncallable | None:
    """As `uncallable`, of that component alone, by the first of its invariants that calls the function."""
    domain = Domain(implementation.profile, implementation.limits.of(component), device=device)
    for invariant in _plainest(component, implementation.profile):
        calls = Calls()
        cases: list[Any] = []
        watched = calls.watched(Stopwatch().watched(restoring_component(implementation, component)))
        asking = replace(invariant, check=partial(_ask, invariant, cases.append))
        try:
            search(asking, domain, watched, CASES, SEED, over=partial(calls.has_answered, function))
        except (Exception, Ended):
            return None
        if function in calls.answered:
            return None
        if function in calls.raised:
            enough = len(cases) == CASES
            return _found(invariant, implementation.profile, function, cases[0], calls) if enough else None
    return None


def _plainest(component: str, profile: Profile) -> Iterator[Invariant]:
    """The invariants of a component in the order of the norm, which begins with what is plain."""
    for invariant in all_invariants():
        if invariant.component == component and invariant.applies(profile) and not invariant.undeclared_dtypes:
            yield invariant


def _ask(invariant: Invariant, raising: Callable[[Any], None], component: Component, case: Any) -> None:
    """Runs the check, whatever it finds; raising: called with a case in which the component raised."""
    try:
        invariant.check(component, case)
    except Raised:
        raising(case)
    except Exception:
        return


def _found(invariant: Invariant, profile: Profile, function: str, case: Any, calls: Calls) -> Uncallable:
    error = calls.raised[function][0].error
    built_with = numbers_built_with(invariant, case.configuration)
    what = spoken(invariant.component, "" if function == FACTORY else function)
    given = _given(invariant.component, profile)
    how = "Built from a configuration" if function == FACTORY else f"Called with {given}"
    where = raised_at(error)
    message = (
        f"{what} cannot be {'built' if function == FACTORY else 'called'}. {how}, it raised {told(error)}"
        f"{f' ({where})' if where else ''}, and raised in each of {CASES} cases"
    )
    counterexample = Counterexample(
        plain_data(case),
        vector=counterexample_document(invariant, case, SEED),
        built_with=plain_data(built_with),
        details=plain_data({"traceback": implementation_traceback(error)}),
    )
    return Uncallable(message, counterexample)


GIVEN = {
    "boxes": "boxes [n, 4]",
    "assignment": "costs [n, m]",
    "heads": "hidden states [L, B, Q, D]",
    "decoder": "features, padding, query embeddings and positions",
    "model": "a list of images [3, H, W]",
}
"""What components are called with that are not called with outputs."""


def _given(component: str, profile: Profile) -> str:
    """What a component is called with, by the names of the profile."""
    if component in GIVEN:
        return GIVEN[component]
    keys = profile.keys
    if component == "matcher" and profile.matcher.arguments:
        return ", ".join(str(getattr(keys, name)) for name in profile.matcher.arguments)
    outputs = [keys.logits, *([keys.boxes] if keys.boxes is not None else [])]
    if component == "masks" or profile.matches_masks:
        outputs.append(keys.masks)
    if component == "postprocess":
        return f"outputs ({', '.join(outputs)}) and target_sizes [B, 2]"
    parts = (getattr(keys, name) for name in profile.targets.parts)
    form = "a dictionary an image" if profile.targets.layout == "listed" else "one dictionary"
    return f"outputs ({', '.join(outputs)}) and targets ({form}: {', '.join(name for name in parts if name)})"


def told_once(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """The judgements on one implementation, in which what cannot be called is told once, and others are not judged."""
    causes: set[str] = set()
    return tuple(told_once_more(judgement, causes) for judgement in judgements)


def told_once_more(judgement: Judgement, causes: set[str]) -> Judgement:
    """The judgement; not judged, where its cause is among those that were told already, to which it adds."""
    if judgement.verdict is not Verdict.CANNOT_BE_CALLED:
        return judgement
    if judgement.message not in causes:
        causes.add(judgement.message)
        return judgement
    return replace(
        judgement, verdict=Verdict.NOT_JUDGED, message=judgement.message.partition(". ")[0], counterexample=None
    )
