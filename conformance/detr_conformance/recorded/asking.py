"""What is asked of an implementation: what the invariants call, where every answer is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from detr_conformance.implementations import dialects, reference
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.judging.drawing import add_drawn, cases_that_hold
from detr_conformance.judging.fitting import Unfit, judge_vector
from detr_conformance.judging.judge import not_asked
from detr_conformance.recorded.calls import Asked, Built, Calls, Question
from detr_conformance.recorded.questions import Questions
from detr_conformance.testee.description import Description
from detr_conformance.testee.signatures import functions_of
from detr_conformance.vectors.checks import invariants_by_id
from detr_conformance.vectors.vector import Vector
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain
from detr_spec.invariants import all_invariants
from detr_spec.profile import Profile
from detr_spec.violation import NotProvided


class _Asking:
    """Answers every call as a right implementation does, and notes the questions.

    That is the twin of a dialect, as far as there is one, else what is built from the profile.
    """

    def __init__(self, profile: Profile) -> None:
        twins = [item for item in (*reference.IMPLEMENTATIONS, *dialects.IMPLEMENTATIONS) if item.profile == profile]
        self._right = [*twins, declared_implementation(profile)]
        self._functions: WeakKeyDictionary[Built, Mapping[str, Callable[..., Any]]] = WeakKeyDictionary()
        self.asked = Asked()

    def respond(self, question: Question, built: Built, arguments: tuple[Any, ...]) -> Any:
        self.asked.add(question)
        if built not in self._functions:
            factories = (getattr(right, built.component) for right in self._right)
            factory = next(factory for factory in factories if factory is not None)
            self._functions[built] = functions_of(built.component, factory(built.configuration))
        name = question.calls[-1]["function"]
        if name not in self._functions[built]:
            raise NotProvided(f"no right {name} is known")
        return self._functions[built][name](*arguments)


def questions_for(
    said: Mapping[str, Any], description: Description, vectors: Sequence[Vector], examples: int = 0, seed: int = 0
) -> Questions:
    """The questions that the invariants of these vectors ask of an implementation, as far as they fit it.

    examples: how many cases of each invariant are drawn beside them, from the seed.
    """
    asking = _Asking(description.profile)
    implementation = Calls(asking.respond).implementation(description)
    fitting = [kept for vector in vectors if (kept := _fitting(vector, implementation)) is not None]
    drawn = _drawn(implementation, examples, seed) if examples else []
    return Questions(said, description, (*fitting, *drawn), tuple(asking.asked))


def _fitting(vector: Vector, implementation: Implementation) -> Vector | None:
    """The vector for those of its invariants that can be asked of an implementation, if there are any."""
    names = []
    for name in vector.invariants:
        invariant = invariants_by_id()[name]
        if not_asked(invariant, implementation) is None:
            try:
                judge_vector(invariant, implementation, vector)
            except Unfit:
                continue
            names.append(name)
    return replace(vector, invariants=tuple(names), expected=None) if names else None


def _drawn(implementation: Implementation, examples: int, seed: int) -> list[Vector]:
    """So many small cases of each invariant, as far as it speaks about them."""
    pool: dict[str, Vector] = {}
    for invariant in all_invariants():
        if not_asked(invariant, implementation) is None:
            domain = Domain(implementation.profile, implementation.limits.of(invariant.component), small=True)
            component = implementation.component(invariant.component)
            cases, _ = cases_that_hold(invariant, domain, component, invariant.case_count(examples), seed)
            add_drawn(pool, invariant, cases, seed)
    return list(pool.values())
