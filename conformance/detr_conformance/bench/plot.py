"""A picture of a benchmark: how many times as long as the fast path each contestant takes, and how that grows."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detr_conformance.base.errors import UsageError, require_installed
from detr_conformance.bench.results import Results, Setting
from detr_conformance.bench.sizes import BASE, GROWTH, Size

FORMATS = ("svg", "png")
LEAST_POINTS = 3
"""With fewer a line is no curve."""

LETTERS = {"images": "B", "queries": "Q", "targets": "T"}


def require_plot(path: Path) -> None:
    """Raises `UsageError` unless a picture can be drawn into a file of that name."""
    if path.suffix.lower().lstrip(".") not in FORMATS:
        raise UsageError(f"{path} is no picture; expected a name that ends in .svg or .png")
    require_installed("a plot", "matplotlib", extra="bench")


def picture(results: Results, kind: str) -> bytes:
    """The picture as an SVG or PNG file."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    panels = _panels(results)
    # A fixed salt and no date: the same results give the same file.
    with mpl.rc_context({"svg.hashsalt": "detr-spec", "font.size": 8}):
        figure = Figure(figsize=(6, 3.2 * len(panels)), layout="constrained")
        for place, (title, draw) in enumerate(panels, start=1):
            axes = figure.add_subplot(len(panels), 1, place)
            axes.set_title(title, loc="left")
            draw(axes)
        target = io.BytesIO()
        figure.savefig(target, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return target.getvalue()


def _panels(results: Results) -> list[tuple[str, Callable[[Any], None]]]:
    """For each dialect and regime that was timed, a panel of all sizes and one of each growth curve there is."""
    panels: list[tuple[str, Callable[[Any], None]]] = []
    criteria = [setting for setting in results.settings if setting.kind == "criterion"]
    for profile, regime in dict.fromkeys((setting.profile, setting.regime) for setting in criteria):
        chosen = [setting for setting in criteria if (setting.profile, setting.regime) == (profile, regime)]
        label = f"{profile}, {regime}"
        panels.append((f"{label}: seconds of a step, by size (B, Q, C, T)", _by_size(chosen)))
        for dimension in GROWTH:
            curve = [setting for setting in chosen if _grows_along(setting.size, dimension)]
            if len(curve) >= LEAST_POINTS:
                panels.append(
                    (f"{label}: seconds of a step, growing with {LETTERS[dimension]}", _curve(curve, dimension))
                )
    return panels or [("nothing was timed", lambda axes: axes.set_axis_off())]


def _grows_along(size: Size, dimension: str) -> bool:
    return replace(size, **{dimension: getattr(BASE, dimension)}) == BASE


def _by_size(settings: Sequence[Setting]) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        names = [str(setting.size) for setting in settings]
        for contestant, seconds in _seconds(settings).items():
            axes.plot(names, seconds, "o", label=contestant)
        _finish(axes)
        axes.tick_params(axis="x", rotation=20)

    return draw


def _curve(settings: Sequence[Setting], dimension: str) -> Callable[[Any], None]:
    ordered = sorted(settings, key=lambda setting: setting.size)

    def draw(axes: Any) -> None:
        lengths = [getattr(setting.size, dimension) for setting in ordered]
        for contestant, seconds in _seconds(ordered).items():
            axes.plot(lengths, seconds, "o-", label=contestant)
        _finish(axes)
        axes.set_xlabel(LETTERS[dimension])

    return draw


def _seconds(settings: Sequence[Setting]) -> dict[str, list[float | None]]:
    """By contestant, the median of each setting, and None where it has no time."""
    names = dict.fromkeys(entry.name for setting in settings for entry in setting.entries)
    by_setting = [{entry.name: entry.seconds() for entry in setting.entries} for setting in settings]
    found = {name: [seconds.get(name) for seconds in by_setting] for name in names}
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def _finish(axes: Any) -> None:
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6)
