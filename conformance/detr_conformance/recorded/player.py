"""An implementation whose answers are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detr_conformance.recorded.calls import Asked, Built, Calls, Question
from detr_conformance.testee.description import Description
from detr_spec.implementation import Implementation
from detr_spec.violation import NotProvided


class Player:
    """Gives the answers that were recorded, by the digests of the calls.

    Where a call depends on an earlier answer, it may be one that was not asked: it is not provided then, and in
    `unanswered`. asked: all questions that were needed, with those that have no answer. called: the functions that
    were, by the names of their components and themselves, until who looks clears it.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers
        self.asked = Asked()
        self.unanswered: set[str] = set()
        self.called: set[tuple[str, str]] = set()

    def implementation(self, description: Description) -> Implementation:
        """The implementation that was described, and answered."""
        return Calls(self._respond).implementation(description)

    def _respond(self, question: Question, built: Built, arguments: tuple[Any, ...]) -> Any:  # noqa: ARG002
        self.asked.add(question)
        self.called.add((question.component, question.calls[-1]["function"]))
        key = question.key
        if key not in self._answers:
            self.unanswered.add(key)
            raise NotProvided("a further question follows from the answers; --further FILE asks it")
        answer = self._answers[key]
        if isinstance(answer, Exception):
            raise answer
        return answer
