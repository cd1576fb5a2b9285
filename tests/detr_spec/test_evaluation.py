"""The COCO evaluator is given what it expects: right detections reach AP 1, wrong ones do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from detr_spec.boxes import cxcywh_to_xyxy
from detr_spec.configuration import Configuration
from detr_spec.detections.evaluation import average_precision, coco_annotations, coco_results
from detr_spec.detections.rules import detections
from detr_spec.profiles import PROFILES
from detr_spec.strategies import coco_images
from detr_spec.values import Detections, InvalidValue, Outputs, Target

IMAGES = coco_images()[:8]
TARGETS = tuple(image.target for image in IMAGES)
SIZES = np.array([image.size for image in IMAGES])
ROUNDING = 1e-12

Change = Callable[[Detections], Detections]


def perfect() -> list[Detections]:
    scales = SIZES[:, [1, 0, 1, 0]]
    return [
        Detections(np.linspace(1.0, 0.9, len(target)), target.labels, cxcywh_to_xyxy(target.boxes) * scale)
        for target, scale in zip(TARGETS, scales, strict=True)
    ]


def changed(change: Change) -> list[Detections]:
    return [change(found) for found in perfect()]


def test_perfect_predictions_reach_one() -> None:
    assert abs(average_precision(perfect(), TARGETS, SIZES) - 1.0) < ROUNDING


def test_shifted_boxes_reach_less() -> None:
    def shifted(found: Detections) -> Detections:
        width = found.boxes[:, 2:3] - found.boxes[:, :1]
        return replace(found, boxes=found.boxes + 0.2 * width * np.array([1, 0, 1, 0]))

    # A shift by a fifth of the width leaves an IoU of 0.8 / 1.2: right for 4 thresholds of 10, 0.50 to 0.65.
    one = TARGETS[0].take([0])
    found = replace(perfect()[0], scores=np.ones(1), labels=one.labels, boxes=perfect()[0].boxes[:1])
    assert average_precision([shifted(found)], (one,), SIZES[:1]) == pytest.approx(0.4, abs=1e-9)
    assert average_precision(changed(shifted), TARGETS, SIZES) < 0.45


def test_wrong_labels_reach_nothing() -> None:
    assert average_precision(changed(lambda found: replace(found, labels=found.labels + 1000)), TARGETS, SIZES) == 0.0


def test_no_detections_reach_nothing() -> None:
    none = Detections(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros((0, 4)))
    assert average_precision([none] * len(TARGETS), TARGETS, SIZES) == 0.0


def test_width_and_height_exchanged_reach_less() -> None:
    assert average_precision(perfect(), TARGETS, SIZES[:, ::-1]) < 0.9


def test_false_detections_above_the_right_ones_cost_precision() -> None:
    def doubled(found: Detections) -> Detections:
        boxes = np.concatenate([found.boxes, found.boxes + 10_000])
        return Detections(np.concatenate([found.scores, found.scores + 1]), np.tile(found.labels, 2), boxes)

    assert average_precision(changed(doubled), TARGETS, SIZES) < 0.7


def test_without_an_object_there_is_no_precision() -> None:
    empty = (Target(np.zeros(0, dtype=np.int64), np.zeros((0, 4))),)
    with pytest.raises(InvalidValue, match="no object"):
        average_precision(perfect()[:1], empty, SIZES[:1])


def test_the_formats_are_those_of_coco() -> None:
    target = Target(np.array([7]), np.array([[0.5, 0.25, 0.5, 0.25]]))
    dataset = coco_annotations((target,), np.array([[200, 400]]))
    assert dataset["images"] == [{"id": 0, "height": 200, "width": 400}]
    assert dataset["categories"] == [{"id": 7, "name": "7"}]
    (annotation,) = dataset["annotations"]
    assert annotation["bbox"] == [100.0, 25.0, 200.0, 50.0]
    assert annotation["area"] == 10_000.0
    assert (annotation["image_id"], annotation["category_id"], annotation["iscrowd"]) == (0, 7, 0)
    assert annotation["id"] > 0
    found = Detections(np.array([0.5]), np.array([7]), np.array([[100.0, 25.0, 300.0, 75.0]]))
    assert coco_results([found]) == [
        {"image_id": 0, "category_id": 7, "bbox": [100.0, 25.0, 200.0, 50.0], "score": 0.5}
    ]


def test_the_evaluator_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    average_precision(perfect(), TARGETS, SIZES)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_confident_outputs_of_either_profile_reach_one(profile) -> None:
    image = IMAGES[0]
    configuration = Configuration(profile=profile, num_classes=91)
    count = len(image.target)
    logits = np.full((1, count, configuration.columns), -8.0)
    logits[0, np.arange(count), image.target.labels] = 8.0
    outputs = Outputs(logits, image.target.boxes[None])
    found = detections(outputs.logits[0], outputs.boxes[0], SIZES[0], configuration)
    assert abs(average_precision([found], TARGETS[:1], SIZES[:1]) - 1.0) < ROUNDING
