"""Files that are written whole or not at all, and folders in which one process at a time changes files."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from detr_conformance.base.errors import UsageError

if sys.platform != "win32":
    import fcntl

PATIENCE = 10.0
"""Seconds that a process waits for another to change files."""


class OutputPath(click.Path):
    """The path of an output file, as an option's type: absolute, as an implementation may change the working folder.

    A hyphen stays as it is.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(path_type=Path, **how)

    def convert(self, value: Any, parameter: Any, context: Any) -> Any:
        """The absolute path."""
        path = super().convert(value, parameter, context)
        return path if str(path) == "-" else Path(os.path.abspath(str(path)))


def real_path(path: Path) -> Path:
    """Where links lead to; the path itself where they lead in a circle."""
    return Path(os.path.realpath(path))


def require_writable(path: Path) -> None:
    """Raises `UsageError` unless a file can be written at `path`; leaves nothing behind."""
    with _told(path):
        mode = _mode(path)
        if mode is not None and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if _is_regular(mode):
            with tempfile.TemporaryFile(dir=real_path(path).parent):
                pass


def require_folder(path: Path) -> None:
    """Makes a folder if there is none; raises `UsageError` if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be made a folder: {error.strerror}") from error


def write_whole(content: str | bytes, path: Path) -> None:
    """Writes a file, whole or not at all; raises `UsageError` if it cannot be written.

    A file that is replaced keeps its mode. What is no regular file, such as a pipe, is written to directly.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with _told(path):
        mode = _mode(path)
        if _is_regular(mode):
            _replace(data, real_path(path), mode)
        else:
            _write_into(data, path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes that lock it, where the system can.

    Raises `UsageError` if another process holds it for too long.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + PATIENCE
        while not _taken(descriptor):
            if time.monotonic() > end:
                raise UsageError(f"another process is changing files in {folder}, and does not end")
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Whether this process has the lock now, or the system has none for such a folder."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tells in one line what the system says against a path."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _mode(path: Path) -> int | None:
    """The mode of what is there; None for nothing. Raises `UsageError` for a folder."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder; expected a file to write to")
    return mode


def _is_regular(mode: int | None) -> bool:
    return mode is None or stat.S_ISREG(mode)


def _replace(data: bytes, path: Path, mode: int | None) -> None:
    """Writes beside the file, and puts what is written in its place."""
    temporary = path.parent / f".detr-spec-{secrets.token_hex(8)}"
    try:
        with os.fdopen(_created(temporary), "wb") as file:
            file.write(data)
            file.flush()
            if not temporary.exists():
                # A descriptor of a folder, though none is needed for absolute paths, makes Python follow the link.
                os.link(f"/proc/self/fd/{file.fileno()}", temporary, src_dir_fd=file.fileno())
            if mode is not None:
                os.chmod(file.fileno() if os.chmod in os.supports_fd else temporary, stat.S_IMODE(mode))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _created(temporary: Path) -> int:
    """A new file: where the system can, without a name, so that a kill leaves no half of one; else of that name."""
    if sys.platform == "linux" and Path("/proc/self/fd").is_dir():
        with contextlib.suppress(OSError):
            return os.open(temporary.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
    return os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def _write_into(data: bytes, path: Path) -> None:
    """Writes to a pipe or a device; a pipe that nobody reads is not waited for."""
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "wb") as file:
        os.set_blocking(descriptor, True)
        file.write(data)
