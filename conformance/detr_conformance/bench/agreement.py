"""Whether a contestant computes what the others compute, told before any of them is timed.

Every contestant is held to the same definitions in float64, evaluated in intervals that float32 may fill: the total
cost of each problem's matching by a certificate of optimality, the losses under that matching, and their gradients.
Contestants that lie in their ranges agree with one another as far as float32 can tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detr_conformance.bench.batches import DTYPE, Batch
from detr_conformance.bench.contestant import TERMS, Contestant, Step
from detr_spec.assignment import optimality
from detr_spec.configuration import Configuration
from detr_spec.costs import matching_cost
from detr_spec.gradients import (
    cross_entropy_gradient,
    focal_gradient,
    giou_gradient,
    kink_distance,
    l1_gradient,
    matched_places,
)
from detr_spec.losses import (
    box_giou,
    box_l1,
    classification,
    matched_rows,
    matched_targets,
    num_boxes,
    target_classes,
)
from detr_spec.tolerance import Interval, lift
from detr_spec.values import Floats, Matching, Outputs, Targets


@dataclass(frozen=True)
class _Layer:
    """One decoder layer under a matching, as the definitions take it."""

    configuration: Configuration
    outputs: Outputs
    targets: Targets
    matchings: tuple[Matching, ...]
    box_slack: float

    @property
    def normaliser(self) -> float:
        return num_boxes(self.targets, self.matchings, self.configuration)

    def boxes(self, numbers: Floats) -> Interval:
        """Boxes as intervals; with a slack their sides may be so much longer."""
        given = lift(numbers, DTYPE)
        if self.box_slack == 0:
            return given
        longer = given.upper + np.array([0, 0, self.box_slack, self.box_slack])
        return Interval(given.value, given.lower, longer, DTYPE)


@dataclass(frozen=True)
class _Ranges:
    """What a layer's terms and gradients may be. smooth: of which matched boxes the gradient is known, [m]."""

    terms: Mapping[str, Interval]
    logits: Interval
    boxes: Interval
    smooth: np.ndarray


class Judge:
    """Holds contestants to the definitions on one batch, layers side by side.

    Most of them find the same matchings, so what was computed for the last matchings is kept for the next contestant.
    """

    def __init__(self, batch: Batch, weights: Mapping[str, float]) -> None:
        self._batch, self._weights = batch, weights
        self._layers, self._targets = batch.spec_layers(), batch.spec_targets()
        self._known: tuple[object, list[_Ranges]] = (None, [])

    def disagreement(self, contestant: Contestant, step: Step) -> str | None:
        """What a contestant computes otherwise than by the definitions, in one line, or None.

        A forward and a backward pass of the step are made, which leave the gradients in its leaves.
        """
        matchings = [
            tuple(Matching(queries.cpu().numpy(), targets.cpu().numpy()) for queries, targets in layer)
            for layer in step.matchings()
        ]
        configuration = self._batch.configuration(contestant.profile, contestant.fixed)
        layers = [
            _Layer(configuration, outputs, self._targets, found, contestant.box_slack)
            for outputs, found in zip(self._layers, matchings, strict=True)
        ]
        step.forget_gradients()
        losses = step.run(self._weights)
        complaint = _of_matchings(layers)
        if complaint is not None:
            return complaint
        ranges = self._ranges(layers)
        return _of_terms(ranges, step.terms(losses)) or _of_gradients(layers, ranges, step)

    def _ranges(self, layers: Sequence[_Layer]) -> list[_Ranges]:
        first = layers[0]
        found = [(pairs.queries.tobytes(), pairs.targets.tobytes()) for layer in layers for pairs in layer.matchings]
        key = (first.configuration, first.box_slack, found)
        if self._known[0] != key:
            with ThreadPoolExecutor(min(len(layers), os.cpu_count() or 1)) as pool:
                self._known = (key, list(pool.map(self._of_layer, layers)))
        return self._known[1]

    def _of_layer(self, layer: _Layer) -> _Ranges:
        boxes, smooth = _box_range(layer, self._weights)
        return _Ranges(_term_ranges(layer), _logit_range(layer) * self._weights["classification"], boxes, smooth)


def _of_matchings(layers: Sequence[_Layer]) -> str | None:
    for number, layer in enumerate(layers):
        for image, (matching, target) in enumerate(zip(layer.matchings, layer.targets, strict=True)):
            logits = lift(layer.outputs.logits[image], DTYPE)
            cost = matching_cost(logits, layer.boxes(layer.outputs.boxes[image]), target, layer.configuration)
            if len(set(matching.queries.tolist())) != min(cost.shape):
                return f"layer {number}, image {image}: {len(matching.queries)} pairs for {list(cost.shape)} costs"
            judged = optimality(matching, cost)
            if not judged.holds:
                return (
                    f"layer {number}, image {image}: the matching costs {judged.total:.7g}, the least is "
                    f"{judged.bound:.7g}, rounding allows {judged.allowance:.2g}"
                )
    return None


