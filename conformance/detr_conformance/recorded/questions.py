"""The file of questions: what is asked of whom, in JSON Lines, and the vectors that an answer is judged by.

The first line says whose implementation is asked, and holds the vectors; each other line is a question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import numbered_lines, parsed_json, read_text
from detr_conformance.base.errors import UsageError
from detr_conformance.base.version import installed_version
from detr_conformance.encoding.checks import choice, integer, items, record, table, text
from detr_conformance.encoding.places import Place
from detr_conformance.recorded.calls import Question
from detr_conformance.testee.description import Description, read_description
from detr_conformance.testee.detr_testee import Malformed
from detr_conformance.testee.signatures import signatures
from detr_conformance.vectors.vector import Vector, from_document, to_document
from detr_spec.implementation import COMPONENTS

FORMAT = 1
"""The version of both formats, of questions and of answers: it grows where a reader of the last would misunderstand."""


@dataclass(frozen=True, eq=False)
class Questions:
    """What is asked of an implementation, and the vectors whose invariants ask it.

    said: the description of the implementation as its owner wrote it.
    """

    said: Mapping[str, Any]
    description: Description
    vectors: tuple[Vector, ...]
    asked: tuple[Question, ...]

    def text(self) -> str:
        """The text of a file."""
        head = {
            "format": FORMAT,
            "version": installed_version(),
            "implementation": self.said,
            "vectors": [to_document(vector) for vector in self.vectors],
        }
        return "".join(f"{_line(document)}\n" for document in (head, *map(_document, self.asked)))


def read_implementation(path: Path) -> tuple[Mapping[str, Any], Description]:
    """The description in a file, as it is written and as it is meant; raises `UsageError` for anything else."""
    said = table(parsed_json(read_text(path), path), Place(str(path)))
    return said, _description(said, Place(str(path)))


def read_questions(path: Path) -> Questions:
    """The questions of a file; raises `UsageError` with the line for what is not as it should be."""
    lines = numbered_lines(read_text(path))
    places = [Place(f"{path}, line {number}") for number, _ in lines]
    documents = [parsed_json(line, place) for (_, line), place in zip(lines, places, strict=True)]
    if not documents:
        raise UsageError(f"{path} is empty; expected questions, as `detr-spec vectors questions` writes them")
    head = record(documents[0], places[0], ("format", "version", "implementation", "vectors"))
    if head["format"] != FORMAT:
        raise (
            places[0].within("format").wrong(found=repr(head["format"]), expected=f"{FORMAT}, which this version reads")
        )
    at = places[0].within("vectors")
    vectors = tuple(from_document(item, at.within(number)) for number, item in enumerate(items(head["vectors"], at)))
    said = table(head["implementation"], places[0].within("implementation"))
    description = _description(said, places[0].within("implementation"))
    asked = tuple(_question(item, place) for item, place in zip(documents[1:], places[1:], strict=True))
    return Questions(said, description, vectors, asked)


def _description(said: Mapping[str, Any], place: Place) -> Description:
    try:
        description = read_description(said, "implementation")
    except Malformed as error:
        raise UsageError(f"{place}: {error}") from error
    if not description.components:
        raise place.within("components").wrong(found="none", expected="at least one component")
    return description


def _document(question: Question) -> dict[str, Any]:
    return {
        "question": question.key,
        "component": question.component,
        "builds": list(question.builds),
        "calls": list(question.calls),
    }


def _question(document: Any, place: Place) -> Question:
    """The question of a line, which is what it was when it was asked."""
    given = record(document, place, ("question", "component", "builds", "calls"))
    component = choice(given["component"], COMPONENTS, place.within("component"))
    builds = tuple(table(item, place.within("builds")) for item in items(given["builds"], place.within("builds")))
    calls = []
    for number, item in enumerate(items(given["calls"], place.within("calls"))):
        at = place.within("calls", number)
        call = record(item, at, ("built", "function", "arguments"))
        if not 0 <= integer(call["built"], at.within("built")) < len(builds):
            raise at.within("built").wrong(found=str(call["built"]), expected=f"a place below {len(builds)}")
        choice(call["function"], tuple(signatures(component)), at.within("function"))
        calls.append(call)
    question = Question(component, builds, tuple(calls))
    if not calls or question.key != text(given["question"], place.within("question")):
        raise UsageError(f"{place}: the question was changed; ask anew with `detr-spec vectors questions`")
    return question


def _line(document: Any) -> str:
    return json.dumps(document, allow_nan=False, separators=(",", ":"))
