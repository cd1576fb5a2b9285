"""The two consoles: results go to standard output, progress and errors to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.text import Text

from detr_conformance.base.text import LONGEST_TEXT, cut, line_of, printable

FILE_WIDTH = 160
"""How wide a report is that goes to no terminal."""


class Console(RichConsole):
    """Prints every text as it is, also in tables: no markup, and no control character that a terminal or a CI obeys."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **how)

    def render_str(self, text: str, **how: Any) -> Text:
        """The text of a string, without rich's markup."""
        return super().render_str(printable(cut(text, LONGEST_TEXT)), **how)

    def print(self, *parts: Any, **how: Any) -> None:
        """Prints as rich does; if standard error accepts nothing, only that output is lost."""
        with contextlib.suppress(OSError) if self.stderr else contextlib.nullcontext():
            super().print(*parts, **how)

    def on_broken_pipe(self) -> None:
        """Raises the exception again, instead of `SystemExit` as rich does."""
        raise BrokenPipeError

    def show(self, text: str, style: str = "") -> None:
        """Prints a text whose lines are as long as they are; its first line in a style."""
        shown = self.render_str(text)
        end = shown.plain.find("\n")
        shown.stylize(style, 0, None if end < 0 else end)
        self.print(shown, soft_wrap=True)


def output_console() -> Console:
    """The console of results; wide where it is no terminal and COLUMNS does not say otherwise."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=FILE_WIDTH)


def error_console() -> Console:
    """The console of progress."""
    return Console(stderr=True)


def styled(text: str, style: str) -> Text:
    """A text in a style, as a cell of a table."""
    return Text(printable(text), style)


class _Description(ProgressColumn):
    """What a bar is at, in one line."""

    def render(self, task: Task) -> Text:
        """What a task says that it is at."""
        return Text(line_of(task.description))


def progress_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """A bar that is shown on a terminal alone. columns: what it counts, if not how much is done and for how long."""
    counted = columns or (MofNCompleteColumn(), TimeElapsedColumn())
    shown = (BarColumn(), *counted, _Description())
    return Progress(*shown, console=console, transient=True, disable=not console.is_terminal)


def print_above_bar(line: str) -> None:
    """Writes one clean line to standard error, above the bar where one is shown; nothing where nobody reads."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
