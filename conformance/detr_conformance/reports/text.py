"""Text of unknown origin, made fit for a page: no sign that a format forbids or that hides what stands there."""

from __future__ import annotations

import re

LONGEST_LINE = 300

_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
    "|[\U0001fffe\U0001ffff\U0010fffe\U0010ffff]"
)
"""Control signs, halves of surrogate pairs, signs that are none, and those that change the direction of writing."""


def printable(text: str) -> str:
    """The text with signs that cannot be shown, or that XML forbids, as escapes such as \\x1b; newlines stay."""
    return _UNSHOWN.sub(lambda sign: sign[0].encode("unicode_escape").decode("ascii"), text)


def cut(text: str, longest: int) -> str:
    """The text, or its beginning and how much is left out; the JSON report has all of it."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest} more characters; the JSON report has all of it)"


def one_line_of(text: str, longest: int = LONGEST_LINE) -> str:
    """The text in one printable line of bounded length."""
    line = " ".join(printable(text[: 2 * longest]).split())
    return line if len(line) <= longest else f"{line[:longest]} …"
