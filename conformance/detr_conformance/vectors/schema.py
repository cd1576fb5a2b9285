"""The JSON Schema of a vector, from the dataclasses that it holds: it can say nothing else than these."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin

import numpy as np

from detr_conformance.encoding.files import LARGEST_ARRAY, NON_FINITE
from detr_conformance.vectors.vector import FORMAT, FORMAT_READ, KINDS, Expected, Provenance
from detr_spec.configuration import Configuration
from detr_spec.hints import array_type, default_of, field_types, is_mapping, is_part, is_record, optional_type
from detr_spec.implementation import COMPONENTS
from detr_spec.profile import Profile

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

NUMBER: Schema = {
    "title": 'a number, or one of "nan", "inf", "-inf"',
    "type": ["number", "string"],
    "pattern": NON_FINITE,
}


def schema_text() -> str:
    """The schema of one vector as its file says it."""
    return json.dumps(vector_schema(), indent=2, ensure_ascii=False) + "\n"


def vector_schema() -> Schema:
    """The schema of one vector."""
    definitions: dict[str, Schema] = {}
    parts = {
        "format": {"title": FORMAT_READ, "const": FORMAT},
        "component": {"enum": list(COMPONENTS)},
        "invariants": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        "flags": {
            "type": "object",
            "additionalProperties": {"title": "an explanation", "type": "string", "minLength": 1},
        },
        "provenance": _schema(Provenance, definitions),
        "profile": _schema(Profile, definitions),
        "configuration": object_schema(Configuration, definitions, without=("profile",)),
        "case": _case(definitions),
        "expected": _schema(Expected, definitions),
    }
    return {
        "$schema": DIALECT,
        "$comment": "A vector of detr-spec: one case, the invariants that judge it, and what is expected",
        "type": "object",
        "properties": parts,
        "required": [name for name in parts if name != "expected"],
        "additionalProperties": False,
        "$defs": {
            "number": NUMBER,
            **{name: array_schema(name) for name in ("float64", "int64", "bool")},
            **dict(sorted(definitions.items())),
        },
    }


def array_schema(dtype: str) -> Schema:
    """The schema of an array of that dtype."""
    items = {"float64": {"$ref": "#/$defs/number"}, "int64": {"type": "integer"}, "bool": {"type": "boolean"}}
    sizes = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": LARGEST_ARRAY}, "maxItems": 8}
    return {
        "title": f"an array of {dtype}",
        "type": "object",
        "properties": {"dtype": {"const": dtype}, "shape": sizes, "values": {"type": "array", "items": items[dtype]}},
        "required": ["dtype", "shape", "values"],
        "additionalProperties": False,
    }


def _case(definitions: dict[str, Schema]) -> Schema:
    """A case: its kind says which fields it has."""
    choices = []
    for name, kind in KINDS.items():
        definitions[kind.__name__] = object_schema(
            kind, definitions, without=("configuration",), also={"kind": {"const": name}}
        )
        condition = {"properties": {"kind": {"const": name}}, "required": ["kind"]}
        choices.append({"if": condition, "then": {"$ref": f"#/$defs/{kind.__name__}"}})
    return {
        "type": "object",
        "properties": {"kind": {"enum": list(KINDS)}},
        "required": ["kind"],
        "allOf": choices,
    }


def object_schema(
    kind: Any,
    definitions: dict[str, Schema],
    without: tuple[str, ...] = (),
    also: dict[str, Schema] | None = None,
) -> Schema:
    """The fields of a dataclass; those without a default are required, and no other is allowed."""
    own = [field for field in fields(kind) if field.name not in without]
    also = also or {}
    return {
        "type": "object",
        "properties": {
            **also,
            **{field.name: _field(field_types(kind)[field.name], default_of(field), definitions) for field in own},
        },
        "required": [*also, *(field.name for field in own if default_of(field) is MISSING)],
        "additionalProperties": False,
    }


def _field(hint: Any, default: Any, definitions: dict[str, Schema]) -> Schema:
    """A field's schema; one that may be None by default is left out where it is."""
    optional = optional_type(hint)
    if optional is None:
        return _schema(hint, definitions)
    schema = _schema(optional, definitions)
    if default is None:
        return schema
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else {"anyOf": [schema, {"type": "null"}]}


def _schema(hint: Any, definitions: dict[str, Schema]) -> Schema:
    if is_part(hint):
        definitions[hint.__name__] = {
            "title": "a part of a profile, by its name, with its numbers",
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": {"$ref": "#/$defs/number"},
        }
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if is_record(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}
            definitions[hint.__name__] = object_schema(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    array = array_type(hint)
    if array is not None:
        return {"$ref": f"#/$defs/{np.dtype(array[0]).name}"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        items = [_schema(item, definitions) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if is_mapping(hint):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    return {
        float: {"$ref": "#/$defs/number"},
        int: {"type": "integer"},
        bool: {"type": "boolean"},
        str: {"type": "string"},
    }[hint]
