"""The JSON Schemas of a line of questions and of a line of answers."""

from __future__ import annotations

from typing import Any, get_args

from detr_conformance.recorded.questions import FORMAT
from detr_conformance.testee.description import DERIVED
from detr_conformance.testee.messages import RaisedThere
from detr_conformance.testee.signatures import signatures
from detr_conformance.vectors.schema import ARRAYS, DIALECT, Schema, object_schema, schema_of
from detr_spec.configuration import Configuration
from detr_spec.implementation import COMPONENTS
from detr_spec.values import Observation

KEY: Schema = {"title": "names a question", "type": "string", "pattern": "^[0-9a-f]{32}$"}


def questions_schema() -> Schema:
    """The schema of a line of questions: the first, or a question."""
    definitions: dict[str, Schema] = {}
    configuration = object_schema(Configuration, definitions, without=("profile",))
    configuration["properties"] |= {name: {} for name in DERIVED}
    configuration["required"] += DERIVED
    call: dict[str, Schema] = {
        "built": {"title": "the place of its build", "type": "integer", "minimum": 0},
        "function": {"enum": sorted({name for component in COMPONENTS for name in signatures(component)})},
        "arguments": {"type": "array", "items": _values(definitions, _arguments())},
    }
    first: dict[str, Schema] = {
        "format": {"const": FORMAT},
        "version": {"type": "string"},
        "implementation": {"title": "its description, as in the protocol of testees", "type": "object"},
        "vectors": {"type": "array", "items": {"title": "as in vector.schema.json", "type": "object"}},
    }
    question: dict[str, Schema] = {
        "question": KEY,
        "component": {"enum": list(COMPONENTS)},
        "builds": {"type": "array", "items": configuration, "minItems": 1},
        "calls": {"type": "array", "items": _object(call), "minItems": 1},
    }
    comment = "A line of what detr-spec asks: the first says of whom, each other one is a question"
    return _whole(comment, {"anyOf": [_object(first), _object(question)]}, definitions)


def answers_schema() -> Schema:
    """The schema of a line of answers."""
    definitions: dict[str, Schema] = {}
    value = {"value": _values(definitions, _answers()), "observation": schema_of(Observation, definitions)}
    kinds = [
        {**_object(value), "required": ["value"]},
        _object({"raised": schema_of(RaisedThere, definitions)}),
        _object({"not_provided": {"title": "why", "type": "string"}}),
    ]
    line = {"question": KEY, "answers": {"type": "array", "items": {"anyOf": kinds}, "minItems": 1}}
    comment = "A line of what a program answers: to each call of a question, in order"
    return _whole(comment, _object(line), definitions)


def _arguments() -> list[Any]:
    return [hint for name in COMPONENTS for own in signatures(name).values() for hint in own.arguments]


def _answers() -> list[Any]:
    found = [own for name in COMPONENTS for own in signatures(name).values()]
    return [get_args(own.answer)[0] if own.is_observed else own.answer for own in found]


def _values(definitions: dict[str, Schema], hints: list[Any]) -> Schema:
    """Any of the values of these types."""
    different: list[Schema] = []
    for hint in hints:
        schema = schema_of(hint, definitions)
        if schema not in different:
            different.append(schema)
    return {"anyOf": different}


def _object(parts: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False}


def _whole(comment: str, schema: Schema, definitions: dict[str, Schema]) -> Schema:
    array = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in ARRAYS if name != "number"]}
    return {
        "$schema": DIALECT,
        "$comment": comment,
        **schema,
        "$defs": {**ARRAYS, "array": array, **dict(sorted(definitions.items()))},
    }
