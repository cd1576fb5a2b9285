"""Documents held against a published schema, with errors that say where, what is found and what is expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, validators

from detr_conformance.base.errors import UsageError, close_names
from detr_conformance.vectors.places import Place

MOST_ERRORS = 100
"""Of a document, of which the first in its order is told."""

LONGEST = 60
"""How much of what is found an error shows."""


@cache
def schema_text(name: str) -> str:
    """The published schema of that name, as its file says it."""
    return (files("detr_conformance") / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")


@cache
def _validator(name: str) -> Any:
    original: Any = Draft202012Validator.VALIDATORS["items"]

    def items(validator: Any, schema: Any, found: Any, parent: Any) -> Iterator[Any]:
        """The rule "items", which takes most of the time, with a short way for long lists of plain numbers."""
        plain = _PLAIN.get(json.dumps(schema))
        if plain is None or not isinstance(found, list) or not all(type(item) in plain for item in found):
            yield from original(validator, schema, found, parent)

    extended: Any = validators
    return extended.extend(Draft202012Validator, {"items": items})(json.loads(schema_text(name)))


_PLAIN = {
    '{"$ref": "#/$defs/number"}': (int, float),
    '{"type": "integer"}': (int,),
    '{"type": "boolean"}': (bool,),
}
"""Schemas of items, and the types whose values meet them."""


def require_valid(document: Any, schema: str, place: Place) -> None:
    """Raises `UsageError` for the first thing in which a document differs from the schema of that name."""
    errors = islice(_validator(schema).iter_errors(document), MOST_ERRORS)
    error = min(errors, key=_order, default=None)
    if error is not None:
        raise _told(error, place.within(*error.absolute_path))


def _order(error: Any) -> tuple[list[str], bool]:
    """By place, and at one place what is unknown first: it often is what is missing, misspelt."""
    return [str(part) for part in error.absolute_path], error.validator != "additionalProperties"


def _told(error: Any, place: Place) -> UsageError:
    rule, limit, found = error.validator, error.validator_value, error.instance
    if rule == "additionalProperties" and limit is False:
        known = error.schema["properties"]
        name = next(key for key in found if key not in known)
        hint = close_names(name, known)
        return UsageError(f"{place}: no field is called {_short(name)}{hint}; the fields are {', '.join(known)}")
    if rule == "required":
        missing = next(name for name in limit if name not in found)
        return UsageError(f"{place}: field {missing!r} is missing")
    return place.wrong(found=_short(found), expected=_expectation(rule, limit, error.schema))


def _expectation(rule: str, limit: Any, schema: Mapping[str, Any]) -> str:
    """What a schema wants, in words: its own title where it has one, else what the failed rule says."""
    if "title" in schema:
        return str(schema["title"])
    told: dict[str, Callable[[], str]] = {
        "type": lambda: " or ".join(_TYPES[name] for name in ([limit] if isinstance(limit, str) else limit)),
        "enum": lambda: f"one of {', '.join(map(str, limit))}",
        "const": lambda: repr(limit),
        "minimum": lambda: f"at least {limit}",
        "maximum": lambda: f"at most {limit}",
        "minItems": lambda: f"at least {limit} items",
        "maxItems": lambda: f"at most {limit} items",
        "minLength": lambda: "text that is not empty",
        "uniqueItems": lambda: "items that differ",
    }
    return told[rule]() if rule in told else f"{rule} {limit}"


_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def _short(value: Any) -> str:
    """A value as text, cut where it is long; an object or a list is only named."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = json.dumps(value, ensure_ascii=True) if value is None or isinstance(value, (bool, str)) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
