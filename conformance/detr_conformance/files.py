"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from detr_conformance.errors import UsageError


def require_writable(path: Path) -> None:
    """Raises `UsageError` unless a file can be written at `path`; leaves nothing behind."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; expected a file to write to")
    if path.exists() and not path.is_file():
        return
    try:
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def write_whole(content: str | bytes, path: Path) -> None:
    """Writes text or bytes, whole or not at all; to what is no regular file, such as a pipe, directly."""
    path = path.resolve()
    content = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
