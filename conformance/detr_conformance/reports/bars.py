"""Numbers beside numbers: bars of the expected and the given, and how far apart they are beside what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from detr_conformance.base.verdict import Counterexample
from detr_conformance.reports.svg import drawing, element, line, rectangle, short, text

WIDTH = 320.0
HIGH = 9.0
ROW = 32.0


@dataclass(frozen=True)
class Disagreement:
    """Two numbers that disagree, and the ends of the range around the expected one in which the given one may lie."""

    expected: float
    got: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """By how much they are apart, and how much of that is allowed."""
        apart = self.got - self.expected
        margin = self.high if apart > 0 else -self.low
        if not margin > 0:
            return f"off by {short(apart)}, where nothing is allowed"
        times = abs(apart) / margin
        told = f"{times:,.0f}" if 10 <= times < 1e9 else short(times)
        return f"off by {short(apart)}, {told} times the {short(margin)} that is allowed"


def disagreement(counterexample: Counterexample | None) -> Disagreement | None:
    """The two numbers of a violation that is about two finite numbers, else None."""
    if counterexample is None or not _is_number(counterexample.got) or not _is_number(counterexample.expected):
        return None
    allowance = counterexample.allowance
    if isinstance(allowance, list) and len(allowance) == 2 and all(map(_is_number, allowance)):
        low, high = float(allowance[0]), float(allowance[1])
    else:
        high = float(allowance) if _is_number(allowance) else 0.0
        low = -high
    return Disagreement(float(counterexample.expected), float(counterexample.got), low, high)


def bars(disputed: Disagreement, name: str, others: Mapping[str, float], label: str) -> Markup:
    """Bars of the expected number, with its allowance, and the given one; and of the other terms, by their names."""
    values = [disputed.expected, disputed.got, 0.0, *others.values()]
    low, high = min(values), max(values)
    scale = (WIDTH - 4) / ((high - low) or 1.0)
    zero = 2 - low * scale

    def bar(row: int, title: str, value: float, kind: str) -> list[Markup]:
        top = row * ROW
        start = zero + min(value, 0.0) * scale
        return [
            text(2, top + 12, title, "name"),
            text(WIDTH - 2, top + 12, short(value), "number end"),
            rectangle(start, top + 17, max(1.5, abs(value) * scale), HIGH, kind),
        ]

    shown = bar(0, f"{name} expected", disputed.expected, "bar norm")
    edge = zero + (disputed.expected + disputed.low) * scale
    spread = max(2.0, (disputed.high - disputed.low) * scale)
    shown.append(rectangle(edge, 14, spread, HIGH + 6, "allowance"))
    shown += bar(1, f"{name} got", disputed.got, "bar theirs")
    for row, (key, value) in enumerate(others.items(), start=2):
        shown += bar(row, f"{key}, by the norm", value, "bar other")
    rows = 2 + len(others)
    shown.append(line(zero, 14, zero, rows * ROW - 3, "axis"))
    return drawing(WIDTH, rows * ROW, label, shown)


def gauge(disputed: Disagreement, label: str) -> Markup:
    """The given number beside the range in which it may lie, on a scale that shows both."""
    apart = disputed.got - disputed.expected
    reach = 1.15 * max(abs(apart), abs(disputed.low), abs(disputed.high)) or 1.0
    middle, half = WIDTH / 2, WIDTH / 2 - 8

    def place(offset: float) -> float:
        return middle + max(-1.0, min(1.0, offset / reach)) * half

    low, high = place(disputed.low), place(disputed.high)
    return drawing(
        WIDTH,
        44,
        label,
        [
            rectangle(low - 1, 14, max(2.0, high - low), 16, "allowance"),
            line(8, 22, WIDTH - 8, 22, "axis"),
            line(middle, 12, middle, 32, "tick norm"),
            element("circle", cx=place(apart), cy=22, r=5, class_="dot theirs"),
            text(middle, 42, "expected", "name middle"),
            text(min(max(place(apart), 14), WIDTH - 14), 9, "got", "name middle"),
        ],
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
