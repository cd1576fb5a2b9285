"""Calls of components as questions: what was called since a case began is asked of a program at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from detr_conformance.base.isolation import MOMENT
from detr_conformance.encoding.files import FILES
from detr_conformance.testee.description import Description, encode_configuration
from detr_conformance.testee.signatures import component_of, signatures
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation


@dataclass(frozen=True, eq=False)
class Question:
    """Calls of one component, in order, as plain data: nothing was called before them.

    builds: the configurations that the component is built with. calls: each with the place of its build as "built", the
    name of the "function", and its "arguments".
    """

    component: str
    builds: tuple[Mapping[str, Any], ...]
    calls: tuple[Mapping[str, Any], ...]

    def keys(self) -> Iterator[str]:
        """A digest for each call, of it and all before it; the last one is that of the question."""
        key = ""
        for call in self.calls:
            said = json.dumps([self.component, self.builds[call["built"]], call], sort_keys=True)
            key = hashlib.sha256(f"{key}{said}".encode()).hexdigest()[:32]
            yield key

    @property
    def key(self) -> str:
        """What an answer names the question by."""
        *_, key = self.keys()
        return key


@dataclass(eq=False)
class Built:
    """A component that was built, and its place among those that have been called."""

    component: str
    configuration: Configuration
    place: int | None = None


Respond = Callable[[Question, Built, tuple[Any, ...]], Any]
"""Answers the last call of a question, of what was built, whose arguments are given as values too."""


class Calls:
    """The calls of the case at hand, all of which `respond` answers."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._case = -1
        self._question = Question("", (), ())

    def implementation(self, description: Description) -> Implementation:
        """An implementation as described, whose components have all functions."""
        factories: dict[str, Any] = {name: partial(self._build, name) for name in description.components}
        return Implementation(
            name=description.name, profile=description.profile, limits=description.limits, **factories
        )

    def _build(self, component: str, configuration: Configuration) -> Any:
        if self._case != MOMENT.case:
            self._case, self._question = MOMENT.case, Question(component, (), ())
        built = Built(component, configuration)
        functions: dict[str, Callable[..., Any]] = {name: self._function(built, name) for name in signatures(component)}
        return component_of(component, functions)

    def _function(self, built: Built, name: str) -> Callable[..., Any]:
        signature = signatures(built.component)[name]

        def call(*arguments: Any) -> Any:
            before = self._question
            builds = before.builds
            if built.place is None:
                built.place = len(builds)
                builds = (*builds, encode_configuration(built.configuration, FILES))
            asked = {
                "built": built.place,
                "function": name,
                "arguments": signature.encoded_arguments(arguments, FILES),
            }
            self._question = Question(built.component, builds, (*before.calls, asked))
            return self._respond(self._question, built, arguments)

        return call


class Asked:
    """The questions that are asked, without those that are the beginning of another one."""

    def __init__(self) -> None:
        self._questions: dict[str, Question] = {}
        self._begun: set[str] = set()

    def add(self, question: Question) -> None:
        """Adds a question, whose beginnings are asked with it."""
        *before, key = question.keys()
        for beginning in before:
            self._begun.add(beginning)
            self._questions.pop(beginning, None)
        if key not in self._begun:
            self._questions[key] = question

    def __iter__(self) -> Iterator[Question]:
        return iter(self._questions.values())

    def __len__(self) -> int:
        return len(self._questions)
