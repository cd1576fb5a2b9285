"""What a worker process does: calls functions, one after the other, and sends back what they return."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any

from detr_conformance.base.streams import out_of_reach
from detr_conformance.encoding.plain_data import told

LONGEST = 1 << 25
"""The most bytes of a message; text that is taken for the length of one says more."""


class Kind(Enum):
    """What a message of a worker says: it has a job; its time begins; what is known by now; what came of it."""

    BEGUN = 1
    READY = 2
    TOLD = 3
    RETURNED = 4
    RAISED = 5


class WorkerError(Exception):
    """What a function raised that cannot be sent as it is, or an answer that cannot be."""


def packed(message: Any) -> bytes:
    """A message as bytes; raises what pickling it raises, and `WorkerError` where it is too long."""
    text = pickle.dumps(message)
    if len(text) > LONGEST:
        raise WorkerError(f"an answer has {len(text)} bytes; expected at most {LONGEST}")
    return struct.pack(">I", len(text)) + text


class _Link:
    """The descriptors of this process on which it is asked and answers; a process that is forked from it has none."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._requests, self._answers = out_of_reach(0), out_of_reach(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        # What is printed, also from below Python, must not mix with the answers.
        os.dup2(2, 1)

    def read(self) -> bytes | None:
        """The next request; None where there will be none."""
        self._require_own()
        head = self._read(4)
        return None if head is None else self._read(struct.unpack(">I", head)[0])

    def _read(self, count: int) -> bytes | None:
        parts = []
        while count:
            part = os.read(self._requests, count)
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def write(self, message: bytes) -> None:
        """Writes all of a message."""
        self._require_own()
        while message:
            message = message[os.write(self._answers, message) :]

    def _require_own(self) -> None:
        if os.getpid() != self._process:
            os._exit(0)


_LINKS: list[_Link] = []


def ready() -> None:
    """Says that what a job needs is imported, and that its time begins, which was longer by that of a start."""
    _LINKS[0].write(packed((Kind.READY, None)))


def tell(value: Any) -> None:
    """Sends what is known by now of a job, which counts where nothing else comes of it; the time begins again."""
    # What cannot be told early, for its size, say, is told in the end.
    with contextlib.suppress(Exception):
        _LINKS[0].write(packed((Kind.TOLD, value)))


def main() -> None:
    """Answers requests, each a function and its arguments, until there are none, or this process is no longer sound."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _LINKS.append(_Link())
    request = _LINKS[0].read()
    while request is not None:
        _LINKS[0].write(packed((Kind.BEGUN, None)))
        function, arguments = pickle.loads(request)
        _LINKS[0].write(_answer(function, arguments))
        request = _LINKS[0].read() if _has_streams() else None


def _has_streams() -> bool:
    """Whether the standard streams are open; without them, files that are opened take their places."""
    try:
        return all(os.fstat(stream) for stream in range(3))
    except OSError:
        return False


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    try:
        return packed((Kind.RETURNED, function(*arguments)))
    except BaseException as error:
        return _raised(error)


def _raised(error: BaseException) -> bytes:
    """The message that says what was raised: itself, if it is an error of ours, else what it says."""
    with contextlib.suppress(Exception):
        ours = type(error).__module__.partition(".")[0] == __package__.partition(".")[0]
        if ours and isinstance(error, Exception):
            return packed((Kind.RAISED, error))
    return packed((Kind.RAISED, WorkerError(told(error))))


def command() -> list[str]:
    """The command of a worker, in this interpreter and with its search path."""
    code = f"import sys; sys.path[:] = sys.argv.pop(1).split(sys.argv.pop(1)); from {__name__} import main; main()"
    path = [os.path.abspath(folder) for folder in sys.path]
    return [sys.executable, "-c", code, os.pathsep.join(path), os.pathsep]
