"""Pictures as SVG, element by element; everything that is put in is escaped. Colours are left to the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from detr_conformance.base.text import printable


def element(name: str, *content: Any, **attributes: Any) -> Markup:
    """An SVG element; an underscore in an attribute's name stands for a hyphen, and one at its end for nothing."""
    written = Markup("").join(
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), _attribute(value))
        for key, value in attributes.items()
    )
    if not content:
        return Markup("<{}{}/>").format(Markup(name), written)
    inner = Markup("").join(escape(printable(item)) if type(item) is str else item for item in content)
    return Markup("<{}{}>{}</{}>").format(Markup(name), written, inner, Markup(name))


def drawing(width: float, height: float, label: str, content: Sequence[Markup]) -> Markup:
    """A picture of that size in pixels; `label` says what it shows to those who do not see it."""
    return element(
        "svg",
        *content,
        viewBox=f"0 0 {_attribute(width)} {_attribute(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
    )


def rectangle(x: float, y: float, width: float, height: float, class_: str, **more: Any) -> Markup:
    """A rectangle, of no negative size."""
    return element("rect", x=x, y=y, width=max(0.0, width), height=max(0.0, height), class_=class_, **more)


def line(x0: float, y0: float, x1: float, y1: float, class_: str) -> Markup:
    """A line between two points."""
    return element("line", x1=x0, y1=y0, x2=x1, y2=y1, class_=class_)


def text(x: float, y: float, content: str, class_: str) -> Markup:
    """Text whose baseline begins at a point."""
    return element("text", content, x=x, y=y, class_=class_)


def short(value: float) -> str:
    """A number in few digits, with a minus sign."""
    return f"{value:.4g}".replace("-", "−")


def _attribute(value: Any) -> Any:
    """Pixels in tenths; text with signs that can be shown."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return printable(value) if isinstance(value, str) else value
