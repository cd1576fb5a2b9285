"""Files of vectors: a single one, or several, each in a line of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_conformance.base.documents import numbered_lines, parsed_json, read_text
from detr_conformance.base.errors import UsageError
from detr_conformance.encoding.places import Place
from detr_conformance.vectors.vector import Vector, from_document, to_document


@dataclass(frozen=True, eq=False)
class Placed:
    """A vector, and the place of the file that it was read from."""

    vector: Vector
    place: Place


def vector_of(text: str, place: Place) -> Vector:
    """The vector that a text says; raises `UsageError` with the place of what is not as it should be."""
    return from_document(parsed_json(text, place), place)


def read_vectors(path: Path) -> tuple[Placed, ...]:
    """The vectors of a file: one JSON object, or one in each line.

    Raises `UsageError` with file, line and path for what is not as it should be, and for a file without any.
    """
    return vectors_in(read_text(path), str(path))


def vectors_in(text: str, file: str) -> tuple[Placed, ...]:
    """The vectors that a text holds; raises `UsageError` as `read_vectors` does."""
    lines = numbered_lines(text)
    if not lines:
        raise UsageError(f"{file} is empty; expected a vector")
    first = lines[0][1].strip()
    if not (first.startswith("{") and first.endswith("}")):  # it is the beginning of the one document
        place = Place(file)
        return (Placed(vector_of(text, place), place),)
    places = [Place(f"{file}, line {number}") for number, _ in lines]
    return tuple(Placed(vector_of(line, place), place) for (_, line), place in zip(lines, places, strict=True))


def one_line(vector: Vector) -> str:
    """A vector as one line of JSON, without the end of the line."""
    return json.dumps(to_document(vector), allow_nan=False, separators=(",", ":"))


def one_member_a_line(document: dict[str, Any]) -> str:
    """A document as JSON with each of its members in a line of its own."""
    members = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in document.items()]
    return "{\n" + ",\n".join(members) + "\n}"


def lines_of(vectors: Sequence[Vector]) -> str:
    """Vectors as the text of a file, one in each line."""
    return "".join(f"{one_line(vector)}\n" for vector in vectors)
