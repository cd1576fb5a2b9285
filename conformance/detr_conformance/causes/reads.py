"""Which fields of a profile a check looks at, so that no other is tried in vain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from detr_spec.configuration import Configuration
from detr_spec.declarable import parts
from detr_spec.profile import Profile

WHOLE = frozenset({"__eq__", "__hash__", "__init__", "__post_init__", "__repr__", "replace", "_replace", "_part"})
"""The functions that look at a field whatever it is needed for."""


@contextmanager
def fields_read(read: set[str]) -> Iterator[None]:
    """Adds the paths of the fields that are looked at within the context, such as "keys.logits"."""
    with ExitStack() as undone:
        # A part of a profile is looked at in the configuration, which has it with the numbers of the case.
        for prefix, kind in [
            ("", Profile),
            ("", Configuration),
            *((f"{name}.", kind) for name, kind in parts().items()),
        ]:
            undone.enter_context(_watched(kind, prefix, read))
        yield


@contextmanager
def _watched(kind: Any, prefix: str, read: set[str]) -> Iterator[None]:
    def looked_up(self: Any, name: str) -> Any:
        if sys._getframe(1).f_code.co_name not in WHOLE:
            read.add(f"{prefix}{name}")
        return object.__getattribute__(self, name)

    kind.__getattribute__ = looked_up
    try:
        yield
    finally:
        del kind.__getattribute__
