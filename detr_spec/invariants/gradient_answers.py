"""What invariants of gradients share: an implementation's gradient of weighted terms, and its definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.gradients import GradientRange, LayerObjective, layer_objective
from detr_spec.implementation import Gradients
from detr_spec.invariants.criterion_answers import Judged, known_matchings, require_key
from detr_spec.invariants.shared import layer_names, unique_matchings
from detr_spec.losses import matched_places
from detr_spec.places import places_of
from detr_spec.reported import keys_with, weight_table
from detr_spec.tolerance import Interval
from detr_spec.values import Booleans, Floats, Integers, LayerGradient, LossGradients, Matching, Outputs, Targets
from detr_spec.violation import premise, require, require_close, require_equal, require_shape, require_within

Build = Callable[[Configuration], Gradients]


def gradients_of(component: Build, case: SetCase, weights: Mapping[str, float], targets: Targets) -> LossGradients:
    """The answer for weights by neutral name, the same in each layer.

    Raises `Violation` unless there is a gradient for each layer, of the shape of its predictions.
    """
    outputs = case.outputs
    table = weight_table(case.configuration, weights)
    answer = component(case.configuration)(outputs, targets, table).value
    require_layers(answer, outputs)
    return answer


def require_layers(answer: LossGradients, outputs: Outputs) -> None:
    """Raises `Violation` unless there is a gradient for each layer, of the shape of its predictions."""
    require_count("decoder layers", answer.layers, outputs)
    for name, layer, gradient in zip(layer_names(outputs), outputs.layers, answer.layers, strict=True):
        require_shapes(name, gradient, layer)


def require_count(whose: str, gradients: Sequence[LayerGradient], outputs: Outputs) -> None:
    """Raises `Violation` unless there is a gradient for each layer."""
    expected, got = len(outputs.layers), len(gradients)
    require_equal(f"a wrong number of gradients of {whose}", got, expected)


def require_shapes(name: str, gradient: LayerGradient, layer: Outputs) -> None:
    """Raises `Violation` unless each gradient that there is has the shape of its predictions."""
    for kind in ("logits", "boxes", "masks", "edges"):
        part, predictions = getattr(gradient, kind), getattr(layer, kind)
        if part is not None and predictions is not None:
            require_shape(f"the gradient of the {kind} of {name}", part, predictions.shape)


def premise_moved(kind: str, *layers: LayerGradient) -> None:
    """Ends the check unless some layer's "logits", "boxes" or "masks" have a gradient: no law holds for want of one."""
    parts = [part for layer in layers if (part := getattr(layer, kind)) is not None]
    premise(any(bool((np.isfinite(part) & (part != 0)).any()) for part in parts), f"nothing moves the {kind}")


@dataclass(frozen=True, eq=False)
class JudgedLayer:
    """The gradient in one decoder layer, and the objective that it should be the gradient of.

    A prediction that is not connected has a gradient of zeros here.
    """

    name: str
    layer: Outputs
    gradient: LayerGradient
    objective: LayerObjective

    @property
    def range(self) -> GradientRange:
        """Where a right gradient lies."""
        return self.objective.range

    @cached_property
    def places(self) -> tuple[Integers, Integers]:
        """The image and query indices of the matched pairs; [m] twice."""
        return matched_places(self.objective.matchings)

    @cached_property
    def box_places(self) -> tuple[Integers, Integers]:
        """Likewise for the pairs that box losses use."""
        return matched_places(self.objective.of_pairs.matchings)

    @property
    def logits(self) -> Floats:
        """The gradient of the logits; [B, Q, C]."""
        return np.zeros(self.layer.logits.shape) if self.gradient.logits is None else self.gradient.logits

    @property
    def boxes(self) -> Floats:
        """The gradient of the boxes; [B, Q, 4]."""
        return np.zeros(self.layer.boxes.shape) if self.gradient.boxes is None else self.gradient.boxes

    @property
    def masks(self) -> Floats:
        """The gradient of the masks, which are there; [B, Q, h, w]."""
        assert self.layer.masks is not None
        return np.zeros(self.layer.masks.shape) if self.gradient.masks is None else self.gradient.masks

    @property
    def edges(self) -> Floats:
        """The gradient of the logits of edges, which are there; [B, Q, E]."""
        assert self.layer.edges is not None
        return np.zeros(self.layer.edges.shape) if self.gradient.edges is None else self.gradient.edges

    @cached_property
    def unmatched(self) -> Booleans:
        """Which queries have no target; [B, Q]."""
        return self._without(self.places)

    @cached_property
    def without_boxes(self) -> Booleans:
        """Which queries have no target in the losses of boxes; [B, Q]."""
        return self._without(self.box_places)

    def _without(self, places: tuple[Integers, Integers]) -> Booleans:
        free = np.ones(self.layer.logits.shape[:2], dtype=np.bool_)
        free[places] = False
        return free

    def require_logit_slopes(self) -> bool:
        """Raises `Violation` unless the logits' gradient is that of the definition; false if nothing is known."""
        return require_slopes(f"the gradient of the logits of {self.name}", self.logits, self.range.logits)

    def require_box_slopes(self) -> bool:
        """Raises `Violation` unless the gradient of matched boxes is that of the definition; false if none is known."""
        matched = ~self.without_boxes
        known = bounded(self.range.boxes) & matched[..., None]
        return require_slopes(f"the gradient of the boxes of {self.name}", self.boxes, self.range.boxes, known)

    @property
    def has_slopes_of_pairs(self) -> bool:
        """Whether the gradients of boxes and edges are those of the definition, as far as they are known."""
        matched = ~self.without_boxes[..., None]
        parts = [(self.boxes, self.range.boxes)]
        parts += [] if self.range.edges is None else [(self.edges, self.range.edges)]
        inside = [(got >= right.lower) & (got <= right.upper) | ~(bounded(right) & matched) for got, right in parts]
        return all(bool(part.all()) for part in inside)

    def require_mask_slopes(self) -> bool:
        """Raises `Violation` unless the masks' gradient is that of the definition; false if none but 0 is known.

        It is 0 where a query has no target.
        """
        assert self.range.masks is not None
        require_slopes(f"the gradient of the masks of {self.name}", self.masks, self.range.masks)
        return bool(bounded(self.range.masks)[~self.unmatched].any())

    def require_edge_slopes(self) -> bool:
        """Raises `Violation` unless the gradient of edges is that of the definition; false if nothing is known."""
        assert self.range.edges is not None
        return require_slopes(f"the gradient of the edges of {self.name}", self.edges, self.range.edges)


