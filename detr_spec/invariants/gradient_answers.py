"""What invariants of gradients share: an implementation's gradient of weighted terms, beside what it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.differences import LayerObjective, Quotient
from detr_spec.gradients import GradientRange, gradient_range, matched_places
from detr_spec.implementation import Gradients
from detr_spec.invariants.criterion_answers import known_matchings, loss_key, require_key
from detr_spec.invariants.shared import unique_matchings
from detr_spec.losses import TRAINING_TERMS
from detr_spec.tolerance import SPACING, Interval, summation_growth
from detr_spec.values import Booleans, Floats, Integers, LayerGradient, LossGradients, Outputs, Targets
from detr_spec.violation import Violation, premise, require, require_close, require_shape

Build = Callable[[Configuration], Gradients]

RANDOM_COORDINATES = 2
"""How many coordinates of each kind are held against a difference quotient, in each layer, beside the directions."""


def training_weights(configuration: Configuration) -> dict[str, float]:
    """The configuration's loss weights by neutral name."""
    numbers = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
    return dict(zip(TRAINING_TERMS, numbers, strict=True))


def layer_names(outputs: Outputs) -> list[str]:
    """What the decoder layers are called in messages, first to last."""
    return [*(f"auxiliary layer {layer}" for layer in range(len(outputs.auxiliary))), "the last layer"]


def weight_table(configuration: Configuration, layers: int, weights: Mapping[str, float]) -> dict[str, float]:
    """The weights by the implementation's keys, the same for each layer."""
    places: list[int | None] = [*range(layers - 1), None]
    keys = {(name, place): loss_key(configuration, name, place) for place in places for name in weights}
    return {key: weights[name] for (name, _), key in keys.items() if key is not None}


def gradients_of(component: Build, case: SetCase, weights: Mapping[str, float], targets: Targets) -> LossGradients:
    """The answer for weights by neutral name, the same in each layer.

    Raises `Violation` unless there is a gradient for each layer, of the shape of its predictions.
    """
    outputs = case.outputs
    table = weight_table(case.configuration, len(outputs.layers), weights)
    answer = component(case.configuration)(outputs, targets, table).value
    count = len(answer.layers)
    require(count == len(outputs.layers), "a wrong number of gradients", expected=len(outputs.layers), got=count)
    for name, layer, gradient in zip(layer_names(outputs), outputs.layers, answer.layers, strict=True):
        require_shapes(name, gradient, layer)
    return answer


def require_shapes(name: str, gradient: LayerGradient, layer: Outputs) -> None:
    """Raises `Violation` unless each gradient that there is has the shape of its predictions."""
    for kind in ("logits", "boxes", "masks"):
        part, predictions = getattr(gradient, kind), getattr(layer, kind)
        if part is not None and predictions is not None:
            require_shape(f"the gradient of the {kind} of {name}", part, predictions.shape)


def premise_moved(kind: str, *layers: LayerGradient) -> None:
    """Ends the check unless some layer's "logits", "boxes" or "masks" have a gradient: no law holds for want of one."""
    parts = [part for layer in layers if (part := getattr(layer, kind)) is not None]
    premise(any(bool((np.isfinite(part) & (part != 0)).any()) for part in parts), f"nothing moves the {kind}")


