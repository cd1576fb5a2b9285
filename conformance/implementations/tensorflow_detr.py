"""DETR's matcher, criterion, post-processing and box operations in TensorFlow, called as they are or in a graph.

Targets are padded, and a matcher says of each query which target it has. scipy solves the assignment in a callback,
and refuses what is not finite there; nothing else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import padded_detr
import tensorflow as tf
from padded_detr import assigned

from detr_conformance import tensorflow_implementation
from detr_spec.boxes import BoxRules
from detr_spec.configuration import Configuration

Outputs = Mapping[str, Any]
Targets = Mapping[str, Any]
Matcher = Callable[[Outputs, Targets], Any]

PROFILE = replace(padded_detr.PROFILE, boxes=BoxRules(invalid="unchecked"))


def corners(boxes: Any) -> Any:
    """Boxes (cx, cy, w, h) as (x0, y0, x1, y1); [..., 4] → [..., 4]."""
    centre, side = boxes[..., :2], boxes[..., 2:]
    return tf.concat([centre - side / 2, centre + side / 2], axis=-1)


def centres(boxes: Any) -> Any:
    """Boxes (x0, y0, x1, y1) as (cx, cy, w, h); [..., 4] → [..., 4]."""
    first, second = boxes[..., :2], boxes[..., 2:]
    return tf.concat([(first + second) / 2, second - first], axis=-1)


def overlaps(first: Any, second: Any) -> tuple[Any, Any]:
    """IoU and GIoU of boxes (x0, y0, x1, y1) that broadcast against each other; [..., 4] twice → [...] twice."""

    def area(low: Any, high: Any) -> Any:
        side = high - low
        return side[..., 0] * side[..., 1]

    low, high = tf.maximum(first[..., :2], second[..., :2]), tf.minimum(first[..., 2:], second[..., 2:])
    intersection = area(low, tf.maximum(low, high))
    union = area(first[..., :2], first[..., 2:]) + area(second[..., :2], second[..., 2:]) - intersection
    low, high = tf.minimum(first[..., :2], second[..., :2]), tf.maximum(first[..., 2:], second[..., 2:])
    enclosure = area(low, high)
    iou = intersection / union
    return iou, iou - (enclosure - union) / enclosure


def hungarian(cost_class: float, cost_bbox: float, cost_giou: float) -> Matcher:
    """A matcher of (outputs, targets), which says the target of each query, −1 for none; int32 [B, Q].

    Raises ValueError if all three weights are zero.
    """
    if not (cost_class or cost_bbox or cost_giou):
        raise ValueError("all three weights of the matching cost are zero")

    def match(outputs: Outputs, targets: Targets) -> Any:
        logits, boxes = map(tf.stop_gradient, (outputs["pred_logits"], outputs["pred_boxes"]))
        probability = tf.gather(tf.nn.softmax(logits), targets["labels"], axis=2, batch_dims=1)
        distance = tf.reduce_sum(tf.abs(boxes[:, :, None] - targets["boxes"][:, None]), axis=-1)
        giou = overlaps(corners(boxes)[:, :, None], corners(targets["boxes"])[:, None])[1]
        cost = cost_bbox * distance - cost_class * probability - cost_giou * giou
        return tf.ensure_shape(tf.py_function(assigned, [cost, targets["valid"]], tf.int32), logits.shape[:2])

    return match


class Criterion:
    """The losses of (outputs, targets) for every decoder layer; columns: K + 1; matcher: as `hungarian` gives it."""

    def __init__(self, columns: int, matcher: Matcher, weight_dict: Mapping[str, float], eos_coef: float) -> None:
        self.columns, self.matcher, self.weight_dict, self.eos_coef = columns, matcher, weight_dict, eos_coef

    def __call__(self, outputs: Outputs, targets: Targets) -> dict[str, Any]:
        """Each loss as an array without axes; those of earlier layers have their number behind the key."""
        losses = self.of_layer(outputs, targets)
        for number, layer in enumerate(outputs.get("aux_outputs", [])):
            own = self.of_layer(layer, targets)
            losses.update({f"{name}_{number}": loss for name, loss in own.items() if name != "class_error"})
        return losses

    def of_layer(self, outputs: Outputs, targets: Targets) -> dict[str, Any]:
        """The losses and metrics of one layer."""
        logits, no_object = outputs["pred_logits"], self.columns - 1
        if logits.shape[-1] != self.columns:
            raise ValueError(f"logits have {logits.shape[-1]} columns; expected {self.columns}")
        kind = logits.dtype
        target = self.matcher(outputs, targets)
        matched, target = target >= 0, tf.maximum(target, 0)
        # A batch without objects has no place in which to look.
        labels, truth = tf.pad(targets["labels"], [[0, 0], [0, 1]]), tf.pad(targets["boxes"], [[0, 0], [0, 1], [0, 0]])
        classes = tf.where(matched, tf.gather(labels, target, batch_dims=1), no_object)
        truth = tf.gather(truth, target, batch_dims=1)
        # A query without a target gets a box that is its own truth, where its own has no area and no slope.
        boxes, truth = (tf.where(matched[..., None], own, tf.ones_like(own)) for own in (outputs["pred_boxes"], truth))
        weights = tf.where(matched, tf.ones((), kind), tf.cast(self.eos_coef, kind))
        surprise = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        counts = tf.reduce_sum(tf.cast(targets["valid"], tf.int32), axis=-1)
        num_boxes, pairs = (
            tf.cast(tf.maximum(tf.reduce_sum(own), 1), kind) for own in (counts, tf.cast(matched, tf.int32))
        )
        best = tf.argmax(logits, axis=-1, output_type=tf.int32)
        right = tf.reduce_sum(tf.cast((best == classes) & matched, kind))
        detected = tf.reduce_sum(tf.cast(best != no_object, tf.int32), axis=-1)
        return {
            "loss_ce": tf.reduce_sum(weights * surprise) / tf.reduce_sum(weights),
            "class_error": 100 - 100 * right / pairs,
            "loss_bbox": tf.reduce_sum(tf.abs(boxes - truth)) / num_boxes,
            "loss_giou": tf.reduce_sum(1 - overlaps(corners(boxes), corners(truth))[1]) / num_boxes,
            "cardinality_error": tf.reduce_mean(tf.cast(tf.abs(detected - counts), kind)),
        }


def detections(outputs: Outputs, sizes: Any) -> list[dict[str, Any]]:
    """One detection a query and image: its best class, its score, and its box in pixels of (height, width)."""
    probability = tf.nn.softmax(outputs["pred_logits"])[..., :-1]
    scale = tf.cast(tf.tile(sizes[:, ::-1], [1, 2]), probability.dtype)
    parts = {
        "scores": tf.reduce_max(probability, axis=-1),
        "labels": tf.argmax(probability, axis=-1),
        "boxes": corners(outputs["pred_boxes"]) * scale[:, None],
    }
    return [{name: part[image] for name, part in parts.items()} for image in range(sizes.shape[0])]


def criterion(configuration: Configuration) -> Criterion:
    """The criterion that a configuration asks for."""
    matcher = hungarian(*configuration.cost_weights)
    return Criterion(configuration.columns, matcher, configuration.weight_dict, configuration.class_loss.eos_coef)


IMPLEMENTATION = tensorflow_implementation(
    name="tensorflow-detr",
    profile=PROFILE,
    matcher=lambda configuration: hungarian(*configuration.cost_weights),
    criterion=criterion,
    postprocess=lambda _: detections,
    boxes={
        "cxcywh_to_xyxy": corners,
        "xyxy_to_cxcywh": centres,
        "iou": lambda first, second: overlaps(first[:, None], second)[0],
        "giou": lambda first, second: overlaps(first[:, None], second)[1],
        "elementwise_giou": lambda first, second: overlaps(first, second)[1],
    },
)
