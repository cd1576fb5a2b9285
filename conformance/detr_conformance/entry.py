"""Where the command `detr-spec` begins: until it can say that it was interrupted, Ctrl-C ends it without a word."""

from __future__ import annotations

import signal
from importlib import import_module


def main() -> None:
    """Runs the command, whose modules take a moment to import."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import_module("detr_conformance.commands.command_line").main()