@dataclass(frozen=True, eq=False)
class JudgedLayer:
    """The gradient in one decoder layer, and what it is to be: an objective and the range that rounding allows.

    A prediction that is not connected has a gradient of zeros here.
    """

    name: str
    layer: Outputs
    gradient: LayerGradient
    objective: LayerObjective
    random: np.random.Generator

    @cached_property
    def range(self) -> GradientRange:
        """Where a right gradient lies."""
        own = self.objective
        return gradient_range(own.configuration, self.layer, own.targets, own.matchings, own.weights)

    @cached_property
    def places(self) -> tuple[Integers, Integers]:
        """The image and query indices of the matched pairs; [m] twice."""
        return matched_places(self.objective.matchings)

    @property
    def logits(self) -> Floats:
        """The gradient of the logits; [B, Q, C]."""
        return np.zeros(self.layer.logits.shape) if self.gradient.logits is None else self.gradient.logits

    @property
    def boxes(self) -> Floats:
        """The gradient of the boxes; [B, Q, 4]."""
        return np.zeros(self.layer.boxes.shape) if self.gradient.boxes is None else self.gradient.boxes

    @cached_property
    def unmatched(self) -> Booleans:
        """Which queries have no target; [B, Q]."""
        free = np.ones(self.layer.logits.shape[:2], dtype=np.bool_)
        free[self.places] = False
        return free

    @cached_property
    def smooth_pairs(self) -> Booleans:
        """Which matched pairs are away from kinks, and have a gradient whose rounding is bounded; [m]."""
        places = self.places
        known = bounded(self.range.boxes)[places].all(axis=-1)
        smooth: Booleans = self.range.smooth[places] & known & (self.objective.box_steps() > 0)
        return smooth

    def require_logit_quotients(self) -> bool:
        """Raises `Violation` unless the logits' gradient is that of the definition; false if nothing is known.

        Held along coordinates, one of them of a matched label if there is one, and along a random direction.
        """
        known = bounded(self.range.logits)
        if not known.any():
            return False
        directions = [np.where(known, self.random.uniform(-1.0, 1.0, known.shape), 0.0)]
        directions += [unit(known.shape, place) for place in self._logit_places(known)]
        for direction in directions:
            quotient = self.objective.along_logits(direction)
            self._require_along("logits", self.logits, self.range.logits, direction, quotient)
        return True

    def _logit_places(self, known: Booleans) -> list[tuple[int, ...]]:
        places = np.argwhere(known)
        chosen = [tuple(map(int, places[index])) for index in self.random.integers(0, len(places), RANDOM_COORDINATES)]
        images, queries = self.places
        if len(images):
            pair = int(self.random.integers(len(images)))
            place = int(images[pair]), int(queries[pair]), int(self.objective.labels[pair])
            chosen += [place] if known[place] else []
        return chosen

    def require_box_quotients(self) -> bool:
        """Raises `Violation` unless the gradient of smooth pairs' boxes is that of the definition.

        Held along coordinates of single pairs, and along a random direction of all. False if no pair is smooth.
        """
        (pairs,) = np.nonzero(self.smooth_pairs)
        if not len(pairs):
            return False
        steps = self.objective.box_steps()
        longest = float(steps[pairs].max())
        # A tiny box moves by less than a large one, so that the step suits each.
        everywhere = self.random.uniform(-1.0, 1.0, (len(pairs), 4)) * (steps[pairs] / longest)[:, None]
        self._require_along_boxes(everywhere, pairs, longest)
        for pair in self.random.choice(pairs, RANDOM_COORDINATES + 1):
            direction = unit((1, 4), (0, int(self.random.integers(4))))
            self._require_along_boxes(direction, np.array([pair]), float(steps[pair]))
        return True

    def _require_along_boxes(self, rows: Floats, pairs: np.ndarray, step: float) -> None:
        quotient = self.objective.along_boxes(rows, pairs, step)
        images, queries = self.places
        direction = np.zeros(self.layer.boxes.shape)
        direction[images[pairs], queries[pairs]] = rows
        self._require_along("boxes", self.boxes, self.range.boxes, direction, quotient)

    def _require_along(self, kind: str, got: Floats, expected: Interval, direction: Floats, quotient: Quotient) -> None:
        require_along(f"the gradient of the {kind}", self.name, got, expected, direction, quotient)


def require_along(
    what: str, layer: str, got: Floats, expected: Interval, direction: Floats, quotient: Quotient
) -> None:
    """Raises `Violation` unless the gradient's product with a direction is the quotient, up to both errors.

    what, layer: what has the gradient, and in which decoder layer, for the message.
    """
    moved = np.nonzero(direction)
    lengths = direction[moved]
    below, above = (expected.value - expected.lower)[moved], (expected.upper - expected.value)[moved]
    products = got[moved] * lengths
    slack = quotient.error + (1 + summation_growth(products.size)) * SPACING["float64"] * float(np.abs(products).sum())
    least = float(np.where(lengths > 0, lengths * below, -lengths * above).sum()) + slack
    most = float(np.where(lengths > 0, lengths * above, -lengths * below).sum()) + slack
    slope = float(products.sum())
    if not quotient.value - least <= slope <= quotient.value + most:
        place = f"[{', '.join(str(int(index[0])) for index in moved)}]" if len(lengths) == 1 else ""
        where = place or " along a random direction"
        raise Violation(
            f"{what}{where} of {layer} is not the difference quotient",
            expected=quotient.value,
            got=slope,
            allowance=(-least, most),
        )


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


def unit(shape: tuple[int, ...], place: tuple[int, ...]) -> Floats:
    """The direction of one coordinate."""
    direction = np.zeros(shape)
    direction[place] = 1.0
    return direction


def judged_layers(
    component: Build, case: SetCase, weights: Mapping[str, float], targets: Targets | None = None
) -> list[JudgedLayer]:
    """The implementation's gradient of Σ weight · term in each layer, beside what it should be.

    Ends the check as `criterion_answers.judged` does. A term that the implementation gives for the last layer
    and not for an auxiliary one has no weight there; raises `Violation` where it is missing in the last.
    """
    configuration, given = case.configuration, case.targets if targets is None else targets
    answer = gradients_of(component, case, weights, given)
    matchings = known_matchings(answer.losses, configuration, case.outputs, given)
    for name in weights:
        key = loss_key(configuration, name)
        assert key is not None
        require_key(answer.losses, key)
    places = [*range(len(case.outputs.auxiliary)), None]
    names = layer_names(case.outputs)
    return [
        JudgedLayer(
            name,
            layer,
            gradient,
            LayerObjective(configuration, layer, given, matching, _present(answer, configuration, weights, place)),
            case.generator(f"directions in {name}"),
        )
        for name, layer, gradient, matching, place in zip(
            names, case.outputs.layers, answer.layers, matchings, places, strict=True
        )
    ]


def _present(
    answer: LossGradients, configuration: Configuration, weights: Mapping[str, float], place: int | None
) -> dict[str, float]:
    return {
        name: weight for name, weight in weights.items() if loss_key(configuration, name, place) in answer.losses.values
    }
