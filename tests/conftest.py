"""What holds for all tests."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Interrupts arrive, also where the tests run in the background of a shell, which ignores them for its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
