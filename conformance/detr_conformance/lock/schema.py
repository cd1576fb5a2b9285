"""The JSON Schema of a lock, from the dataclasses that it holds."""

from __future__ import annotations

from detr_conformance.lock.recording import FORMAT, Lock
from detr_conformance.vectors.schema import DIALECT, NUMBER, Schema, array_schema, format_schema, object_schema


def lock_schema() -> Schema:
    """The schema of a lock."""
    definitions: dict[str, Schema] = {}
    whole = object_schema(Lock, definitions)
    whole["properties"]["format"] = format_schema(FORMAT, "`detr-spec lock` writes another")
    return {
        "$schema": DIALECT,
        "$comment": "A regression lock of detr-spec: what implementations computed on its vectors",
        **whole,
        "$defs": {"number": NUMBER, "float64": array_schema("float64"), **dict(sorted(definitions.items()))},
    }
