"""Files and texts from outside, read strictly, in linear time, and within bounds: JSON, TOML, and text."""

from __future__ import annotations

import json
import math
import os
import re
import select
import stat
import sys
from pathlib import Path
from typing import Any

from detr_conformance.base.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 2**26
"""Bytes of a file; a report of forty implementations has a tenth of that."""

MOST_PARTS = 2**22
"""Values of a document, counted by the signs that begin or end them."""

DEEPEST = 64
"""How deep lists and objects may be nested, and how many parts a key of TOML may have."""

MOST_DIGITS = 300
"""Of an integer: each that has no more is a finite float64 too."""

PATIENCE = 10.0
"""Seconds without a byte after which a pipe is not waited for any more."""

TOO_DEEP = "it is nested too deeply"

_MANY_DIGITS = re.compile(rf"(?<!\d)\d[\d_]{{{MOST_DIGITS}}}")
_LONG_KEY = re.compile(rf"""(?<![\w"'-])(?:[\w"'-]+[ \t]*\.[ \t]*){{{DEEPEST}}}""")


def read_text(path: Path) -> str:
    """A file as text; raises `UsageError` if it cannot be read or is too large."""
    try:
        return _bytes_of(path).decode().replace("\r\n", "\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8, at byte {error.start}") from error


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """The lines of a text that are not blank, each with its number, from 1."""
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def parsed_json(text: str, place: object) -> Any:
    """The value of a strict JSON text; raises `UsageError` for anything else, also for a duplicate key."""
    try:
        return strict_json(text)
    except ValueError as error:
        raise UsageError(f"{place}: no JSON that can be read: {error}") from error


def parsed_toml(text: str, place: object) -> dict[str, Any]:
    """The value of a TOML text; raises `UsageError` for anything else."""
    try:
        return _strict_toml(text)
    except ValueError as error:
        raise UsageError(f"{place}: no TOML that can be read: {error}") from error


def strict_json(text: str) -> Any:
    """The value of a strict JSON text; raises `ValueError` with the reason for anything else."""
    _require_few(text)
    hooks: Any = {"parse_constant": _constant, "parse_float": _float, "parse_int": _integer}
    try:
        document = json.loads(text, object_pairs_hook=_object, **hooks)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    _require_shallow(document)
    return document


def _strict_toml(text: str) -> dict[str, Any]:
    _require_few(text)
    if _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {DEEPEST} parts")
    if _MANY_DIGITS.search(text):
        raise ValueError(f"a number has more than {MOST_DIGITS} digits")
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    _require_shallow(document)
    return document


def _bytes_of(path: Path) -> bytes:
    """The bytes of a file or a pipe."""
    # Without that flag a pipe that nobody writes to would be waited for as it is opened.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb", buffering=0) as file:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        parts: list[bytes] = []
        left = LARGEST + 1
        while left:
            if not is_file and not _gives_something(descriptor):
                raise UsageError(f"{path} gives nothing for {PATIENCE:g} s; expected a file")
            part = file.read(min(left, 2**20))
            if not part:
                return b"".join(parts)
            parts.append(part)
            left -= len(part)
    raise UsageError(f"{path} is larger than {LARGEST // 2**20} MiB, so it is not read")


def _gives_something(descriptor: int) -> bool:
    """Whether a pipe or a device has a byte, or its end, before it is waited for no longer."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(1000 * PATIENCE))


def _require_few(text: str) -> None:
    """Raises `ValueError` for more values than memory may be spent on."""
    if sum(map(text.count, ",[{\n")) > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS} parts")


def _require_shallow(document: Any) -> None:
    """Raises `ValueError` for nesting that later steps, which call themselves, could not follow."""
    level = [document]
    for _ in range(DEEPEST):
        level = [
            part
            for item in level
            if isinstance(item, (dict, list))
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise ValueError(TOO_DEEP)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:40]!r} comes twice in one object")
        found[name] = value
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON; a number that is not finite is written as text")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is beyond float64")
    return number


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"{digits[:40]}… has more than {MOST_DIGITS} digits")
    return int(digits)
