"""What an implementation may change in its process besides random numbers, and how it is put back."""

from __future__ import annotations

import builtins
import contextlib
import gc
import json
import locale
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from detr_conformance.base.streams import is_closed, opened_again, put_back, standing

if sys.platform != "win32":
    import resource

    RESOURCES = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
else:
    RESOURCES = set()


class Part(NamedTuple):
    """A part of the state of a process: how it is read, and how it is made what it was read to be."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _streams() -> list[tuple[Any, bool]]:
    return [(stream, is_closed(stream)) for stream in (sys.stdin, sys.stdout, sys.stderr)]


def _set_streams(streams: list[tuple[Any, bool]]) -> None:
    sys.stdin, sys.stdout, sys.stderr = (
        stream if was_closed else opened_again(descriptor, stream)
        for descriptor, (stream, was_closed) in enumerate(streams)
    )


def _set_hooks(hooks: tuple[Any, ...]) -> None:
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


SIGNALS = tuple(
    getattr(signal, f"SIG{name}") for name in ("INT", "TERM", "HUP", "ALRM") if hasattr(signal, f"SIG{name}")
)


def _set_handlers(handlers: list[Any]) -> None:
    for number, handler in zip(SIGNALS, handlers, strict=True):
        # Handlers that are not Python's cannot be set, and none can but in the main thread.
        with contextlib.suppress(TypeError, ValueError):
            signal.signal(number, handler)


TIMERS = tuple(
    getattr(signal, f"ITIMER_{name}") for name in ("REAL", "VIRTUAL", "PROF") if hasattr(signal, f"ITIMER_{name}")
)


def _stop_timers(were_running: bool) -> None:
    for timer in () if were_running else TIMERS:
        signal.setitimer(timer, 0)


def _resource_limits() -> dict[int, tuple[int, int]]:
    return {number: resource.getrlimit(number) for number in RESOURCES}


def _set_resource_limits(limits: dict[int, tuple[int, int]]) -> None:
    for number, limit in limits.items():
        # What was lowered for good stays lowered.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(number, limit)


def _set_flushing(flushes: bool) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(flushes)


PARTS = {
    "working directory": Part(os.getcwd, os.chdir),
    "environment": Part(lambda: dict(os.environ), _set_environment),
    "resource limits": Part(_resource_limits, _set_resource_limits),
    "descriptors of the streams": Part(standing, put_back),
    "streams": Part(_streams, _set_streams),
    "hooks": Part(lambda: (sys.excepthook, sys.unraisablehook, threading.excepthook), _set_hooks),
    "recursion limit": Part(sys.getrecursionlimit, sys.setrecursionlimit),
    "collector": Part(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    "locale": Part(lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    "tracing": Part(sys.gettrace, sys.settrace),
    "profiling": Part(sys.getprofile, sys.setprofile),
    "handlers of signals": Part(lambda: list(map(signal.getsignal, SIGNALS)), _set_handlers),
    "timers": Part(lambda: any(signal.getitimer(timer)[0] for timer in TIMERS), _stop_timers),
    "subnormal numbers": Part(lambda: sys.float_info.min / 2 == 0, _set_flushing),
}


SHARED = (builtins, json, math, np, os, time)
"""Modules whose functions are called all the time by whoever judges in the same process."""


def remembered_interpreter() -> Callable[[], None]:
    """A function that makes the names of the shared modules, and the recursion limit, again what they are now.

    It is quick enough to follow every call of an implementation, and rests on nothing that one could have changed.
    Names that are new stay.
    """
    names = [(vars(module).update, dict(vars(module))) for module in SHARED]
    limit, set_limit = sys.getrecursionlimit(), sys.setrecursionlimit

    def restore() -> None:
        set_limit(limit)
        for update, known in names:
            update(known)

    return restore


def remembered_process() -> Callable[[], None]:
    """A function that makes each part of the state of this process again what it is now."""
    values = {name: part.read() for name, part in PARTS.items()}

    def restore() -> None:
        for name, part in PARTS.items():
            try:
                changed = part.read() != values[name]
            except OSError:
                changed = True  # so a working directory that was deleted is told
            if changed:
                with contextlib.suppress(OSError, RecursionError):
                    part.write(values[name])

    return restore
