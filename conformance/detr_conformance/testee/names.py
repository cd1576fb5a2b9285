"""How the names begin of what is judged in a process of its own."""

from __future__ import annotations

import shlex
from pathlib import Path

PROCESS = "process:"
"""A command follows, whose process answers for itself."""

ISOLATED = "isolated:"
"""Another name follows, of what is to be put into a process."""


RECORDED = "recorded:"
"""The names of two files follow, of questions and of answers to them."""


def recorded_name(questions: Path, answers: Path) -> str:
    """The name of the implementation that gave these answers to these questions."""
    return RECORDED + shlex.join([str(answers), "--questions", str(questions)])


def is_testee(name: str) -> bool:
    """Whether the name says that the implementation is in a process of its own."""
    return name.startswith((PROCESS, ISOLATED))


def isolated_name(name: str) -> str:
    """The name of the same implementation in a process of its own."""
    return name if is_testee(name) else ISOLATED + name


def spoken(component: str, function: str) -> str:
    """How a function of a component is spoken of; one without a name is the component itself."""
    part = "post-processing" if component == "postprocess" else component
    return f"{function} of the {part}" if function else f"the {part}"
