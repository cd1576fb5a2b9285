"""Average precision by the COCO evaluator, from detections and targets in COCO's formats. norm §5 and §6.

Source: Lin et al. 2014, "Microsoft COCO", and the documented behaviour of pycocotools, which does the counting.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np

from detr_spec.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from detr_spec.values import Detections, Floats, Integers, InvalidValue, Target, Targets


def coco_annotations(targets: Targets, sizes: Integers) -> dict[str, object]:
    """Targets as a COCO dataset: images, categories, annotations with boxes as (x, y, width, height) in pixels.

    targets: boxes relative to the image; sizes [B, 2]: (height, width). Image ids are 0 … B − 1, category ids the
    labels, and no object is a crowd.
    """
    images = [{"id": image, "height": int(height), "width": int(width)} for image, (height, width) in enumerate(sizes)]
    objects = [
        (image, label, box)
        for image, (target, size) in enumerate(zip(targets, sizes, strict=True))
        for label, box in zip(target.labels, _pixel_boxes(target, size), strict=True)
    ]
    # Annotation ids start at 1: to the evaluator, a detection that is matched to id 0 is not matched.
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": int(label),
            "bbox": [float(side) for side in box],
            "area": float(box[2] * box[3]),
            "iscrowd": 0,
        }
        for number, (image, label, box) in enumerate(objects, start=1)
    ]
    labels = sorted({int(label) for _, label, _ in objects})
    categories = [{"id": label, "name": str(label)} for label in labels]
    return {"info": {}, "images": images, "categories": categories, "annotations": annotations}


def _pixel_boxes(target: Target, size: Integers) -> Floats:
    height, width = size
    corners = cxcywh_to_xyxy(target.boxes) * np.array([width, height, width, height], dtype=np.float64)
    return _from_corner(corners)


def _from_corner(corners: Floats) -> Floats:
    """(x0, y0, x1, y1) → (x0, y0, width, height); [n, 4] → [n, 4]."""
    boxes: Floats = np.concatenate([corners[:, :2], xyxy_to_cxcywh(corners)[:, 2:]], axis=-1)
    return boxes


def coco_results(detections: Sequence[Detections]) -> list[dict[str, object]]:
    """Detections of images 0 … B − 1 as COCO results: image id, category id, score, box as (x, y, width, height)."""
    return [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": [float(side) for side in box],
            "score": float(score),
        }
        for image, found in enumerate(detections)
        for score, label, box in zip(found.scores, found.labels, _from_corner(found.boxes), strict=True)
    ]


def average_precision(detections: Sequence[Detections], targets: Targets, sizes: Integers) -> float:
    """COCO's AP: the mean precision over IoU thresholds 0.50, 0.55 … 0.95, recalls and categories with an object.

    At most the 100 best detections of an image count. detections: one an image, corners in pixels; targets: boxes
    relative to the image; sizes [B, 2]: (height, width). Raises `InvalidValue` where there is no object to find.
    """
    if not any(map(len, targets)):
        raise InvalidValue("the targets have no object; average precision needs at least one")
    results = coco_results(detections)
    return _evaluated(coco_annotations(targets, sizes), results) if results else 0.0


def _evaluated(annotations: dict[str, object], results: list[dict[str, object]]) -> float:
    from pycocotools.coco import COCO  # noqa: PLC0415
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return float(evaluator.stats[0])
