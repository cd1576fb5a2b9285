"""The standard streams of a command: open, whatever it was started with."""

from __future__ import annotations

import contextlib
import os
import sys

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}
"""Their names in the order of their descriptors, and how each is opened."""


def open_streams() -> None:
    """Opens the null device in place of each standard stream that is closed, as files would take their descriptors."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < len(STREAMS):
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, mode in STREAMS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def discard_output() -> None:
    """Sends standard output to the null device where it takes no more, as Python writes what is left in the end."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
