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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from detr_conformance.base.text import LONGEST_TEXT, cut, line_of, printable
from detr_conformance.base.time_limit import LOOK, TimeLimit
from detr_conformance.processes import keeper
from detr_conformance.processes.usage import kill_marked, most_memory, processor_seconds

KEEPER = Path(keeper.__file__)

_CHUNK = 1 << 16
_TOLD = 2000
"""How many bytes of what a process wrote last to standard error are kept."""
_MOST_BUFFERED = 1 << 20
"""The most bytes that a pipe holds."""
_GRACE = 2.0
"""Seconds from when a process closes its standard output until that is told, and not the end of the process."""
_MARK = "DETR_SPEC_PROCESS"
"""The variable of the environment by which all that a process started is known, should its keeper be killed."""


class Died(Exception):
    """The process has ended; status is what `os.wait` says of it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"wait status {status}")
        self.status = status

    def __reduce__(self) -> tuple[type[Died], tuple[int]]:
        return Died, (self.status,)

    @property
    def exit_code(self) -> int:
        """The exit code, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(self.status)


class Garbled(Exception):
    """What the process wrote is no message; the text says why."""


class Late(Exception):
    """The process has not answered in time; the text says how long that was."""


class TooLarge(Exception):
    """One of its processes holds more memory than it may."""


class Process:
    """A process and its keeper. `close` ends both and all that they started; it is also done if this process ends.

    command, environment: what is run. mebibytes: the memory that each of its processes may hold, 0 for any. longest:
    the most bytes of one of its messages. say: called with each line that it writes to standard error, fit to be
    shown. Raises `OSError` where no process can be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        longest: int,
        mebibytes: int = 0,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._longest, self._bytes, self._say = longest, mebibytes << 20, say
        self._mark = os.urandom(16).hex()
        self._lifeline, theirs = socket.socketpair()
        with theirs:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(theirs.fileno()), str(mebibytes), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**environment, _MARK: self._mark},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                bufsize=0,
            )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        self._streams = [self._keeper.stdin, self._keeper.stdout, self._keeper.stderr]
        streams = [stream.fileno() for stream in self._streams]
        self._requests, self._answers, self._errors = streams
        self._selector = selectors.DefaultSelector()
        for descriptor in (*streams, self._lifeline.fileno()):
            os.set_blocking(descriptor, False)
            if descriptor != self._requests:
                self._selector.register(descriptor, selectors.EVENT_READ)
        self._outgoing = memoryview(b"")
        self._received = bytearray()
        self._told = self._line = b""
        self._status: int | None = None
        self._silent_since: float | None = None
        self._looked = time.monotonic()

    def fileno(self) -> int:
        """A descriptor that can be read when there is something for `pump` to do."""
        return self._selector.fileno()

    @property
    def told(self) -> str:
        """The last line that the process wrote to standard error, shortened."""
        lines = self._told.decode(errors="replace").strip().splitlines()
        return line_of(lines[-1][-200:]) if lines else ""

    def forget_told(self) -> None:
        """Forgets what was written to standard error."""
        self._told = b""

    def processor_seconds(self) -> float:
        """The processor time that the process and all that it started have used."""
        return processor_seconds(self._keeper.pid)

    def exchange(self, message: bytes, limit: TimeLimit) -> bytes:
        """The text of the answer to a message; raises `Died`, `Garbled`, `TooLarge` or `Late`."""
        self.send(message)
        while True:
            text = self.receive()
            if text is not None:
                return text
            late = limit.exceeded()
            if late is not None:
                raise Late(late)
            self._require_memory()
            self.pump(LOOK)

    def send(self, message: bytes) -> None:
        """Begins to write a message, which `pump` goes on with."""
        self._outgoing = memoryview(bytes(self._outgoing) + message)
        self._write()

    def receive(self) -> bytes | None:
        """The text of the next message, None as long as it has not come; raises `Died` and `Garbled`."""
        text = self._text()
        if text is not None or self._answers in self._selector.get_map():
            return text
        if self._status is not None:
            raise Died(self._status)
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if now - self._silent_since > _GRACE:
            raise Garbled("it closed its standard output")
        return None

    def pump(self, seconds: float) -> None:
        """Reads and writes what can be, and waits at most so long until something can."""
        for key, _ in self._selector.select(seconds):
            if key.fd == self._requests:
                self._write()
            elif key.fd in self._selector.get_map():  # what came before it may have ended it
                self._take(key.fd)

    def _write(self) -> None:
        """Writes as much as fits; nothing is left to write where nobody reads any more."""
        try:
            self._outgoing = self._outgoing[os.write(self._requests, self._outgoing) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._outgoing = memoryview(b"")
        waiting = self._requests in self._selector.get_map()
        if self._outgoing and not waiting:
            self._selector.register(self._requests, selectors.EVENT_WRITE)
        elif waiting and not self._outgoing:
            self._selector.unregister(self._requests)

    def _text(self) -> bytes | None:
        """The first message that was received, if it has come in full."""
        if len(self._received) < 4:
            return None
        (length,) = struct.unpack(">I", self._received[:4])
        if length > self._longest:
            head = bytes(self._received[:40])
            raise Garbled(
                f"its standard output has {head!r} where a message of at most {self._longest} bytes begins; "
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
            self._hear(data)
        elif len(self._received) <= self._longest + 4:
            self._received += data

    def _hear(self, data: bytes) -> None:
        """Keeps the last of what was written to standard error, and passes on each line that is complete, or long."""
        self._told = (self._told + data)[-_TOLD:]
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > LONGEST_TEXT:
            lines, self._line = [*lines, self._line], b""
        for line in lines:
            self._say(printable(cut(line.decode(errors="replace"), LONGEST_TEXT)))

    def _hear_last(self) -> None:
        """Passes on what is left of standard error, where it is not closed."""
        if not self._streams[-1].closed:
            with contextlib.suppress(OSError):
                self._hear(os.read(self._errors, _MOST_BUFFERED))
            if self._line:
                self._hear(b"\n")

    def _read_status(self) -> int:
        """The wait status of the process; that of a killed one where the keeper is gone without a word."""
        try:
            return int(self._lifeline.recv(100) or b"9")
        except OSError:
            return 9

    def _require_memory(self) -> None:
        """Raises `TooLarge` where one of the processes holds too much, which the system's own limit does not see."""
        now = time.monotonic()
        if self._bytes and now - self._looked >= LOOK:
            self._looked = now
            if most_memory(self._keeper.pid) > self._bytes:
                raise TooLarge

    def close(self) -> None:
        """Ends the process and all that it started; may be called again."""
        self._lifeline.close()
        self._selector.close()
        try:
            self._keeper.wait(10)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
        if self._keeper.wait() < 0:
            kill_marked(_MARK, self._mark)
        self._hear_last()
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.close()
