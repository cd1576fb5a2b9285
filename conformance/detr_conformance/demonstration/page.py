"""The page that the demonstration leaves, and the detections beside it, in COCO's format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from detr_conformance.base.files import write_whole
from detr_conformance.demonstration.figures import THRESHOLD, loss_curves, metric_curves, picture
from detr_conformance.demonstration.learning import DECODER_LAYERS, Learning
from detr_conformance.demonstration.scenes import Scene
from detr_spec.detections.evaluation import coco_annotations, coco_results
from detr_spec.strategies.coco import coco_category_names
from detr_spec.values import Detections

PAGE, METRICS, ANNOTATIONS, RESULTS = "index.html", "metrics.json", "annotations.json", "detections.json"


def write_page(folder: Path, scenes: Sequence[Scene], learning: Learning, seed: int) -> Path:
    """Writes the page, every step's metrics, and annotations and detections as COCO has them; returns its path."""
    sizes = np.array([scene.size for scene in scenes])
    documents = {
        METRICS: [step._asdict() for step in learning.history],
        ANNOTATIONS: coco_annotations(tuple(scene.target for scene in scenes), sizes),
        RESULTS: coco_results(learning.detections),
    }
    for name, document in documents.items():
        write_whole(json.dumps(document) + "\n", folder / name)
    page = folder / PAGE
    write_whole(_page(scenes, learning, seed), page)
    return page


def _page(scenes: Sequence[Scene], learning: Learning, seed: int) -> str:
    names = coco_category_names()
    pictures = [
        {"svg": Markup(picture(scene, found, names)), "caption": _caption(scene, found, names)}
        for scene, found in zip(scenes, learning.detections, strict=True)
    ]
    template = (files(__package__) / "page.html").read_text(encoding="utf-8")
    curves = bool(learning.history)
    page: str = (
        Environment(autoescape=True, undefined=StrictUndefined)
        .from_string(template)
        .render(
            learning=learning,
            scenes=pictures,
            seed=seed,
            threshold=THRESHOLD,
            loss_curves=Markup(loss_curves(learning.history, DECODER_LAYERS)) if curves else "",
            metric_curves=Markup(metric_curves(learning.history)) if curves else "",
        )
    )
    return page


def _caption(scene: Scene, found: Detections, names: Mapping[int, str]) -> str:
    shown = int((found.scores > THRESHOLD).sum())
    labels = ", ".join(sorted({names.get(int(label), str(label)) for label in scene.target.labels}))
    return f"{len(scene.target)} targets ({labels}), {shown} detections"