def _of_terms(ranges: Sequence[_Ranges], terms: Mapping[str, Tensor]) -> str | None:
    for name in TERMS:
        known = sum((layer.terms[name] for layer in ranges[1:]), ranges[0].terms[name])
        value = terms[name].item()
        if not known.lower <= value <= known.upper:
            return f"{name} is {value:.8g}, by its definition from {known.lower:.8g} to {known.upper:.8g}"
    return None


def _term_ranges(layer: _Layer) -> dict[str, Interval]:
    configuration, normaliser = layer.configuration, lift(layer.normaliser, DTYPE)
    predicted = layer.boxes(matched_rows(layer.outputs.boxes, layer.matchings))
    truth = lift(matched_targets(layer.targets, layer.matchings).boxes, DTYPE)
    classes = _classes(layer)
    return {
        "classification": classification(configuration, lift(layer.outputs.logits, DTYPE), classes, normaliser),
        "box_l1": box_l1(predicted, truth, normaliser),
        "box_giou": box_giou(predicted, truth, normaliser, configuration),
    }


def _classes(layer: _Layer) -> np.ndarray:
    shape = layer.outputs.logits.shape
    return target_classes((shape[0], shape[1]), layer.targets, layer.matchings, layer.configuration.num_classes)


def _of_gradients(layers: Sequence[_Layer], ranges: Sequence[_Ranges], step: Step) -> str | None:
    logit_gradients, box_gradients = _gradients(step.logits), _gradients(step.boxes)
    for number, (layer, known) in enumerate(zip(layers, ranges, strict=True)):
        complaint = _outside(logit_gradients[number], known.logits, np.ones(known.logits.shape, dtype=bool))
        if complaint is not None:
            return f"the gradient of the logits of layer {number} {complaint}"
        got = box_gradients[number]
        places = matched_places(layer.matchings)
        complaint = _outside(got[places], known.boxes, np.broadcast_to(known.smooth[:, None], known.boxes.shape))
        if complaint is not None:
            return f"the gradient of the boxes of layer {number} {complaint}"
        unmatched = np.ones(got.shape[:2], dtype=bool)
        unmatched[places] = False
        if got[unmatched].any():
            return f"the gradient of the boxes of layer {number} is not 0 where nothing is matched"
    return None


def _gradients(leaves: Sequence[Tensor]) -> list[Floats]:
    """The gradient of each layer, from one leaf a layer or from one stacked leaf; 0 where nothing was collected."""
    found = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    return [layer.cpu().numpy().astype(np.float64) for given in found for layer in given.view(-1, *given.shape[-3:])]


def _outside(got: Floats, known: Interval, judged: np.ndarray) -> str | None:
    wrong = np.argwhere(judged & ~((known.lower <= got) & (got <= known.upper)))
    if not len(wrong):
        return None
    place = tuple(int(index) for index in wrong[0])
    return (
        f"at {list(place)} is {got[place]:.8g}, by its definition from {known.lower[place]:.8g} to "
        f"{known.upper[place]:.8g}"
    )


def _logit_range(layer: _Layer) -> Interval:
    configuration, logits = layer.configuration, lift(layer.outputs.logits, DTYPE)
    classes = _classes(layer)
    if configuration.profile.class_loss == "focal":
        positive = classes[..., None] == np.arange(logits.shape[-1])
        alpha, gamma = configuration.focal_alpha, configuration.focal_gamma
        focal: Interval = focal_gradient(logits, positive, alpha, gamma) / layer.normaliser
        return focal
    class_weights = np.ones(configuration.columns)
    class_weights[configuration.num_classes] = configuration.eos_coef
    entropy: Interval = cross_entropy_gradient(logits, classes, class_weights)
    return entropy


def _box_range(layer: _Layer, weights: Mapping[str, float]) -> tuple[Interval, np.ndarray]:
    """The gradient of the matched boxes [m, 4], and of which of them it is known, [m]."""
    given = matched_rows(layer.outputs.boxes, layer.matchings)
    predicted, truth = layer.boxes(given), lift(matched_targets(layer.targets, layer.matchings).boxes, DTYPE)
    rules = layer.configuration.profile.boxes
    slope: Interval = (
        l1_gradient(given, truth.value, DTYPE) * weights["box_l1"]
        + giou_gradient(predicted, truth, rules) * weights["box_giou"]
    ) / layer.normaliser
    if not len(given):
        return slope, np.zeros(0, bool)
    return slope, kink_distance(predicted, truth, rules).lower.min(axis=-1) > layer.box_slack
