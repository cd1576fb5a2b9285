"""Interrupts: Ctrl-C, and the signals with which a system stops a process."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

INTERRUPTED = 130
"""The exit code of a command that was ended by Ctrl-C, which shows what is known by then."""

SAME = 1.0
"""Signals within so many seconds are one wish: a terminal sends it to every process, and a supervisor passes it on."""

SOON = 0.02
"""The seconds after which a signal comes again that was swallowed."""


class Interrupted(KeyboardInterrupt):
    """This process is asked to end."""


_RECEIVED: list[tuple[int, float]] = []


def listen() -> None:
    """Raises `Interrupted` in the main thread on each of the signals, but for those that are ignored already.

    One that comes where Python swallows what is raised, such as in a finalizer, comes again.
    """
    sys.unraisablehook = partial(_send_again, sys.unraisablehook)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    now = time.monotonic()
    again = bool(_RECEIVED) and now - _RECEIVED[-1][1] < SAME
    _RECEIVED.append((number, now))
    if not again:
        raise Interrupted


def _send_again(otherwise: Callable[[Any], object], swallowed: Any) -> None:
    if isinstance(swallowed.exc_value, Interrupted):
        number, _ = _RECEIVED.pop()
        main = threading.main_thread().ident or 0
        timer = threading.Timer(SOON, signal.pthread_kill, [main, number])
        timer.daemon = True
        timer.start()
    else:
        otherwise(swallowed)


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
    return (isinstance(error, Interrupted) and bool(_RECEIVED)) or (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
