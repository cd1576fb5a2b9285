"""Whether a contestant computes what the others compute, told before any of them is timed.

Every contestant is held to the same definitions in float64, evaluated in intervals that float32 may fill: the total
cost of each problem's matching by a certificate of optimality, the losses under that matching, and their gradients.
Contestants that lie in their ranges agree with one another as far as float32 can tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from detr_conformance.bench.batches import DTYPE, Batch
from detr_conformance.bench.contestant import TERMS, Contestant, Step
from detr_spec.configuration import Configuration
from detr_spec.gradients import LayerObjective
from detr_spec.losses import matched_places
from detr_spec.matching.assignment import optimality
from detr_spec.matching.costs import matching_cost
from detr_spec.tolerance import Interval, gradient, lift
from detr_spec.values import Floats, Matching, Outputs, Targets


@dataclass(frozen=True)
class _Layer:
    """One decoder layer under a matching, as the definitions take it."""

    configuration: Configuration
    outputs: Outputs
    targets: Targets
    matchings: tuple[Matching, ...]
    box_slack: float
    weights: Mapping[str, float]

    @cached_property
    def objective(self) -> LayerObjective:
        return LayerObjective(self.configuration, self.outputs, self.targets, self.matchings, self.weights)

    def boxes(self, numbers: Floats) -> Interval:
        """Boxes as intervals; with a slack their sides may be so much longer."""
        given = lift(numbers, DTYPE)
        if self.box_slack == 0:
            return given
        longer = given.upper + np.array([0, 0, self.box_slack, self.box_slack])
        return Interval(given.value, given.lower, longer, DTYPE)


@dataclass(frozen=True)
class _Ranges:
    """What a layer's terms may be, and the gradients of their weighted sum: of logits, and of matched boxes [m, 4]."""

    terms: Mapping[str, Interval]
    logits: Interval
    boxes: Interval


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
            _Layer(configuration, outputs, self._targets, found, contestant.box_slack, self._weights)
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
        return _Ranges(_term_ranges(layer), _logit_range(layer), _box_range(layer))


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
    found = {}
    for name in TERMS:
        term = replace(layer.objective, weights={name: 1.0})
        logits, boxes = lift(layer.outputs.logits, DTYPE), layer.boxes(layer.objective.rows)
        found[name] = term.of_logits(logits) if name == "classification" else term.of_boxes(boxes)
    return found


def _of_gradients(layers: Sequence[_Layer], ranges: Sequence[_Ranges], step: Step) -> str | None:
    logit_gradients, box_gradients = _gradients(step.logits), _gradients(step.boxes)
    for number, (layer, known) in enumerate(zip(layers, ranges, strict=True)):
        complaint = _outside(logit_gradients[number], known.logits)
        if complaint is not None:
            return f"the gradient of the logits of layer {number} {complaint}"
        got = box_gradients[number]
        places = matched_places(layer.matchings)
        complaint = _outside(got[places], known.boxes)
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


def _outside(got: Floats, known: Interval) -> str | None:
    wrong = np.argwhere(~((known.lower <= got) & (got <= known.upper)))
    if not len(wrong):
        return None
    place = tuple(int(index) for index in wrong[0])
    return (
        f"at {list(place)} is {got[place]:.8g}, by its definition from {known.lower[place]:.8g} to "
        f"{known.upper[place]:.8g}"
    )


def _logit_range(layer: _Layer) -> Interval:
    objective = layer.objective
    return gradient(objective.of_logits, lift(layer.outputs.logits, DTYPE))


def _box_range(layer: _Layer) -> Interval:
    """The gradient of the matched boxes [m, 4]."""
    return gradient(layer.objective.of_boxes, layer.boxes(layer.objective.rows))
