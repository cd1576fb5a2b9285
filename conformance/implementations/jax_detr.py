"""DETR's matcher, criterion, post-processing and box operations in JAX: pure functions of static shapes.

Targets are padded, and a matcher says of each query which target it has, since the number of pairs is known only when
it runs. scipy solves the assignment in a callback, and refuses what is not finite there; nothing else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import padded_detr
from jax import Array
from jax import numpy as jnp
from padded_detr import assigned

from detr_conformance import jax_implementation
from detr_spec.boxes import BoxRules
from detr_spec.configuration import Configuration

Outputs = Mapping[str, Any]
Targets = Mapping[str, Array]
Matcher = Callable[[Outputs, Targets], Array]

PROFILE = replace(padded_detr.PROFILE, boxes=BoxRules(invalid="unchecked"))


def corners(boxes: Array) -> Array:
    """Boxes (cx, cy, w, h) as (x0, y0, x1, y1); [..., 4] → [..., 4]."""
    centre, side = jnp.split(boxes, 2, axis=-1)
    return jnp.concatenate([centre - side / 2, centre + side / 2], axis=-1)


def centres(boxes: Array) -> Array:
    """Boxes (x0, y0, x1, y1) as (cx, cy, w, h); [..., 4] → [..., 4]."""
    first, second = jnp.split(boxes, 2, axis=-1)
    return jnp.concatenate([(first + second) / 2, second - first], axis=-1)


def overlaps(first: Array, second: Array) -> tuple[Array, Array]:
    """IoU and GIoU of boxes (x0, y0, x1, y1) that broadcast against each other; [..., 4] twice → [...] twice."""
    (low, high), (other_low, other_high) = (jnp.split(boxes, 2, axis=-1) for boxes in (first, second))
    inner, outer = jnp.maximum(low, other_low), jnp.minimum(high, other_high)
    intersection = (jnp.maximum(inner, outer) - inner).prod(axis=-1)
    union = (high - low).prod(axis=-1) + (other_high - other_low).prod(axis=-1) - intersection
    enclosure = (jnp.maximum(high, other_high) - jnp.minimum(low, other_low)).prod(axis=-1)
    iou = intersection / union
    return iou, iou - (enclosure - union) / enclosure


def hungarian(cost_class: float, cost_bbox: float, cost_giou: float) -> Matcher:
    """A matcher of (outputs, targets), which says the target of each query, −1 for none; int32 [B, Q]."""

    def match(outputs: Outputs, targets: Targets) -> Array:
        logits, boxes = jax.lax.stop_gradient((outputs["pred_logits"], outputs["pred_boxes"]))
        labels, truth = targets["labels"][:, None], targets["boxes"][:, None]
        probability = jnp.take_along_axis(jax.nn.softmax(logits), labels, axis=-1)
        distance = jnp.abs(boxes[:, :, None] - truth).sum(axis=-1)
        giou = overlaps(corners(boxes)[:, :, None], corners(truth))[1]
        cost = cost_bbox * distance - cost_class * probability - cost_giou * giou
        return jax.pure_callback(assigned, jax.ShapeDtypeStruct(cost.shape[:2], jnp.int32), cost, targets["valid"])

    return match


class Criterion:
    """The losses of (outputs, targets) for every decoder layer, with the weights of a configuration."""

    def __init__(self, c: Configuration) -> None:
        self.columns, self.weight_dict, self.eos_coef = c.columns, c.weight_dict, c.class_loss.eos_coef
        self.matcher = hungarian(*c.cost_weights)

    def __call__(self, outputs: Outputs, targets: Targets) -> dict[str, Array]:
        """Each loss as an array without axes; those of earlier layers have their number behind the key."""
        losses = self.of_layer(outputs, targets)
        for number, layer in enumerate(outputs.get("aux_outputs", [])):
            own = self.of_layer(layer, targets)
            losses |= {f"{name}_{number}": loss for name, loss in own.items() if name != "class_error"}
        return losses

    def of_layer(self, outputs: Outputs, targets: Targets) -> dict[str, Array]:
        """The losses and metrics of one layer."""
        logits, no_object = outputs["pred_logits"], self.columns - 1
        if logits.shape[-1] != self.columns:
            raise ValueError(f"logits have {logits.shape[-1]} columns; expected {self.columns}")
        target = self.matcher(outputs, targets)
        matched, counts = target >= 0, targets["valid"].sum(axis=-1)
        classes = jnp.where(matched, jnp.take_along_axis(targets["labels"], target, axis=1), no_object)
        truth = jnp.take_along_axis(targets["boxes"], target[..., None], axis=1)
        # A query without a target gets a box that is its own truth, where its own has no area and no slope.
        boxes, truth = (jnp.where(matched[..., None], own, 1.0) for own in (outputs["pred_boxes"], truth))
        weights = jnp.where(matched, 1.0, self.eos_coef).astype(logits.dtype)
        surprise = -jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), classes[..., None], axis=-1)[..., 0]
        num_boxes = jnp.maximum(counts.sum(), 1).astype(logits.dtype)
        best, pairs = jnp.argmax(logits, axis=-1), jnp.maximum(matched.sum(), 1).astype(logits.dtype)
        return {
            "loss_ce": (weights * surprise).sum() / weights.sum(),
            "class_error": 100 - 100 * ((best == classes) & matched).sum() / pairs,
            "loss_bbox": jnp.abs(boxes - truth).sum() / num_boxes,
            "loss_giou": (1 - overlaps(corners(boxes), corners(truth))[1]).sum() / num_boxes,
            "cardinality_error": jnp.abs((best != no_object).sum(axis=-1) - counts).astype(logits.dtype).mean(),
        }


def detections(outputs: Outputs, sizes: Array) -> list[dict[str, Array]]:
    """One detection a query and image: its best class, its score, and its box in pixels of (height, width)."""
    probability = jax.nn.softmax(outputs["pred_logits"])[..., :-1]
    boxes = corners(outputs["pred_boxes"]) * jnp.tile(sizes[:, ::-1], 2)[:, None]
    parts = zip(probability.max(axis=-1), probability.argmax(axis=-1), boxes, strict=True)
    return [dict(zip(("scores", "labels", "boxes"), image, strict=True)) for image in parts]


IMPLEMENTATION = jax_implementation(
    name="jax-detr",
    profile=PROFILE,
    matcher=lambda c: hungarian(*c.cost_weights),
    criterion=Criterion,
    postprocess=lambda _: detections,
    boxes={
        "cxcywh_to_xyxy": corners,
        "xyxy_to_cxcywh": centres,
        "iou": lambda first, second: overlaps(first[:, None], second)[0],
        "giou": lambda first, second: overlaps(first[:, None], second)[1],
        "elementwise_giou": lambda first, second: overlaps(first, second)[1],
    },
)
