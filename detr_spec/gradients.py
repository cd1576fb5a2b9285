"""The gradient of a decoder layer's training terms under a given matching, with the range of a right evaluation.

Gradients come from the definitions by reverse mode; they are not written down again. At a kink, where boxes or corners
coincide, the range holds whatever lies between the slopes on its sides. norm §4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import prod
from typing import cast

import numpy as np

from detr_spec.boxes import kink_distance
from detr_spec.configuration import Configuration
from detr_spec.losses import ALONE, Beside, by_pairs, matched_places, matched_rows, shown_layer, shown_masks
from detr_spec.parameters import held, product
from detr_spec.places import Place
from detr_spec.reported import reported_losses
from detr_spec.terms import Layer, Teacher
from detr_spec.tolerance import SPACING, Interval, Numbers, SameNumbers, anything, gradient, lift, placed, values, where
from detr_spec.values import Floats, Index, Integers, Matching, Outputs, Targets, part_dtypes


@dataclass(frozen=True, eq=False)
class GradientRange:
    """Where a right gradient of one decoder layer lies: logits [B, Q, C], boxes [B, Q, 4], masks [B, Q, h, w].

    masks, and edges [B, Q, E]: None where the layer has none.
    """

    logits: Interval
    boxes: Interval
    masks: Interval | None = None
    edges: Interval | None = None


@dataclass(frozen=True, eq=False)
class LayerObjective:
    """Σ weight · term of one decoder layer under a matching of each image, as functions of its predictions.

    weights: numbers or their ranges, by the terms' neutral names; a term that is left out has none. factors: numbers by
    which a term is multiplied before its weight, where a loss is not the plain term. pooled: the same objective under
    the pairs of all layers, where box terms use these.
    """

    configuration: Configuration
    layer: Outputs
    targets: Targets
    matchings: Sequence[Matching]
    weights: Mapping[str, float | Interval]
    factors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    pooled: LayerObjective | None = None
    beside: Beside = ALONE

    @property
    def of_pairs(self) -> LayerObjective:
        """The objective whose matchings the box terms use."""
        return self.pooled or self

    @cached_property
    def rows(self) -> Floats:
        """The boxes of the queries that have terms of boxes, image after image; [m, 4]."""
        return matched_rows(self.layer.boxes, self.of_pairs.matchings)

    @cached_property
    def _ranged(self) -> Layer:
        return shown_layer(self.configuration, self.layer, self.targets, self.matchings, self.beside)

    @cached_property
    def _plain(self) -> Layer:
        teacher = self._ranged.teacher
        shown = replace(
            self._ranged,
            logits=values(self._ranged.logits),
            boxes=values(self._ranged.boxes),
            truth=values(self._ranged.truth),
            normaliser=values(self._ranged.normaliser),
            rules=self.configuration.profile.boxes,
            edges=self.layer.edges,
            references=self.layer.references,
            teacher=teacher and Teacher(logits=values(teacher.logits), edges=values(teacher.edges)),
        )
        if self.layer.masks is None:
            return shown
        rows = matched_rows(self.layer.masks, self.matchings)
        return replace(shown, masks=partial(shown_masks, self.configuration, rows, self.targets, self.matchings))

    def _shown(self, numbers: Numbers) -> Layer:
        return self._ranged if isinstance(numbers, Interval) else self._plain

    def _total(self, moved: str, layer: Layer) -> Numbers:
        total = layer.normaliser * 0.0
        for name, term in self.configuration.terms.items():
            if term.moves == moved and self.weights.get(name, 0.0):
                total = total + term.value(layer) * self.weights[name] * prod(self.factors.get(name, ()))
        return total

    def of_logits(self, logits: SameNumbers) -> SameNumbers:
        """The weighted terms that move logits; [B, Q, C] → []."""
        tokens = self.layer.tokens
        counted = logits if tokens is None else where(tokens[:, None], logits, 0.0)
        return cast(SameNumbers, self._total("logits", replace(self._shown(logits), logits=counted)))

    def of_boxes(self, rows: SameNumbers, pairs: Index = slice(None)) -> SameNumbers:
        """The weighted terms that move boxes, of some matched pairs, by their places in `rows`; [k, 4] → []."""
        shown = self.of_pairs._shown(rows)
        truth, images, queries = shown.truth[pairs], shown.images[pairs], shown.queries[pairs]
        chosen = replace(shown, boxes=rows, truth=truth, images=images, queries=queries)
        return cast(SameNumbers, self._total("boxes", chosen))

    def of_masks(self, rows: SameNumbers) -> SameNumbers:
        """The weighted terms that move masks, of the matched pairs; [m, h, w] → []."""
        masks = partial(shown_masks, self.configuration, rows, self.targets, self.matchings)
        return cast(SameNumbers, self._total("masks", replace(self._shown(rows), masks=masks)))

    def of_edges(self, edges: SameNumbers) -> SameNumbers:
        """The weighted terms that move edges; [B, Q, E] → []."""
        return cast(SameNumbers, self._total("edges", replace(self.of_pairs._shown(edges), edges=edges)))

    @cached_property
    def range(self) -> GradientRange:
        """Where a right gradient lies, in the dtype of the configuration."""
        dtypes, places = part_dtypes(self.configuration.dtype), matched_places(self.matchings)
        own = {name: "boxes" if term.moves == "boxes" else "logits" for name, term in self.configuration.terms.items()}
        weights = {
            name: product([weight, *self.factors.get(name, ())], getattr(dtypes, own[name]))
            for name, weight in self.weights.items()
        }
        configuration = held(self.configuration, self.configuration.dtype)
        ranged = replace(self, configuration=configuration, weights=weights, factors={})
        logits = gradient(ranged.of_logits, lift(self.layer.logits, dtypes.logits))
        rows = gradient(ranged.of_boxes, lift(self.rows, dtypes.boxes))
        found = GradientRange(logits, placed(rows, self.layer.boxes.shape, matched_places(self.of_pairs.matchings)))
        if self.layer.edges is not None:
            edges = gradient(ranged.of_edges, lift(self.layer.edges, dtypes.logits))
            found = replace(found, edges=edges)
        if self.layer.masks is None:
            return found
        matched = lift(matched_rows(self.layer.masks, self.matchings), dtypes.logits)
        unknown = self.configuration.draws_unknown_points and any(
            weights.get(name) is not None for name in self.configuration.moving("masks")
        )
        masks = anything(matched) if unknown else gradient(ranged.of_masks, matched)
        return replace(found, masks=placed(masks, self.layer.masks.shape, places))

    def noise(self, pairs: Integers) -> float:
        """How far off the sum of both objectives may be in float64, near the layer's logits and some pairs' boxes.

        The rounding of their arguments is included; it is twice what it is at the predictions themselves.
        """
        ends = self.of_logits(_around(self.layer.logits)), self.of_boxes(_around(self.rows[pairs]), pairs)
        return 2 * sum(float(np.maximum(end.upper - end.value, end.value - end.lower)) for end in ends)

    def box_steps(self, fraction: float) -> Floats:
        """A step for each matched pair, a fraction of its box's side, that crosses no kink of its terms; [m].

        It is 0 where there is none.
        """
        if not len(self.rows):
            return np.zeros(0)
        sides, truth = self.rows[:, 2:].min(axis=-1), values(self.of_pairs._plain.truth)
        # A step moves a corner by at most 1.5 times its length, and the distance of two by at most 3 times.
        shown = self.of_pairs._plain
        unit = 1.0 if shown.pixels is None else shown.pixels[shown.images, :2].prod(axis=-1)
        room = kink_distance(self.rows, truth, self.configuration.profile.boxes, unit).min(axis=-1) / 4
        steps: Floats = np.minimum(sides * fraction, room)
        return steps


def _around(point: Floats) -> Interval:
    slack = SPACING["float64"] * np.abs(point)
    return Interval(point, point - slack, point + slack, "float64")


def layer_objective(
    configuration: Configuration,
    supervised: tuple[Outputs, Targets, Sequence[Matching]],
    table: Mapping[str, float],
    place: Place,
    union: Sequence[Matching] | None = None,
    beside: Beside = ALONE,
) -> LayerObjective:
    """The weighted losses of one place as an objective of its predictions, under its targets and matchings.

    union: the matching of each image that box terms use, where it is not the layer's own. beside: what else they
    depend on.
    """
    losses = reported_losses(configuration)
    own = {name: key for key in table for name, other in losses[key].parts if other == place}
    weights = {name: table[key] for name, key in own.items()}
    factors = {name: losses[key].factors(configuration, (name, place)) for name, key in own.items()}
    own_pairs = LayerObjective(configuration, *supervised, weights, factors, beside=beside)
    if union is None:
        return own_pairs
    return replace(own_pairs, pooled=replace(own_pairs, configuration=by_pairs(configuration), matchings=union))
