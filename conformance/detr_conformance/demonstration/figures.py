"""The figures of the page, as SVG: losses by decoder layer, and detections over targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detr_conformance.base.figures import svg
from detr_conformance.demonstration.scenes import Scene, colour
from detr_reference.training import StepMetrics
from detr_spec.boxes import cxcywh_to_xyxy
from detr_spec.values import Detections, Floats

THRESHOLD = 0.7
"""The score above which a detection is shown."""

TERMS = {"loss_ce": "classification", "loss_bbox": "L1 of the boxes", "loss_giou": "GIoU of the boxes"}
SMALLEST_SHOWN = 1e-4
SMOOTHING = 15


def loss_curves(history: Sequence[StepMetrics], decoder_layers: int) -> str:
    """The three losses of every decoder layer by training step, smoothed, on a logarithmic scale."""
    figure, panels = _figure(1, len(TERMS), (11.0, 3.2))
    suffixes = {**{f"_{layer}": f"layer {layer}" for layer in range(decoder_layers - 1)}, "": "last layer"}
    for panel, (term, title) in zip(panels, TERMS.items(), strict=True):
        for suffix, name in suffixes.items():
            values = _smooth([step.unweighted[term + suffix] for step in history])
            panel.plot(np.maximum(values, SMALLEST_SHOWN), label=name, linewidth=1.6 if suffix == "" else 1.0)
        panel.set(title=title, xlabel="training step", yscale="log")
    panels[0].legend(frameon=False)
    return _svg(figure)


def metric_curves(history: Sequence[StepMetrics]) -> str:
    """The training loss and both metrics by training step."""
    figure, panels = _figure(1, 3, (11.0, 2.6))
    series = {
        "training loss, Σ weight · loss": [step.total for step in history],
        "class error, % of matched queries": [step.unweighted["class_error"] for step in history],
        "cardinality error": [step.unweighted["cardinality_error"] for step in history],
    }
    for panel, (title, values) in zip(panels, series.items(), strict=True):
        panel.plot(_smooth(values), linewidth=1.4)
        panel.set(title=title, xlabel="training step")
    return _svg(figure)


def picture(scene: Scene, detections: Detections, names: Mapping[int, str]) -> str:
    """A drawing with its targets dashed, and the detections above the threshold with category and score."""
    height, width = scene.size
    figure, ((panel,),) = _figure(1, 1, (3.2, 3.2 * height / width), squeeze=False)
    panel.imshow(scene.pixels.transpose(1, 2, 0), extent=(0, width, height, 0))
    targets = cxcywh_to_xyxy(scene.target.boxes) * np.array([width, height, width, height])
    for box in targets:
        _rectangle(panel, box, edgecolor="white", linestyle=(0, (4, 3)), linewidth=2.4)
    for score, label, box in zip(detections.scores, detections.labels, detections.boxes, strict=True):
        if score > THRESHOLD:
            _rectangle(panel, box, edgecolor=_darker(int(label)), linewidth=1.6)
            text = f"{names.get(int(label), label)} {score:.2f}"
            panel.text(
                np.clip(box[0], 0, width - 1),
                np.clip(box[1], 0, height - 1),
                text,
                fontsize=7,
                color="white",
                verticalalignment="top",
                bbox={"facecolor": _darker(int(label)), "edgecolor": "none", "pad": 1.2},
            )
    panel.set(xlim=(0, width), ylim=(height, 0))
    panel.set_axis_off()
    return _svg(figure)


def _rectangle(panel: Any, box: Floats, **style: Any) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    x0, y0, x1, y1 = box
    panel.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, **style))


def _darker(label: int) -> tuple[float, ...]:
    return tuple(0.45 * part for part in colour(label))


def _smooth(values: Sequence[float]) -> Floats:
    """The running mean over some steps, shorter at the beginning."""
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, dtype=np.float64)]))
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - SMOOTHING, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def _figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> Any:
    """A figure and its panels, drawn without a screen."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0.0)
    return figure, figure.subplots(rows, columns, **options)


def _svg(figure: Any) -> str:
    """The figure as an element for a page."""
    text = svg(figure)
    return text[text.index("<svg") :]
