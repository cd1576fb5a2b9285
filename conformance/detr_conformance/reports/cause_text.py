"""Causes in words, and what a finding says of dtypes."""

from __future__ import annotations

from collections.abc import Mapping

from detr_conformance.base.cause import Cause
from detr_conformance.base.text import counted

DECLARED = "holds if the profile declares"


def cause_title(cause: Cause) -> str:
    """What a cause is, in a line: the declaration to write, or the defect that is found by the same invariants."""
    if cause.kind == "declaration":
        return f"{DECLARED} {cause.message} ({cause.agree} of {counted(cause.of, 'finding')})"
    return f"most like: {cause.message} ({cause.agree} of {counted(cause.of, 'invariant')} agree)"


def dtypes_told(answers: Mapping[str, str]) -> str:
    """What dtypes give, the same together: "holds in float32, raises in bfloat16 and float16"."""
    grouped: dict[str, list[str]] = {}
    for dtype, answer in answers.items():
        grouped.setdefault(answer, []).append(dtype)
    order = sorted(grouped, key=lambda answer: answer != "holds")
    return ", ".join(f"{answer} in {' and '.join(grouped[answer])}" for answer in order)
