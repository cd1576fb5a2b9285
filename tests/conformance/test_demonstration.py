"""The demonstration, with few steps; that it learns enough is seen where the README is executed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from detr_conformance.commands.command_line import run
from detr_conformance.demonstration.learning import learn
from detr_conformance.demonstration.scenes import BACKGROUND, LONGEST_SIDE, scenes
from detr_spec.strategies.coco import coco_category_names

STEPS, IMAGES = 20, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "page"
    assert run(["demo", str(folder), "--steps", str(STEPS), "--images", str(IMAGES)]) == 0
    return folder


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_the_page_has_curves_and_a_picture_of_each_image(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    figures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(figures) == 2 + IMAGES
    for figure in figures:
        ElementTree.fromstring(figure)
    for text in ("layer 0", "layer 1", "last layer", "class error", f"<strong>{STEPS}</strong>", "CC BY 4.0"):
        assert text in page
    names = coco_category_names()
    for scene in scenes(IMAGES):
        assert all(names[int(label)] in page for label in scene.target.labels)


def test_the_page_needs_nothing_from_elsewhere(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", page)


def test_metrics_and_detections_are_left_beside_it(folder: Path) -> None:
    metrics = read(folder, "metrics.json")
    assert len(metrics) == STEPS
    assert {"loss_ce", "loss_bbox_1", "class_error"} <= set(metrics[0]["unweighted"])
    annotations, detections = read(folder, "annotations.json"), read(folder, "detections.json")
    assert len(annotations["images"]) == IMAGES
    assert {detection["image_id"] for detection in detections} == {image["id"] for image in annotations["images"]}


def test_drawings_show_the_boxes() -> None:
    for scene in scenes(5):
        assert max(scene.size) == LONGEST_SIDE
        painted = (scene.pixels != BACKGROUND).any(axis=0)
        height, width = scene.size
        for cx, cy, _, _ in scene.target.boxes:
            assert painted[min(int(cy * height), height - 1), min(int(cx * width), width - 1)]
        covered = np.zeros_like(painted)
        for cx, cy, w, h in scene.target.boxes:
            rows = slice(round((cy - h / 2) * height), round((cy + h / 2) * height))
            columns = slice(round((cx - w / 2) * width), round((cx + w / 2) * width))
            covered[rows, columns] = True
        assert (painted == covered).all()


def test_the_same_seed_learns_the_same() -> None:
    first, second = (learn(scenes(2), 20, 3, lambda *_: None) for _ in range(2))
    assert first.history == second.history
    assert first.average_precision == second.average_precision


def test_an_interrupt_leaves_what_was_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(done: int, metrics: Any) -> None:
        if done == 4:
            raise KeyboardInterrupt

    learning = learn(scenes(2), 20, 0, interrupted)
    assert learning.interrupted
    assert len(learning.history) == 4
    assert len(learning.detections) == 2


def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "detr_conformance.base.errors.find_spec", lambda name: None if name == "matplotlib" else object()
    )
    assert run(["demo", str(tmp_path)]) == 2
    assert capsys.readouterr().err.strip().splitlines() == [
        "detr-spec: the demonstration needs matplotlib; `pip install 'detr-spec[demo]'` brings what it needs"
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--steps", "3"], "steps is 3"), (["--images", "0"], "images is 0"), ([], "cannot be made a folder")],
)
def test_a_wrong_use_is_one_line(
    tmp_path: Path, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    if not arguments:
        place.write_text("taken", encoding="utf-8")
    assert run(["demo", str(place), *arguments]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.splitlines()) == 1
