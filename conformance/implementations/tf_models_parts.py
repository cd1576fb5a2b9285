"""DETR as the TensorFlow Model Garden trains it: its task's costs and losses, its solver, and its box operations.

Declared, as it computes: places without an object cost one number, 23 with the weights 1, 5 and 2, and so do costs that
are not finite, though an object far away may cost more; nothing is refused, three weights of 0 neither. Its task has
one weight of a cost and of its loss; here each may be another. Its losses are of one layer, and its training step adds
up those of all layers, as is done here. Tensors are of float32 alone, and its post-processing is within its validation
step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from official.projects.detr.configs.detr import DetrTask, Losses
from official.projects.detr.ops.matchers import hungarian_matching
from official.projects.detr.tasks.detection import DetectionTask
from official.vision.ops import box_ops

from detr_conformance import tensorflow_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits

Outputs = Mapping[str, Any]
Labels = Mapping[str, Any]


def task(configuration: Configuration, weights: Sequence[float], kind: type[DetectionTask] = DetectionTask) -> Any:
    """The task with weights of classes, L1 distances and overlaps."""
    background = configuration.class_loss.numbers["eos_coef"]
    names = "lambda_cls", "lambda_box", "lambda_giou"
    losses = Losses(background_cls_weight=background, **dict(zip(names, weights, strict=True)))
    return kind(DetrTask(losses=losses))


def matcher(configuration: Configuration) -> Callable[[Outputs, Labels], Any]:
    """What the task's losses read of a matching: the query of each place, and the places; int64 [B, 2, Q]."""
    costs = task(configuration, configuration.cost_weights)

    def match(outputs: Outputs, labels: Labels) -> Any:
        given = outputs["cls_outputs"], outputs["box_outputs"], labels["classes"], labels["boxes"]
        queries = tf.argmax(hungarian_matching(costs._compute_cost(*given))[1], axis=1)
        places = tf.broadcast_to(tf.range(queries.shape[1], dtype=tf.int64), queries.shape)
        return tf.stack([queries, places], axis=1)

    return match


class OfCosts(DetectionTask):
    """The task with costs of other weights than its losses have."""

    costs: DetectionTask

    def _compute_cost(self, *given: Any) -> Any:
        return self.costs._compute_cost(*given)


def criterion(configuration: Configuration) -> Callable[[Outputs, Labels], dict[str, Any]]:
    """The losses of all layers together, as the training step adds them up."""
    weights = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
    losses = task(configuration, weights, OfCosts)
    losses.costs = task(configuration, configuration.cost_weights)

    def call(outputs: Outputs, labels: Labels) -> dict[str, Any]:
        layers = [*outputs.get("aux_outputs", ()), outputs]
        parts = zip(*(losses.build_losses(layer, labels) for layer in layers), strict=True)
        return dict(zip(("loss", "cls_loss", "box_loss", "giou_loss"), map(tf.add_n, parts), strict=True))

    return call


def of_pairs(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a batch's boxes as one of the boxes of one image."""
    return lambda first, second: function(first[None], second[None])[0]


IMPLEMENTATION = tensorflow_implementation(
    name="tf-models-detr",
    profile="tf-models",
    limits=Limits(dtypes=("float32",)),
    matcher=matcher,
    criterion=criterion,
    boxes={
        "cxcywh_to_xyxy": box_ops.cycxhw_to_yxyx,
        "xyxy_to_cxcywh": box_ops.yxyx_to_cycxhw,
        "iou": of_pairs(box_ops.bbox_overlap),
        "giou": of_pairs(box_ops.bbox_generalized_overlap),
    },
)
