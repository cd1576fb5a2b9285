"""How the names begin of what is judged in a process of its own."""

from __future__ import annotations

PROCESS = "process:"
"""A command follows, whose process answers for itself."""

ISOLATED = "isolated:"
"""Another name follows, of what is to be put into a process."""


def is_testee(name: str) -> bool:
    """Whether the name says that the implementation is in a process of its own."""
    return name.startswith((PROCESS, ISOLATED))


def isolated_name(name: str) -> str:
    """The name of the same implementation in a process of its own."""
    return name if is_testee(name) else ISOLATED + name
