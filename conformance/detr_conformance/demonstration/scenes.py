"""Drawings to learn from: coloured rectangles at the boxes of real COCO images."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from detr_spec.strategies.coco import CocoImage, coco_images
from detr_spec.values import Floats, Target

LONGEST_SIDE = 128
MOST_OBJECTS = 8
SMALLEST_SIDE = 0.08
BACKGROUND = 0.5
GOLDEN_RATIO = 0.618034

Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawing: pixels [3, H, W] in [0, 1], and the objects of the COCO image that it is drawn from."""

    pixels: Floats
    target: Target

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])


def scenes(count: int) -> tuple[Scene, ...]:
    """Drawings of the first `count` images of the sample that have one to eight objects, none of them tiny."""
    suited = [image for image in coco_images() if _is_suited(image)]
    return tuple(Scene(_drawn(image), image.target) for image in suited[:count])


def _is_suited(image: CocoImage) -> bool:
    boxes = image.target.boxes
    return 1 <= len(boxes) <= MOST_OBJECTS and bool(boxes[:, 2:].min() > SMALLEST_SIDE)


def colour(label: int) -> Colour:
    """A category's colour, as (red, green, blue) in [0, 1]; the golden ratio keeps neighbours apart."""
    return colorsys.hsv_to_rgb(label * GOLDEN_RATIO % 1.0, 0.75, 0.95)


def _drawn(image: CocoImage) -> Floats:
    """Pixels [3, H, W] of filled rectangles with a darker edge, the largest at the back."""
    scale = LONGEST_SIDE / max(image.size)
    height, width = (round(side * scale) for side in image.size)
    pixels: Floats = np.full((height, width, 3), BACKGROUND)
    boxes = image.target.boxes
    for place in np.argsort(-boxes[:, 2] * boxes[:, 3], kind="stable"):
        low = (boxes[place, :2] - boxes[place, 2:] / 2) * (width, height)
        high = (boxes[place, :2] + boxes[place, 2:] / 2) * (width, height)
        (x0, y0), (x1, y1) = low.round().astype(int), high.round().astype(int)
        paint = np.array(colour(int(image.target.labels[place])))
        pixels[y0:y1, x0:x1] = paint * 0.6
        pixels[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = paint
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
