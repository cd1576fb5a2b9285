"""Errors that speak to the person who asked: one line, no traceback."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec

from detr_conformance.base.text import line_of

LONGEST_MESSAGE = 1000


class UsageError(Exception):
    """The request cannot be carried out; each argument is one line that says what to do instead."""

    def __str__(self) -> str:
        return "\n".join(line_of(line, LONGEST_MESSAGE) for line in self.args)


def require_installed(what: str, *packages: str, extra: str = "torch") -> None:
    """Raises `UsageError` where what is asked for needs packages that are not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}; `pip install 'detr-spec[{extra}]'` brings what it needs")


def close_names(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` with the known names nearest to `name`, or an empty string where none is near."""
    close = get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def one_line(error: BaseException) -> str:
    """The type of an exception and the first line of what it says."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        lines = []  # what others raise may have anything as its text
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def place_of(error: BaseException, *passed_over: str) -> str:
    """The innermost line of a file at which something was raised, in brackets; empty where none is known.

    passed_over: files that are skipped.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and frame.filename not in passed_over
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def cause_of_death(code: int) -> str:
    """What ended a process, from its exit code; a negative one is minus the signal, and of others eight bits count."""
    if code < 0:
        try:
            return f"by signal {signal.Signals(-code).name}"
        except ValueError:
            return f"by signal {-code}"
    return f"with exit code {code % 256}"
