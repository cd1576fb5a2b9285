"""What implementations returned and printed, as data for a report, shortened to what a person reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from detr_conformance.base.text import cut
from detr_conformance.encoding.reports import plain

LONGEST = 2000
"""How much is kept of what an exception says, which may be megabytes."""

LONGEST_DETAIL = 8000
"""How much is kept of any other text, such as a traceback."""

MOST_ITEMS = 10_000
"""How much of a list is kept, which a case never fills."""


def plain_data(value: Any) -> Any:
    """`value` as JSON gives it back, so that it is the same from a worker, in a file and in memory.

    Long texts and lists are shortened; what cannot be shown is named by its type. Raises nothing for what it is given.
    """
    try:
        return _bounded(plain(_beginning(value)))
    except Exception as error:
        return f"a {type(value).__name__} that cannot be shown: {type(error).__name__}"


def told(error: BaseException) -> str:
    """The type of an exception and what it says, bounded; the type alone where it says nothing or raises."""
    name = type(error).__name__
    try:
        text = cut(str(error), LONGEST)
    except Exception:
        return name
    return f"{name}: {text}" if text else name


def _beginning(value: Any) -> Any:
    """As much of what an implementation gave as is kept of it, and a bit more: to show all of it may take long."""
    if isinstance(value, np.ndarray):
        return value if value.size <= MOST_ITEMS else value.ravel()[: MOST_ITEMS + 1]
    if type(value) in (list, tuple):
        return [_beginning(item) for item in value[: MOST_ITEMS + 1]]
    if type(value) is dict:
        return {key: _beginning(item) for key, item in value.items()}
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, LONGEST_DETAIL)
    if isinstance(value, list):
        kept = [_bounded(item) for item in value[:MOST_ITEMS]]
        return kept if len(value) <= MOST_ITEMS else [*kept, "…"]
    if isinstance(value, dict):
        return {key: _bounded(item) for key, item in value.items()}
    return value
