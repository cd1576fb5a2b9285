"""The standard streams of a command: open, whatever it was started with, and whatever is done to them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any

if sys.platform != "win32":
    import fcntl
    import resource

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}
"""Their names in the order of their descriptors, and how each is opened."""


def open_streams() -> None:
    """Opens the null device in place of each standard stream that is closed, as files would take their descriptors.

    What the encoding of an output does not have is written with a backslash.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < len(STREAMS):
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, mode in STREAMS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _COPIES[:] = map(out_of_reach, range(len(STREAMS)))


def out_of_reach(descriptor: int) -> int:
    """A copy with a high number, which what closes or writes to the usual ones does not meet."""
    if sys.platform == "win32":
        return os.dup(descriptor)
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, min(limit, 2000) * 3 // 4)


_COPIES: list[int] = []


def standing() -> bool:
    """Whether the descriptors of the streams lead where they led when the command began; true where none did."""
    return all(_file(stream) == _file(copy) for stream, copy in enumerate(_COPIES))


def put_back(stood: bool) -> None:
    """Leads the descriptors of the streams where they led when the command began."""
    for stream, copy in enumerate(_COPIES if stood else ()):
        os.dup2(copy, stream)


def _file(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_closed(stream: Any) -> bool:
    """Whether a stream takes or gives nothing any more."""
    return bool(getattr(stream, "closed", False))


def opened_again(descriptor: int, stream: Any) -> Any:
    """A standard stream as it was, or, where it was closed, another one of its descriptor."""
    if not is_closed(stream):
        return stream
    if is_closed(_REOPENED.get(descriptor, stream)):
        mode = list(STREAMS.values())[descriptor]
        how = {"encoding": stream.encoding, "errors": stream.errors, "closefd": False}
        _REOPENED[descriptor] = open(descriptor, mode, **how)  # noqa: SIM115
    return _REOPENED[descriptor]


_REOPENED: dict[int, Any] = {}


def discard_output() -> None:
    """Sends standard output to the null device where it takes no more, as Python writes what is left in the end."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
