"""The two consoles: results go to standard output, progress and errors to standard error."""

from __future__ import annotations

import os
import sys

from rich.console import Console

FILE_WIDTH = 160
"""How wide a report is that goes to no terminal."""


def output_console() -> Console:
    """The console of results; wide where it is no terminal and COLUMNS does not say otherwise."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console(highlight=False)
    return Console(highlight=False, width=FILE_WIDTH)


def error_console() -> Console:
    """The console of progress."""
    return Console(stderr=True, highlight=False)
