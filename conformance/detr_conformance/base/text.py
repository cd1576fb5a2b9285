"""Text of unknown origin, made fit to be shown: on a terminal, in the log of a CI, on a page.

Names, messages, paths, what exceptions and testees say: whatever came from outside passes `printable` before it is
shown anywhere.
"""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST_LINE = 300
LONGEST_NAME = 100
LONGEST_TEXT = 20_000

_UNUSUAL = re.compile(r"[^\n\t -~]+")

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10))))
"""Signs that count as letters or marks, and show nothing."""

_COMMAND = re.compile(r"(?<!\S):(?=:)|#(?=#\w{0,16}\[)")
"""Where GitHub, Azure and TeamCity look for a command in a log: `::` at the start of a line, `##[`, `##vso[`, …

A line may begin at any word, as texts are wrapped.
"""


def printable(text: str) -> str:
    """The text with all that is not shown, or is obeyed, as escapes such as \\x1b; newlines and tabs stay.

    That is control signs, halves of surrogate pairs, signs without width or that change the direction of writing, and
    how a command to a CI begins.
    """
    return _COMMAND.sub(_escape, _UNUSUAL.sub(_escape_hidden, text))


def counted(number: int, what: str, several: str | None = None) -> str:
    """So many of something, such as "1 case" and "2 cases". several: its plural, where that is more than an s."""
    return f"{number} {what}" if number == 1 else f"{number} {several or f'{what}s'}"


def line_of(text: object, longest: int = LONGEST_LINE) -> str:
    """What is said in one printable line; of a longer one its beginning, and how much is left out."""
    said = str(text)
    line = printable(" ".join(said[: 2 * longest].split()))
    left = len(line) - longest + max(0, len(said) - 2 * longest)
    return line if left <= 0 else f"{line[:longest]} … ({left} more characters)"


def cut(text: str, longest: int) -> str:
    """The text, or its beginning and how much is left out, which is no longer, so to cut it again changes nothing."""
    if len(text) <= longest:
        return text
    kept = max(0, longest - 40)
    return f"{text[:kept]} … ({len(text) - kept} more characters)"


def json_text(document: Any) -> str:
    """A document as strict JSON in ASCII, in which no CI finds a command either."""
    return json.dumps(document, indent=2, allow_nan=False).replace("##", "#\\u0023") + "\n"


def is_name(value: object) -> bool:
    """Whether a value can be the name of something: text of bounded length that is shown as it is, in one line."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value == line_of(value)


def _escape(sign: re.Match[str]) -> str:
    return f"\\x{ord(sign[0]):02x}"


def _escape_hidden(signs: re.Match[str]) -> str:
    return "".join(map(_shown, signs[0]))


def _shown(sign: str) -> str:
    hidden = not sign.isprintable() or sign in _INVISIBLE
    return sign.encode("unicode_escape").decode("ascii") if hidden else sign
