"""What holds for all tests."""

from __future__ import annotations

import signal

import pytest


def pytest_configure() -> None:
    """Signals arrive, also where tests run in the background or under `nohup`, whose children ignore some."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The README's commands take longest, and so come first, as long as there is other work to share."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")