def require_slopes(what: str, got: Floats, expected: Interval, known: Booleans | None = None) -> bool:
    """Raises `Violation` unless a gradient lies in its range where both ends are known; false if none are.

    known: where to look, if not wherever the range is bounded.
    """
    judged = bounded(expected) if known is None else known
    ends = np.where(judged, expected.lower, -np.inf), np.where(judged, expected.upper, np.inf)
    require_within(what, np.where(judged, got, 0.0), Interval(expected.value, *ends, expected.dtype))
    return bool(judged.any())


def require_zero(message: str, gradient: Floats | None) -> None:
    """Raises `Violation` with the message where a gradient is not zero everywhere."""
    if gradient is not None:
        places = np.argwhere(gradient != 0)
        got = [float(gradient[tuple(place)]) for place in places[:1]]
        require(not len(places), message, expected=0.0, got=got, places=places.tolist())


def require_same_gradient(
    when: str, got: JudgedLayer, expected: JudgedLayer, kinds: Sequence[str] = ("logits", "boxes")
) -> None:
    """Raises `Violation` unless two answers in one layer agree; ends the check where they differ and have many optima.

    `when` says in the message which of them is `got`; kinds: the predictions whose gradients are compared.
    """
    differ = [kind for kind in kinds if not np.array_equal(getattr(got, kind), getattr(expected, kind))]
    if not differ:
        return
    unique_matchings(expected.layer, expected.objective.targets, expected.objective.configuration)
    for kind in differ:
        right: Interval = getattr(expected.range, kind)
        what = f"the gradient of the {kind} of {expected.name}, {when},"
        require_close(what, getattr(got, kind), getattr(expected, kind), right.upper - right.lower)


def bounded(numbers: Interval) -> Booleans:
    """Where a range has two ends."""
    return np.isfinite(numbers.lower) & np.isfinite(numbers.upper)


def judged_layers(
    component: Build, case: SetCase, weights: Mapping[str, float], targets: Targets | None = None
) -> list[JudgedLayer]:
    """The implementation's gradient of Σ weight · term in each layer, and its definition.

    Ends the check as `criterion_answers.judged` does. A term that the implementation gives for the last layer
    and not for an auxiliary one has no weight there; raises `Violation` where it is missing in the last.
    """
    configuration, given = case.configuration, case.targets if targets is None else targets
    answer = gradients_of(component, case, weights, given)
    matchings = known_matchings(answer.losses, configuration, case.outputs, given)
    for name in weights:
        require_key(answer.losses, keys_with(configuration, name)[0])
    table = weight_table(configuration, weights)
    known = {key: weight for key, weight in table.items() if key in answer.losses.values}
    judged = Judged(configuration, case.outputs, given, answer.losses, matchings)
    last, *earlier = places_of("decoder", len(case.outputs.layers))
    places, names = [*earlier, last], layer_names(case.outputs)

    def under(union: Sequence[Matching] | None) -> list[JudgedLayer]:
        return [
            JudgedLayer(
                name,
                layer,
                gradient,
                layer_objective(configuration, (layer, given, matching), known, place, union, judged.beside),
            )
            for name, layer, gradient, matching, place in zip(
                names, case.outputs.layers, answer.layers, matchings, places, strict=True
            )
        ]

    if judged.union is None or len(judged.unions) == 1:
        return under(judged.union)
    ways = map(under, judged.explaining())
    return next((layers for layers in ways if all(layer.has_slopes_of_pairs for layer in layers)), under(judged.union))
