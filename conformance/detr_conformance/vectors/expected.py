"""The expected values of a case, as the norm defines them: what any language can hold an implementation against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detr_conformance.vectors.vector import Expected, ImageExpected, LayerExpected, Optimum, Range
from detr_spec import boxes
from detr_spec.cases import BoxCase, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import candidates, count_range
from detr_spec.gradients import layer_objective
from detr_spec.losses import METRICS, boxes_counted, num_boxes_of_ranks, set_losses
from detr_spec.matching.assignment import solve, total_allowance, unique_optimum
from detr_spec.matching.costs import image_costs
from detr_spec.reported import Place, reported_losses, weight_table, weighted_sum
from detr_spec.tolerance import Interval, lift
from detr_spec.values import Floats, Matching, Outputs, Targets


def expected_values(component: str, case: Any) -> Expected:
    """What is expected of a component for a case.

    Where several matchings are optimal, losses and gradients are those under one of them, and the optimum says so.
    """
    with np.errstate(all="ignore"):
        return _EXPECTED[component](case)


def _boxes(case: BoxCase) -> Expected:
    rules, dtype = case.configuration.profile.boxes, case.configuration.dtype
    first, second = lift(case.first, dtype), lift(case.second, dtype)
    overlaps = {"iou": boxes.iou(first, second, rules), "giou": boxes.giou(first, second, rules)}
    centres = {"first_as_cxcywh": boxes.xyxy_to_cxcywh(first), "second_as_cxcywh": boxes.xyxy_to_cxcywh(second)}
    return Expected(overlaps={name: Range.of(item) for name, item in (overlaps | centres).items()})


def _optimum(cost: Floats | Interval, dtype: str) -> Optimum:
    value = cost.value if isinstance(cost, Interval) else cost
    best = solve(np.asarray(value, dtype=np.float64))
    spread = 0.0
    if isinstance(cost, Interval):
        spread = 2 * float((cost.upper - cost.lower).max(initial=0.0)) * len(best.rows)
    unique = unique_optimum(cost, dtype) is not None
    allowance = total_allowance(np.asarray(value, dtype=np.float64), dtype) + spread
    return Optimum(best.total, allowance, best.rows, best.columns, unique)


def _assignment(case: CostCase) -> Expected:
    return Expected(optima=tuple(_optimum(cost, case.configuration.dtype) for cost in case.costs))


def _layer_optima(layer: Outputs, targets: Targets, configuration: Configuration) -> tuple[Optimum, ...]:
    return tuple(_optimum(cost, configuration.dtype) for cost in image_costs(layer, targets, configuration))


def _matcher(case: SetCase) -> Expected:
    costs = image_costs(case.outputs.main, case.targets, case.configuration)
    return Expected(
        costs=tuple(map(Range.of, costs)),
        optima=_layer_optima(case.outputs.main, case.targets, case.configuration),
    )


def _matchings(optima: Sequence[Optimum]) -> tuple[Matching, ...]:
    return tuple(Matching(optimum.queries, optimum.targets) for optimum in optima)


@dataclass(frozen=True)
class _Layer:
    """A decoder layer under its optima: its place, None for the last, and its terms and metrics by neutral name."""

    place: int | None
    outputs: Outputs
    optima: tuple[Optimum, ...]
    terms: Mapping[str, Interval]


def _layers(
    configuration: Configuration, outputs: Outputs, targets: Targets, normaliser: Interval | None = None
) -> list[_Layer]:
    found = []
    for place, layer in zip((*range(len(outputs.auxiliary)), None), outputs.layers, strict=True):
        optima = _layer_optima(layer, targets, configuration)
        terms = set_losses(configuration, layer, targets, _matchings(optima), normaliser)
        found.append(_Layer(place, layer, optima, terms))
    return found


def _expected_layers(
    configuration: Configuration, layers: Sequence[_Layer], metrics: bool = True
) -> tuple[LayerExpected, ...]:
    """What each layer is to give, by the profile's keys; what is a sum over layers is among the last one's."""
    terms: dict[Place, Mapping[str, Interval]] = {layer.place: layer.terms for layer in layers}
    losses: dict[Place, dict[str, Range]] = {layer.place: {} for layer in layers}
    for key, reported in reported_losses(configuration).items():
        own = reported.of_decoder
        if own.parts and (metrics or own.parts[0][0] not in METRICS):
            ((_, place), *others) = own.parts
            found = weighted_sum(configuration, own, terms.__getitem__)
            losses[None if others else place][key] = Range.of(found)
    return tuple(LayerExpected(number, layer.optima, losses[layer.place]) for number, layer in enumerate(layers))


def _criterion(case: SetCase) -> Expected:
    layers = _layers(case.configuration, case.outputs, case.targets)
    return Expected(layers=_expected_layers(case.configuration, layers))


def _gradients(case: SetCase) -> Expected:
    configuration = case.configuration
    layers = _layers(configuration, case.outputs, case.targets)
    table = weight_table(configuration, configuration.term_weights)
    found = []
    for layer, expected in zip(layers, _expected_layers(configuration, layers, metrics=False), strict=True):
        supervised = layer.outputs, case.targets, _matchings(layer.optima)
        slopes = layer_objective(configuration, supervised, table, layer.place).range
        logits, boxes = Range.of(slopes.logits), Range.of(slopes.boxes)
        found.append(replace(expected, logits_gradient=logits, boxes_gradient=boxes))
    return Expected(layers=tuple(found))


def _distributed(case: RankCase) -> Expected:
    configuration = case.configuration
    last = [_matchings(_layer_optima(outputs.main, targets, configuration)) for outputs, targets in case.batches]
    counts = [
        boxes_counted(targets, matchings, configuration)
        for (_, targets), matchings in zip(case.batches, last, strict=True)
    ]
    normalisers = num_boxes_of_ranks(counts, configuration)
    return Expected(
        ranks=tuple(
            _expected_layers(configuration, _layers(configuration, outputs, targets, normaliser))
            for (outputs, targets), normaliser in zip(case.batches, normalisers, strict=True)
        )
    )


def _postprocess(case: SetCase) -> Expected:
    images = []
    for logits, image_boxes, size in zip(case.outputs.logits, case.outputs.boxes, case.sizes, strict=True):
        found = candidates(logits, image_boxes, size, case.configuration)
        least, most = count_range(found, case.configuration)
        images.append(ImageExpected(Range.of(found.scores), Range.of(found.boxes), least, most))
    return Expected(images=tuple(images))


def _output_shapes(configuration: Configuration, layers: int, batch: int, queries: int | None) -> Expected:
    """The shapes of outputs; without a number of queries, which is then the model's own, -1 in its place."""
    count = -1 if queries is None else queries
    return Expected(
        shapes={"logits": (layers, batch, count, configuration.columns), "boxes": (layers, batch, count, 4)}
    )


def _heads(case: HiddenCase) -> Expected:
    layers, batch, queries, _ = case.hidden.shape
    return _output_shapes(case.configuration, layers, batch, queries)


def _decoder(case: FeatureCase) -> Expected:
    queries, size = case.features.queries.shape
    batch = len(case.features.features)
    layers = case.configuration.decoder_layers
    return Expected(shapes={"stacked": (layers, batch, queries, size), "last": (1, batch, queries, size)})


def _model(case: ImagesCase) -> Expected:
    return _output_shapes(case.configuration, case.configuration.decoder_layers, len(case.images), None)


_EXPECTED: dict[str, Callable[[Any], Expected]] = {
    "boxes": _boxes,
    "assignment": _assignment,
    "matcher": _matcher,
    "criterion": _criterion,
    "masks": _criterion,
    "gradients": _gradients,
    "distributed": _distributed,
    "postprocess": _postprocess,
    "heads": _heads,
    "decoder": _decoder,
    "model": _model,
}
