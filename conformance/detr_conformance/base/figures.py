"""Figures of matplotlib as text."""

from __future__ import annotations

from io import StringIO
from typing import Any


def svg(figure: Any) -> str:
    """The figure as SVG, the same text for the same numbers."""
    from matplotlib import rc_context  # noqa: PLC0415

    text = StringIO()
    # A fixed salt gives fixed identifiers.
    with rc_context({"svg.hashsalt": "detr-spec", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
