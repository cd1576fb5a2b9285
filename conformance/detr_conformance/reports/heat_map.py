"""A cost matrix as a heat map, with both assignments marked."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from detr_conformance.reports.scene import Costs
from detr_conformance.reports.svg import drawing, rectangle, short, text
from detr_spec.values import Floats

MOST_CELLS = 24
"""Rows and columns that are drawn."""

WITH_NUMBERS = 5
"""Columns up to which each cell says its number."""

LEFT, TOP = 26.0, 18.0
ROOM = 300.0


def heat_map(costs: Costs, rows: str, columns: str, label: str) -> Markup:
    """The matrix, the dearer the darker, with a solid frame around their pairs and a dashed one around the norm's.

    rows, columns: the letter that names a row and a column.
    """
    matrix = costs.matrix[:MOST_CELLS, :MOST_CELLS]
    count = matrix.shape[1]
    wide = min(58.0, ROOM / count)
    high = 24.0 if count <= WITH_NUMBERS else min(20.0, max(11.0, wide))
    shades = _shades(matrix)
    shown = [text(LEFT + (place + 0.5) * wide, 12, f"{columns}{place}", "name middle") for place in range(count)]
    for row, numbers in enumerate(matrix):
        y = TOP + row * high
        shown.append(text(LEFT - 4, y + high / 2 + 4, f"{rows}{row}", "name end"))
        for column, number in enumerate(numbers):
            x = LEFT + column * wide
            shade = f"{shades[row, column]:.2f}"
            shown.append(rectangle(x, y, wide - 1, high - 1, "cell", fill_opacity=shade))
            if count <= WITH_NUMBERS:
                shown.append(text(x + wide / 2, y + high / 2 + 4, short(float(number)), "number middle"))
    for pairs, side, inset in ((costs.theirs, "theirs", 1.5), (costs.norm, "norm", 4.0)):
        for row, column in pairs or ():
            if row < len(matrix) and column < count:
                x, y = LEFT + column * wide + inset - 0.5, TOP + row * high + inset - 0.5
                shown.append(rectangle(x, y, wide - 2 * inset, high - 2 * inset, f"mark {side}", rx=3))
    return drawing(LEFT + count * wide + 4, TOP + len(matrix) * high + 4, label, shown)


def left_out(matrix: Floats) -> str:
    """What of a matrix is not drawn, in words; nothing where all of it is."""
    if max(matrix.shape) <= MOST_CELLS:
        return ""
    return f"the first {MOST_CELLS} rows and columns of {matrix.shape[0]} × {matrix.shape[1]}"


def _shades(matrix: Floats) -> Floats:
    """How dark each cell is, between 0.06 and 0.55; what is not finite is darkest or lightest."""
    finite = matrix[np.isfinite(matrix)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    with np.errstate(all="ignore"):
        share = (matrix / 2 - low / 2) / (high / 2 - low / 2) if high > low else np.zeros(matrix.shape)
    return 0.06 + 0.49 * np.nan_to_num(share, nan=1.0, posinf=1.0, neginf=0.0).clip(0.0, 1.0)
