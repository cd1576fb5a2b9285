"""A program that answers questions in a file, by an implementation in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detr_conformance.encoding.files import FILES
from detr_conformance.encoding.places import Place
from detr_conformance.recorded.calls import Question
from detr_conformance.recorded.questions import Questions, read_questions
from detr_conformance.testee.description import DERIVED
from detr_conformance.testee.signatures import functions_of, signatures
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.profile import Profile

HERE = Place("a question")


@dataclass
class Program:
    """Answers each question by components that it builds anew; a build that fails is told by its calls."""

    implementation: Implementation
    profile: Profile
    built: dict[int, Mapping[str, Callable[..., Any]]] = field(default_factory=dict)

    def answers(self, question: Question) -> list[dict[str, Any]]:
        self.built.clear()
        return [self._answer(question, call) for call in question.calls]

    def _answer(self, question: Question, call: Mapping[str, Any]) -> dict[str, Any]:
        signature = signatures(question.component)[call["function"]]
        given = zip(signature.arguments, call["arguments"], strict=True)
        arguments = [FILES.decoded(hint, item, HERE) for hint, item in given]
        try:
            function = self._functions(question, call["built"]).get(call["function"])
            if function is None:
                return {"not_provided": "there is no such function"}
            said = FILES.encoded(function(*arguments), signature.answer)
        except Exception as error:
            return {"raised": {"type": type(error).__name__, "text": str(error)}}
        return said if signature.is_observed else {"value": said}

    def _functions(self, question: Question, place: int) -> Mapping[str, Callable[..., Any]]:
        if place not in self.built:
            given = {name: item for name, item in question.builds[place].items() if name not in DERIVED}
            configuration = FILES.decoded_fields(Configuration, given, HERE, profile=self.profile)
            factory = getattr(self.implementation, question.component)
            self.built[place] = functions_of(question.component, factory(configuration))
        return self.built[place]


def answered(path: Path, implementation: Implementation) -> list[dict[str, Any]]:
    """The lines of answers to a file of questions."""
    questions: Questions = read_questions(path)
    program = Program(implementation, questions.description.profile)
    return [{"question": question.key, "answers": program.answers(question)} for question in questions.asked]


def write_answers(lines: list[dict[str, Any]], path: Path) -> Path:
    """Writes answers, and gives the path."""
    path.write_text("".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines))
    return path
