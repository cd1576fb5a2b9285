"""The JSON Schema of a vector, from the dataclasses that it holds: it can say nothing else than these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin

import numpy as np

from detr_conformance.encoding.files import ARRAY_DTYPES, LARGEST_ARRAY, NON_FINITE
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

EXACT = (np.float64, np.int64, np.bool_)
"""The numbers of arrays whose dtype is known."""


def schema_text(schema: Schema) -> str:
    """A schema as its file says it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


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
        "provenance": schema_of(Provenance, definitions),
        "profile": schema_of(Profile, definitions),
        "configuration": object_schema(Configuration, definitions, without=("profile",)),
        "case": _case(definitions),
        "expected": schema_of(Expected, definitions),
    }
    return {
        "$schema": DIALECT,
        "$comment": "A vector of detr-spec: one case, the invariants that judge it, and what is expected",
        "type": "object",
        "properties": parts,
        "required": [name for name in parts if name != "expected"],
        "additionalProperties": False,
        "$defs": {
            **ARRAYS,
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


ARRAYS: Schema = {"number": NUMBER, **{name: array_schema(name) for name in ARRAY_DTYPES.values()}}
"""Definitions that the others name."""


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
        return schema_of(hint, definitions)
    schema = schema_of(optional, definitions)
    if default is None:
        return schema
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else {"anyOf": [schema, {"type": "null"}]}


def schema_of(hint: Any, definitions: dict[str, Schema]) -> Schema:
    """The schema of a value of a type; those of dataclasses are added to the definitions."""
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
        return {"$ref": f"#/$defs/{np.dtype(array[0]).name}" if array[0] in EXACT else "#/$defs/array"}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (frozenset, Sequence) or (origin is tuple and arguments[-1] is Ellipsis):
        return {"type": "array", "items": schema_of(arguments[0], definitions)}
    if origin is tuple:
        items = [schema_of(item, definitions) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if is_mapping(hint):
        return {"type": "object", "additionalProperties": schema_of(arguments[1], definitions)}
    return {
        float: {"$ref": "#/$defs/number"},
        int: {"type": "integer"},
        bool: {"type": "boolean"},
        str: {"type": "string"},
    }[hint]
