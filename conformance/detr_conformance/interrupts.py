"""The wish that a command ends: Ctrl-C, and what a system sends to a process that it stops."""

from __future__ import annotations

import signal
import time
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

INTERRUPTED = 130
"""The exit code of a command that was ended by Ctrl-C, which shows what is known by then."""

SAME = 1.0
"""Signals within so many seconds are one wish: a terminal sends it to every process, and a supervisor passes it on."""


class Interrupted(KeyboardInterrupt):
    """Somebody wants this process to end."""


_RECEIVED: list[tuple[int, float]] = []


def listen() -> None:
    """Raises `Interrupted` in the main thread on each of the signals, but for those that are ignored already."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    now = time.monotonic()
    again = bool(_RECEIVED) and now - _RECEIVED[-1][1] < SAME
    _RECEIVED.append((number, now))
    if not again:
        raise Interrupted


def received() -> int | None:
    """The first of the signals that came; None where none did."""
    return _RECEIVED[0][0] if _RECEIVED else None


def require_none() -> None:
    """Raises `Interrupted` again if one of the signals has come."""
    if _RECEIVED:
        raise Interrupted


def is_wanted(error: KeyboardInterrupt) -> bool:
    """Whether an interrupt is not just something that an implementation raised, as far as that can be told.

    It can where this process listens to signals, or ignores them.
    """
    return isinstance(error, Interrupted) or signal.getsignal(signal.SIGINT) is signal.default_int_handler
