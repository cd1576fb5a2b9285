"""DETR's matcher, criterion and post-processing in `keras.ops`, which compute in JAX, TensorFlow or torch.

Targets are padded, and a matcher says of each query which target it has. scipy solves the assignment outside Keras, and
refuses what is not finite there; nothing else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from padded_detr import PROFILE, assigned

from detr_conformance import keras_implementation
from detr_spec.configuration import Configuration

Outputs = Mapping[str, Any]
Targets = Mapping[str, Any]
Matcher = Callable[[Outputs, Targets], Any]


def on_host(function: Callable[..., np.ndarray[Any, Any]], shape: tuple[int, ...], *arrays: Any) -> Any:
    """What a function of NumPy's arrays gives, int32 of that shape, as an array without gradient."""
    arrays = tuple(map(ops.stop_gradient, arrays))
    if keras.config.backend() == "jax":
        import jax  # noqa: PLC0415  Keras computes with it

        return jax.pure_callback(
            lambda *given: function(*map(np.asarray, given)), jax.ShapeDtypeStruct(shape, np.int32), *arrays
        )
    return ops.convert_to_tensor(function(*map(ops.convert_to_numpy, arrays)))


def corners(boxes: Any) -> Any:
    """Boxes (cx, cy, w, h) as (x0, y0, x1, y1); [..., 4] → [..., 4]."""
    centre, side = boxes[..., :2], boxes[..., 2:]
    return ops.concatenate([centre - side / 2, centre + side / 2], axis=-1)


def generalized_overlap(first: Any, second: Any) -> Any:
    """GIoU of boxes (x0, y0, x1, y1) that broadcast against each other; [..., 4] twice → [...]."""

    def area(low: Any, high: Any) -> Any:
        side = high - low
        return side[..., 0] * side[..., 1]

    low, high = ops.maximum(first[..., :2], second[..., :2]), ops.minimum(first[..., 2:], second[..., 2:])
    intersection = area(low, ops.maximum(low, high))
    union = area(first[..., :2], first[..., 2:]) + area(second[..., :2], second[..., 2:]) - intersection
    low, high = ops.minimum(first[..., :2], second[..., :2]), ops.maximum(first[..., 2:], second[..., 2:])
    enclosure = area(low, high)
    return intersection / union - (enclosure - union) / enclosure


def hungarian(cost_class: float, cost_bbox: float, cost_giou: float) -> Matcher:
    """A matcher of (outputs, targets), which says the target of each query, −1 for none; int32 [B, Q].

    Raises ValueError if all three weights are zero, and known, as they are not where JAX traces them.
    """
    if all(isinstance(weight, float) and weight == 0 for weight in (cost_class, cost_bbox, cost_giou)):
        raise ValueError("all three weights of the matching cost are zero")

    def match(outputs: Outputs, targets: Targets) -> Any:
        logits, boxes, truth = outputs["pred_logits"], outputs["pred_boxes"], targets["boxes"]
        labels = ops.one_hot(targets["labels"], logits.shape[-1], dtype=logits.dtype)
        probability = ops.matmul(ops.softmax(logits, axis=-1), ops.transpose(labels, (0, 2, 1)))
        distance = ops.sum(ops.abs(boxes[:, :, None] - truth[:, None]), axis=-1)
        giou = generalized_overlap(corners(boxes)[:, :, None], corners(truth)[:, None])
        cost = cost_bbox * distance - cost_class * probability - cost_giou * giou
        return on_host(assigned, tuple(logits.shape[:2]), cost, targets["valid"])

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
        logits, no_object, kind = outputs["pred_logits"], self.columns - 1, outputs["pred_logits"].dtype
        if logits.shape[-1] != self.columns:
            raise ValueError(f"logits have {logits.shape[-1]} columns; expected {self.columns}")
        target = self.matcher(outputs, targets)
        matched = target >= 0
        # Each query's target by a row of 0 and 1, of which one without a target has none.
        picked = ops.one_hot(ops.where(matched, target, -1), targets["labels"].shape[1], dtype=kind)
        labels = ops.cast(ops.sum(picked * ops.cast(targets["labels"], kind)[:, None], axis=-1), "int32")
        classes = ops.where(matched, labels, no_object)
        # Such a query gets a box that is its own truth, where its own has no area and no slope.
        boxes = ops.where(matched[..., None], outputs["pred_boxes"], 1.0)
        truth = ops.where(matched[..., None], ops.matmul(picked, targets["boxes"]), 1.0)
        weights = ops.where(matched, ops.ones_like(logits[..., 0]), self.eos_coef)
        surprise = -ops.sum(ops.one_hot(classes, self.columns, dtype=kind) * ops.log_softmax(logits, axis=-1), axis=-1)
        counts = ops.sum(ops.cast(targets["valid"], kind), axis=-1)
        best = ops.argmax(logits, axis=-1)
        right = ops.sum(ops.cast((best == classes) & matched, kind))
        detected = ops.sum(ops.cast(best != no_object, kind), axis=-1)
        num_boxes, pairs = (ops.maximum(ops.sum(own), 1.0) for own in (counts, ops.cast(matched, kind)))
        return {
            "loss_ce": ops.sum(weights * surprise) / ops.sum(weights),
            "class_error": 100 - 100 * right / pairs,
            "loss_bbox": ops.sum(ops.abs(boxes - truth)) / num_boxes,
            "loss_giou": ops.sum(1 - generalized_overlap(corners(boxes), corners(truth))) / num_boxes,
            "cardinality_error": ops.mean(ops.abs(detected - counts)),
        }


def detections(outputs: Outputs, sizes: Any) -> list[dict[str, Any]]:
    """One detection a query and image: its best class, its score, and its box in pixels of (height, width)."""
    probability = ops.softmax(outputs["pred_logits"], axis=-1)[..., :-1]
    height, width = (ops.cast(sizes[:, place], probability.dtype) for place in (0, 1))
    boxes = corners(outputs["pred_boxes"]) * ops.stack([width, height, width, height], axis=-1)[:, None]
    labels = ops.cast(ops.argmax(probability, axis=-1), "int64")
    parts = {"scores": ops.max(probability, axis=-1), "labels": labels, "boxes": boxes}
    return [{name: ops.stop_gradient(part[image]) for name, part in parts.items()} for image in range(len(sizes))]


def matcher(configuration: Configuration) -> Matcher:
    """The matcher that a configuration asks for."""
    return hungarian(*configuration.cost_weights)


def criterion(configuration: Configuration) -> Criterion:
    """The criterion that a configuration asks for."""
    own = configuration.weight_dict, configuration.class_loss.eos_coef
    return Criterion(configuration.columns, matcher(configuration), *own)


IMPLEMENTATION = keras_implementation(
    name="keras-detr", profile=PROFILE, matcher=matcher, criterion=criterion, postprocess=lambda _: detections
)
