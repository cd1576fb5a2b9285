"""Records what an implementation answers while an invariant is judged, case by case and call by call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from detr_conformance.comparing.numbers import digest, numbers_of
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, with_functions
from detr_spec.invariant import Invariant
from detr_spec.values import Answer, AnyNumbers
from detr_spec.violation import NotProvided, PremiseFailed


@dataclass(frozen=True, eq=False)
class Call:
    """A call: a digest of what was called with what, and the numbers that were answered, by their places."""

    question: bytes
    answer: dict[str, AnyNumbers]


@dataclass(frozen=True, eq=False)
class Asked:
    """A case of an invariant, and the calls that were made for it."""

    invariant: Invariant
    case: Any
    calls: list[Call] = field(default_factory=list)


class Recorder:
    """Notes the calls of each case until one fails, after which smaller cases are searched for."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._failed = False

    def noting(self, invariant: Invariant) -> Invariant:
        """The invariant, whose cases are noted."""

        def check(component: Any, case: Any) -> None:
            if not self._failed:
                self.asked.append(Asked(invariant, case))
            try:
                invariant.check(component, case)
            except (PremiseFailed, NotProvided):
                raise
            except BaseException:
                self._failed = True
                raise

        return replace(invariant, check=check)

    def watching(self, implementation: Implementation, component: str) -> Implementation:
        """The implementation, the calls of one of whose components are noted."""
        factory = getattr(implementation, component)
        changed: dict[str, Any] = {component: self._watched(factory)}
        return replace(implementation, **changed)

    def _watched(self, factory: Callable[[Configuration], Any]) -> Callable[[Configuration], Any]:
        def build(configuration: Configuration) -> Any:
            # The dialect may be declared otherwise, as two releases are; what was drawn is the same.
            built = {item.name: getattr(configuration, item.name) for item in fields(configuration)}
            del built["profile"]

            def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
                def call(*arguments: Any) -> Any:
                    answer = function(*arguments)
                    if self.asked and not self._failed:
                        value = answer.value if isinstance(answer, Answer) else answer
                        question = repr((name, built)).encode() + digest(arguments)
                        self.asked[-1].calls.append(Call(question, dict(numbers_of(value))))
                    return answer

                return call

            return with_functions(factory(configuration), noted)

        return build
