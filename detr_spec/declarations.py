"""Checks of what is declared: choices, numbers, names and templates; a wrong one is refused with `InvalidValue`."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from functools import cache
from typing import Literal, get_args, get_origin, get_type_hints

from detr_spec.values import InvalidValue


@cache
def choices_of(kind: type) -> dict[str, tuple[str | bool, ...]]:
    """The values of each field that is a choice among some."""
    hints = get_type_hints(kind)
    choices = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    return choices | {name: (False, True) for name, hint in hints.items() if hint is bool}


def require_choices(rules: object) -> None:
    """Raises `InvalidValue` unless each field that is a choice is one of its choices."""
    kind: type = type(rules)
    for name, known in choices_of(kind).items():
        value = getattr(rules, name)
        if value not in known:
            raise InvalidValue(f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}")


def require_number(name: str, number: float) -> None:
    """Raises `InvalidValue` for a number that is negative or not finite."""
    if not (math.isfinite(number) and number >= 0):
        raise InvalidValue(f"{name} is {number}; expected a finite number of at least 0")


def require_weights(name: str, weights: Sequence[float]) -> None:
    """Raises `InvalidValue` for weights of which one is negative or not finite, or that are all 0."""
    for weight in weights:
        require_number(f"a weight of {name}", weight)
    if not any(weights):
        raise InvalidValue(f"{name} are all 0; expected at least one that counts")


def require_different(what: str, *names: str) -> None:
    """Raises `InvalidValue` if a name occurs twice."""
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise InvalidValue(f"two {what} are called {twice[0]!r}; expected a name of its own for each")


def require_arguments(names: Sequence[str], known: Sequence[str]) -> None:
    """Raises `InvalidValue` unless a matcher's arguments are known and include the number of targets of an image.

    known: the arguments that exist; those that give the number of targets of an image can replace each other.
    """
    counts = [name for name in known if name in ("target_valid", "target_counts")]
    lacks = [name for name in known if name not in (*names, *counts)]
    if lacks or set(names) - set(known) or (counts and not set(counts) & set(names)):
        told = f", of {' and '.join(counts)} at least one" if counts else ""
        raise InvalidValue(
            f"the arguments of the matcher are {', '.join(names)}; expected {', '.join(known)}, in any order{told}"
        )


def require_template(name: str, template: str, *parts: str, optional: Sequence[str] = ()) -> None:
    """Raises `InvalidValue` unless a template holds each of these parts, plainly, and nothing else in braces.

    optional: parts that it may hold too.
    """
    try:
        found = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError:
        found = []
    names = {part[0] for part in found}
    if not set(parts) <= names <= {*parts, *optional} or any(part[1] or part[2] for part in found):
        expected = " and ".join(f"{{{part}}}" for part in parts)
        more = "".join(f", {{{part}}} where wanted" for part in optional)
        raise InvalidValue(f"{name} is {template!r}; expected text with {expected}{more}, and nothing else in braces")
