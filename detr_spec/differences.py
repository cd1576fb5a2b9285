"""Finite differences of the definitions, in float64, with a bound on their error: what a gradient is held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.gradients import kink_distance
from detr_spec.losses import (
    box_giou,
    box_l1,
    classification,
    matched_rows,
    matched_targets,
    num_boxes,
    target_classes,
)
from detr_spec.tolerance import SPACING, Interval, Numbers
from detr_spec.values import Floats, Integers, Matching, Outputs, Target, Targets

STEP = 2.0**-12
"""The step, in units of the length over which the function bends: small boxes bend theirs sooner.

What is cut off is of the order of its square, 6·10⁻⁸, and of its fourth power after extrapolation; what float64
rounds away is of the order of 2⁻⁵² / STEP, 10⁻¹².
"""


@dataclass(frozen=True)
class Quotient:
    """A directional derivative from differences, and how far off it may be."""

    value: float
    error: float


def difference_quotient(
    function: Callable[[Floats], float], point: Floats, direction: Floats, step: float, noise: float
) -> Quotient:
    """The derivative of `function` along `direction`, from central differences with `step` and half of it.

    Richardson extrapolation cancels the error in step². noise: how far off the function's values may be, the
    rounding of its argument included. The error is what extrapolation moved, plus what noise may amount to.
    """

    def central(length: float) -> float:
        return (function(point + length * direction) - function(point - length * direction)) / (2 * length)

    whole, half = central(step), central(step / 2)
    best = (4 * half - whole) / 3
    return Quotient(best, abs(best - half) + 3 * noise / step)


@dataclass(frozen=True, eq=False)
class LayerObjective:
    """Σ weight · term of one decoder layer under a matching of each image, as functions of its predictions."""

    configuration: Configuration
    layer: Outputs
    targets: Targets
    matchings: Sequence[Matching]
    weights: Mapping[str, float]

    @cached_property
    def normaliser(self) -> float:
        """num_boxes."""
        return num_boxes(self.targets, self.matchings, self.configuration)

    @cached_property
    def rows(self) -> Floats:
        """The matched queries' boxes, image after image; [m, 4]."""
        return matched_rows(self.layer.boxes, self.matchings)

    @cached_property
    def _matched(self) -> Target:
        return matched_targets(self.targets, self.matchings)

    @property
    def truth(self) -> Floats:
        """Their targets' boxes; [m, 4]."""
        return self._matched.boxes

    @property
    def labels(self) -> Integers:
        """Their targets' labels; [m]."""
        return self._matched.labels

    @cached_property
    def _classes(self) -> Integers:
        shape = self.layer.logits.shape[0], self.layer.logits.shape[1]
        return target_classes(shape, self.targets, self.matchings, self.configuration.num_classes)

    def of_logits(self, logits: Numbers) -> Numbers:
        """The weighted classification loss; logits [B, Q, C] → []."""
        term = classification(self.configuration, logits, self._classes, self.normaliser)
        return term * self.weights.get("classification", 0.0)

    def of_boxes(self, rows: Numbers, pairs: Integers) -> Numbers:
        """The weighted box terms of some matched pairs, by their places in `rows`; [k, 4] and [k] → []."""
        truth = self.truth[pairs]
        total = box_l1(rows, truth, self.normaliser) * self.weights.get("box_l1", 0.0)
        if self.weights.get("box_giou", 0.0):
            giou = box_giou(rows, truth, self.normaliser, self.configuration)
            total = total + giou * self.weights["box_giou"]
        return total

    def box_steps(self, fraction: float = STEP) -> Floats:
        """A step for each matched pair, a fraction of its box's side, that crosses no kink of its terms; [m].

        It is 0 where there is none.
        """
        if not len(self.rows):
            return np.zeros(0)
        sides = self.rows[:, 2:].min(axis=-1)
        # A step moves a corner by at most 1.5 times its length, and the distance of two by at most 3 times.
        room = kink_distance(self.rows, self.truth, self.configuration.profile.boxes).min(axis=-1) / 4
        steps: Floats = np.minimum(sides * fraction, room)
        return steps

    def along_logits(self, direction: Floats) -> Quotient:
        """The derivative along a direction of logits [B, Q, C] whose largest entry is about 1."""
        point = self.layer.logits
        return difference_quotient(_number(self.of_logits), point, direction, STEP, self.noise_of_logits)

    @cached_property
    def noise_of_logits(self) -> float:
        """How far off `of_logits` may be near the layer's logits."""
        return noise(self.of_logits, self.layer.logits)

    def along_boxes(self, direction: Floats, pairs: Integers, step: float) -> Quotient:
        """The derivative along a direction [k, 4] of some matched pairs' boxes."""
        point = self.rows[pairs]

        def value(rows: Numbers) -> Numbers:
            return self.of_boxes(rows, pairs)

        return difference_quotient(_number(value), point, direction, step, noise(value, point))


def noise(function: Callable[[Numbers], Numbers], point: Floats) -> float:
    """How far off a definition may be in float64 near a point, the rounding of its argument included.

    Twice what it is at the point itself.
    """
    slack = SPACING["float64"] * np.abs(point)
    around: Interval = function(Interval(point, point - slack, point + slack, "float64"))
    return 2 * float(np.maximum(around.upper - around.value, around.value - around.lower))


def _number(function: Callable[[Numbers], Numbers]) -> Callable[[Floats], float]:
    return lambda point: float(function(point))
