"""Real target sets: the objects of 160 images of COCO 2017, shipped with this package (CC BY 4.0, COCO Consortium)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TypedDict

import numpy as np

from detr_spec.values import Target


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image's objects without crowds, labelled by category id (1 … 90), and its size."""

    target: Target
    size: tuple[int, int]
    """(height, width) in pixels."""


@lru_cache(maxsize=1)
def coco_images() -> tuple[CocoImage, ...]:
    """The images of the sample that ships with the package, in file order."""
    text = (files("detr_spec") / "data" / "coco_sample.json").read_text(encoding="utf-8")
    return tuple(map(_image, json.loads(text)["images"]))


class _Record(TypedDict):
    """One image in the file: its size, and a list for each field of its objects, boxes (x, y, w, h) in pixels."""

    width: int
    height: int
    boxes: list[list[float]]
    labels: list[int]
    iscrowd: list[int]


def _image(record: _Record) -> CocoImage:
    height, width = record["height"], record["width"]
    keep = np.array(record["iscrowd"], dtype=np.int64) == 0
    corners = np.array(record["boxes"], dtype=np.float64).reshape(-1, 4)[keep]
    centres = corners + np.concatenate([corners[:, 2:] / 2, np.zeros((len(corners), 2))], axis=1)
    relative = np.clip(centres / np.array([width, height, width, height]), 0.0, 1.0)
    return CocoImage(Target(np.array(record["labels"], dtype=np.int64)[keep], relative), (height, width))
