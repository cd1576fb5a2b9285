"""A process behind two pipes: messages go in, messages come out, within limits of time, memory and length."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from detr_conformance.testee.detr_testee import LONGEST, Malformed
from detr_conformance.text import line_of

KEEPER = Path(__file__).with_name("keeper.py")

_CHUNK = 1 << 16
_TOLD = 2000
"""How many bytes of what a testee wrote last to standard error are kept."""
_GRACE = 2.0
"""Seconds from when a process closes its standard output until that is told, and not the end of the process."""


class Died(Exception):
    """The process has ended; status is what `os.wait` says of it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"wait status {status}")
        self.status = status


class Late(Exception):
    """The process has not answered in time."""


class Process:
    """A testee and its keeper. `close` ends both and all that the testee started; it is also done if this process ends.

    Raises `OSError` where no process can be started.
    """

    def __init__(self, command: Sequence[str], mebibytes: int, environment: Mapping[str, str]) -> None:
        self._lifeline, theirs = socket.socketpair()
        with theirs:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(theirs.fileno()), str(mebibytes), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                bufsize=0,
            )
        streams = (self._keeper.stdin, self._keeper.stdout, self._keeper.stderr)
        self._requests, self._answers, self._errors = (stream.fileno() for stream in streams if stream is not None)
        self._streams = streams
        self._selector = selectors.DefaultSelector()
        for descriptor in (self._requests, self._answers, self._errors, self._lifeline.fileno()):
            os.set_blocking(descriptor, False)
        for descriptor in (self._answers, self._errors, self._lifeline.fileno()):
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._received = bytearray()
        self._told = b""
        self._status: int | None = None

    @property
    def told(self) -> str:
        """The last line that the process wrote to standard error, shortened."""
        lines = self._told.decode(errors="replace").strip().splitlines()
        return line_of(lines[-1][-200:]) if lines else ""

    def forget_told(self) -> None:
        """Forgets what was written to standard error."""
        self._told = b""

    def exchange(self, message: bytes, deadline: float) -> bytes:
        """The text of the answer to a message; raises `Died`, `Malformed`, or, at that time of `monotonic`, `Late`."""
        left = memoryview(message)
        until = deadline
        while True:
            left = self._written(left)
            text = self._text()
            if text is not None:
                return text
            closed = self._answers not in self._selector.get_map()
            if closed and self._status is not None:
                raise Died(self._status)
            if closed:
                until = min(until, time.monotonic() + _GRACE)
            timeout = until - time.monotonic()
            if timeout <= 0 and until < deadline:
                raise Malformed("it closed its standard output")
            if timeout <= 0:
                raise Late
            for key, _ in self._selector.select(timeout):
                if key.fd != self._requests:
                    self._take(key.fd)

    def _written(self, left: memoryview) -> memoryview:
        """What is left of a message after as much as fits was written; nothing, where nobody reads any more."""
        with contextlib.suppress(BlockingIOError):
            try:
                left = left[os.write(self._requests, left) :] if left else left
            except BrokenPipeError:
                left = left[len(left) :]
        waiting = self._requests in self._selector.get_map()
        if left and not waiting:
            self._selector.register(self._requests, selectors.EVENT_WRITE)
        elif waiting and not left:
            self._selector.unregister(self._requests)
        return left

    def _text(self) -> bytes | None:
        """The first message that was received, if it has come in full."""
        if len(self._received) < 4:
            return None
        (length,) = struct.unpack(">I", self._received[:4])
        if length > LONGEST:
            head = bytes(self._received[:40])
            raise Malformed(
                f"its standard output has {head!r} where a message of at most {LONGEST} bytes begins; "
                "what a program prints must go to standard error"
            )
        if len(self._received) < 4 + length:
            return None
        text = bytes(self._received[4 : 4 + length])
        del self._received[: 4 + length]
        return text

    def _take(self, descriptor: int) -> None:
        """Reads what there is; a stream that has ended is listened to no more."""
        if descriptor == self._lifeline.fileno():
            self._status = self._read_status()
            self._selector.unregister(descriptor)
            # All of its processes are gone, so what they have written is there by now.
            while self._answers in self._selector.get_map():
                self._take(self._answers)
            return
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            if self._status is None:
                return
            data = b""
        if not data:
            self._selector.unregister(descriptor)
        elif descriptor == self._errors:
            self._told = (self._told + data)[-_TOLD:]
        elif len(self._received) <= LONGEST + 4:
            self._received += data

    def _read_status(self) -> int:
        """The wait status of the testee; that of a killed process where the keeper is gone without a word."""
        try:
            return int(self._lifeline.recv(100) or b"9")
        except OSError:
            return 9

    def close(self) -> None:
        """Ends the process and all that it started; may be called again."""
        self._lifeline.close()
        self._selector.close()
        for stream in self._streams:
            if stream is not None:
                stream.close()
        try:
            self._keeper.wait(10)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
