"""Outputs and targets in a dialect's own form, and its answers in the form of this package. norm §4.

This package has one form: boxes (cx, cy, w, h) relative to the image, labels from 0, no object in the last logit
column. An implementation's arguments are written in its own form, with the rounding that this brings, and its answers
are read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.forms import Function
from detr_spec.masks import padded_targets
from detr_spec.profile import Profile
from detr_spec.spelling import TargetRules
from detr_spec.tolerance import Interval, concatenate, hull, lift
from detr_spec.values import (
    Answer,
    AnyNumbers,
    Detections,
    Floats,
    HeadParameters,
    LayerGradient,
    LossGradients,
    Outputs,
    Target,
    Targets,
    part_dtypes,
    round_to,
)

SIZES = ((480, 640), (800, 608))
"""The (height, width) in pixels of images with an even and with an odd number of objects, where boxes are in pixels."""

OTHER_ORDER = (1, 0, 3, 2)
"""Where each number of a box, or each edge, stands in the other order of coordinates."""


def truth_of(target: Target, profile: Profile, dtype: str) -> Interval:
    """The boxes of a target as an implementation reads them from what it is given, cxcywh; [n, 4].

    Boxes in pixels may be scaled before or after they become centres and sides.
    """
    rules = profile.targets
    if rules.box_format == "cxcywh" and rules.units == "relative":
        return lift(target.boxes, dtype)
    given = lift(_written_boxes(target, rules, dtype), dtype)
    if rules.units == "relative":
        return _centred(given, rules)
    divisor = lift(_scale(target), dtype)
    inverse = 1.0 / divisor
    ways = _centred(given / divisor, rules), _centred(given, rules) / divisor
    return hull(*ways, _centred(given * inverse, rules), _centred(given, rules) * inverse)


def pixels_of(targets: Sequence[Target]) -> Floats:
    """(width, height, width, height) of the image of each target; [B, 4]."""
    return np.stack([_scale(target) for target in targets])


def _scale(target: Target) -> Floats:
    """(width, height, width, height) of the target's image."""
    height, width = SIZES[len(target) % 2]
    return np.array([width, height, width, height], dtype=np.float64)


def _written_boxes(target: Target, rules: TargetRules, dtype: str) -> Floats:
    """The boxes in the dialect's format and units, rounded to a dtype; [n, 4]."""
    centres, sides = target.boxes[:, :2], target.boxes[:, 2:]
    parts = {
        "cxcywh": (centres, sides),
        "xyxy": (centres - sides / 2, centres + sides / 2),
        "xywh": (centres - sides / 2, sides),
    }
    boxes = np.concatenate(parts[rules.box_format], axis=1)
    return round_to(boxes * _scale(target) if rules.units == "pixels" else boxes, dtype)


def _centred(boxes: Interval, rules: TargetRules) -> Interval:
    """Boxes of a format as cxcywh; [n, 4] → [n, 4]."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if rules.box_format == "cxcywh":
        return boxes
    if rules.box_format == "xywh":
        return concatenate([first + second / 2.0, second], axis=1)
    ways = (first + second) / 2.0, first + (second - first) / 2.0
    return concatenate([hull(*ways), second - first], axis=1)


def conversions(configuration: Configuration) -> Callable[[Function], Function] | None:
    """A wrapper of an implementation's functions, whose arguments and answers are in the dialect's form.

    None if that is the form of this package.
    """
    profile = configuration.profile
    if profile.targets == TargetRules() and profile.no_object == "last" and profile.coordinate_order == "x-first":
        return None

    def wrap(function: Function) -> Function:
        return lambda *given: _read(function(*_all_written(given, configuration)), profile)

    return wrap


def _all_written(values: Sequence[object], configuration: Configuration, queries: int = 0) -> tuple[object, ...]:
    """Values of this package in the dialect's form; targets beside outputs are laid out for their queries."""
    queries = next((value.queries for value in values if isinstance(value, Outputs)), queries)
    return tuple(_written(value, configuration, queries) for value in values)


def _written(value: object, configuration: Configuration, queries: int) -> object:
    """A value of this package in the dialect's form. queries: of the outputs beside targets."""
    if isinstance(value, (tuple, list)):
        items = _all_written(value, configuration, queries)
        targets = tuple(item for item in items if isinstance(item, Target))
        return _laid_out(targets, configuration.profile.targets, queries) if len(targets) == len(items) else items
    if isinstance(value, Outputs):
        return _spelt_outputs(value, configuration.profile, _forwards(configuration.profile))
    if isinstance(value, Target):
        rules = configuration.profile.targets
        boxes = _written_boxes(value, rules, part_dtypes(configuration.dtype).targets)
        boxes = _in_order(boxes, configuration.profile)
        size = np.array(SIZES[len(value) % 2]) if rules.units == "pixels" else None
        return replace(value, labels=value.labels + rules.first_label, boxes=boxes, size=size, broken=True)
    return value


