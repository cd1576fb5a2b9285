"""A failed judgement as text: the statement, the numbers, the case, and how to reproduce it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from detr_conformance.base.verdict import Counterexample, Judgement
from detr_conformance.reports.case_text import case_lines, matrix_lines, number, passed_lines
from detr_conformance.reports.cause_text import dtypes_told

WIDTH = 100

OTHER_CALL = "called with, where it differs from the case:"
CASE = "the case: "
MADE_FROM = "the case, from which the inputs below are made: "
AS_FILE = "with --vectors FOLDER it leaves the case there as a file, which detr-spec replay takes"
UNBOUNDED = "rounding in this dtype may move it without bound, as where it overflows or divides by nearly 0"
ANYTHING = f"any number, but a number: {UNBOUNDED}"


def failure_text(title: str, judgement: Judgement, command: str) -> str:
    """Everything that a person needs to understand a judgement that is not "holds".

    title: the implementation and its profile. command: what gives the judgement again.
    """
    lines = [
        f"{judgement.verdict.value.upper()}: {judgement.id} ({judgement.number}, {judgement.level}), {title}",
        *_wrapped(judgement.statement),
        "",
        *_wrapped(judgement.message),
    ]
    if judgement.dtype_answers:
        lines.append(dtypes_told(judgement.dtype_answers))
    if judgement.counterexample is not None:
        lines += counterexample_lines(judgement.counterexample)
    again = [command, *file_lines(judgement, command)]
    why = ["why it matters:", f"  {explanation(judgement)}"]
    return "\n".join([*lines, "", *why, "reproduce:", *(f"  {line}" for line in again)])


def explanation(judgement: Judgement) -> str:
    """The command that explains what is violated."""
    return f"detr-spec explain {judgement.id}"


def file_lines(judgement: Judgement, command: str) -> list[str]:
    """How the command that gives a judgement again gives its case as a file; no line where it does not."""
    has_vector = judgement.counterexample is not None and judgement.counterexample.vector is not None
    return [AS_FILE] if has_vector and command.startswith("detr-spec check ") else []


def counterexample_lines(counterexample: Counterexample) -> list[str]:
    """The numbers that disagree, then the case."""
    lines: list[str] = []
    details = counterexample.details or {}
    numbers = {
        "expected": counterexample.expected,
        "got": counterexample.got,
        "allowed": _allowed(counterexample.allowance),
        "apart": _apart(counterexample),
        **details,
    }
    for name, value in numbers.items():
        if value is not None:
            lines += _named(name.replace("_", " "), value)
    return lines + _case_lines(counterexample)


def _case_lines(counterexample: Counterexample) -> list[str]:
    """The lines of a case, and of a call that was given another; of a case in another form, what it is."""
    case, passed = counterexample.case, counterexample.passed
    try:
        shown = case_lines(case, counterexample.built_with)
        other = passed_lines(passed, case) if passed else []
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        shown, other = [_value(case)], []
    case_too = not other or (passed or {}).get("case_too", True)
    heading, also = (CASE, f"also {OTHER_CALL}") if case_too else (MADE_FROM, OTHER_CALL)
    lines = ["", heading + shown[0], *(f"  {line}".rstrip() for line in shown[1:])] if shown else []
    return lines + (["", also, *(f"  {line}".rstrip() for line in other)] if other else [])


def _apart(counterexample: Counterexample) -> str | None:
    """By how much two finite numbers disagree, and how many times what is allowed that is; None for anything else."""
    expected, got, allowance = counterexample.expected, counterexample.got, counterexample.allowance
    ends = allowance if isinstance(allowance, list) and len(allowance) == 2 else [allowance, allowance]
    if not all(map(_is_finite, (expected, got, *ends))):
        return None
    apart = got - expected
    margin = abs(ends[1] if apart > 0 else ends[0])
    return f"{apart:.4g}, {abs(apart) / margin:.3g} times what is allowed" if margin > 0 else f"{apart:.4g}"


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _allowed(allowance: Any) -> str | None:
    """The allowance in words: one number for both sides, or the ends of a range around the expected."""
    if allowance is None:
        return None
    ends = allowance if isinstance(allowance, list) and len(allowance) == 2 else None
    if ends is None:
        return ANYTHING if allowance == "inf" else f"expected ± {_value(allowance)}"
    least, most = (None if end in ("-inf", "inf", "nan") else end for end in ends)
    if least is None and most is None:
        return ANYTHING
    if least is None:
        return f"at most expected {_signed(most)}; below, {UNBOUNDED}"
    if most is None:
        return f"at least expected {_signed(least)}; above, {UNBOUNDED}"
    return f"expected {_signed(least)} … {_signed(most)}"


def _signed(value: Any) -> str:
    text = number(value)
    return text if text.startswith("-") else f"+ {text}"


def _named(name: str, value: Any) -> list[str]:
    """A value behind its name, or below it where it takes several lines."""
    if isinstance(value, str) and "\n" in value:
        return ["", f"  {name}", *(f"    {line}" for line in value.rstrip().splitlines())]
    if _is_matrix(value):
        return [f"  {name}", *(f"    {line}" for line in matrix_lines(value))]
    return [f"  {name.ljust(10)} {_value(value)}"]


def _is_matrix(value: Any) -> bool:
    """Whether it is a list of equally long lists of numbers, and too long for one line."""
    rows = isinstance(value, list) and len(value) > 0 and all(isinstance(row, list) and row for row in value)
    if not rows or len({len(row) for row in value}) != 1 or len(_value(value)) < WIDTH // 2:
        return False
    return all(isinstance(item, (int, float)) for row in value for item in row)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_value(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return number(value)


def _wrapped(text: str) -> Sequence[str]:
    return [line for part in text.splitlines() for line in textwrap.wrap(part, WIDTH) or [""]]