def _laid_out(targets: Targets, rules: TargetRules, queries: int) -> Targets:
    """The targets of a batch, ready to be joined: with masks of one size, and padding where the dialect has it."""
    if rules.layout == "listed" or not targets:
        return targets
    targets = padded_targets(targets)
    if rules.layout == "concatenated":
        return targets
    most = queries if rules.padded_to == "queries" else max(map(len, targets)) + 1
    return tuple(_with_padding(target, most, rules.padding_label) for target in targets)


def _with_padding(target: Target, count: int, label: int) -> Target:
    """A target with padding up to a number of objects."""
    spare = count - len(target)
    boxes = np.concatenate([target.boxes, np.zeros((spare, 4))])
    masks = None if target.masks is None else np.pad(target.masks, ((0, spare), (0, 0), (0, 0)))
    labels = np.concatenate([target.labels, np.full(spare, label)])
    return replace(target, labels=labels, boxes=boxes, masks=masks, valid=np.arange(count) < len(target))


def _read(value: object, profile: Profile) -> object:
    """A value in the dialect's form, in the form of this package."""
    back = -_forwards(profile)
    if isinstance(value, Answer):
        return replace(value, value=_read(value.value, profile))
    if isinstance(value, tuple):
        return tuple(_read(item, profile) for item in value)
    if isinstance(value, Outputs):
        return _spelt_outputs(value, profile, back)
    if isinstance(value, Detections):
        labels = value.labels - profile.targets.first_label
        return replace(value, labels=labels, boxes=_in_order(value.boxes, profile))
    if isinstance(value, LossGradients):
        turned: dict[str, Any] = {
            name: tuple(_spelt_gradient(one, profile, back) for one in gradients)
            for name, gradients in {"layers": value.layers, **value.apart}.items()
        }
        return replace(value, **turned)
    if isinstance(value, HeadParameters):
        matrix, bias = value.class_head
        *earlier, (weights, offsets) = value.box_head
        last = _in_order(weights.T, profile).T, _in_order(offsets, profile)
        class_head = np.roll(matrix, back, axis=0), np.roll(bias, back)
        return replace(value, class_head=class_head, box_head=(*earlier, last))
    return value


def _forwards(profile: Profile) -> int:
    """By how many columns the logits are rotated for the dialect."""
    return 1 if profile.no_object == "first" and profile.has_no_object else 0


def _spelt_outputs(outputs: Outputs, profile: Profile, places: int) -> Outputs:
    """Outputs with rotated logit columns and coordinates in the dialect's order, in every layer and apart."""
    if places:
        outputs = outputs.each(logits=lambda layer: np.roll(layer.logits, places, axis=-1))
    if profile.coordinate_order == "x-first":
        return outputs
    return outputs.each(
        boxes=lambda layer: _in_order(layer.boxes, profile),
        edges=lambda layer: None if layer.edges is None else _edges_in_order(layer.edges, profile),
        references=lambda layer: None if layer.references is None else _in_order(layer.references, profile),
    )


def _spelt_gradient(gradient: LayerGradient, profile: Profile, places: int) -> LayerGradient:
    """A gradient with rotated logit columns and coordinates in the dialect's order."""
    logits, boxes, edges = gradient.logits, gradient.boxes, gradient.edges
    return replace(
        gradient,
        logits=None if logits is None else np.roll(logits, places, axis=-1),
        boxes=None if boxes is None else _in_order(boxes, profile),
        edges=None if edges is None else _edges_in_order(edges, profile),
    )


def _in_order(boxes: AnyNumbers, profile: Profile) -> AnyNumbers:
    """Boxes in the dialect's order of coordinates, or back from it; [..., 4] → [..., 4]."""
    return boxes if profile.coordinate_order == "x-first" else boxes[..., OTHER_ORDER]


def _edges_in_order(edges: Floats, profile: Profile) -> Floats:
    """Logits of edges, which follow the coordinates, likewise; [..., E] → [..., E]."""
    by_edge = edges.reshape(*edges.shape[:-1], len(OTHER_ORDER), -1)
    ordered: Floats = _in_order(by_edge.swapaxes(-1, -2), profile).swapaxes(-1, -2).reshape(edges.shape)
    return ordered
