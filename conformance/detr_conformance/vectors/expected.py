"""The expected values of a case, as the norm defines them: what any language can hold an implementation against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from detr_conformance.vectors.vector import Expected, ImageExpected, LayerExpected, Optimum, Range
from detr_spec import boxes
from detr_spec.assignment import solve, total_allowance, unique_optimum
from detr_spec.cases import BoxCase, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.costs.matching import image_costs
from detr_spec.gradients import LayerObjective
from detr_spec.losses import METRICS, TRAINING_TERMS, boxes_counted, num_boxes_of_ranks, set_losses
from detr_spec.masks import mask_losses
from detr_spec.postprocess import candidates, count_range
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


def _by_key(configuration: Configuration, losses: Mapping[str, Interval], layer: int | None) -> dict[str, Range]:
    """The losses that the profile reports, by its keys; layer: the number of an auxiliary layer, None for the last."""
    keys = configuration.profile.keys
    found = {}
    for name, loss in losses.items():
        key = getattr(keys, name)
        if key is None or (layer is not None and name == "class_error"):
            continue
        found[key if layer is None else keys.auxiliary_loss.format(loss=key, layer=layer)] = Range.of(loss)
    return found


def _layers(
    configuration: Configuration, outputs: Outputs, targets: Targets, normaliser: Interval | None = None
) -> list[tuple[int | None, Outputs, tuple[Optimum, ...], dict[str, Interval]]]:
    """Each decoder layer with its number (None for the last), its optima and its losses by neutral name."""
    found = []
    for number, layer in enumerate(outputs.layers):
        optima = _layer_optima(layer, targets, configuration)
        losses = set_losses(configuration, layer, targets, _matchings(optima), normaliser)
        found.append((number if number < len(outputs.auxiliary) else None, layer, optima, losses))
    return found


def _criterion(case: SetCase) -> Expected:
    return Expected(layers=_expected_layers(case.configuration, case.outputs, case.targets))


def _expected_layers(
    configuration: Configuration, outputs: Outputs, targets: Targets, normaliser: Interval | None = None
) -> tuple[LayerExpected, ...]:
    return tuple(
        LayerExpected(place, optima, _by_key(configuration, losses, number))
        for place, (number, _, optima, losses) in enumerate(_layers(configuration, outputs, targets, normaliser))
    )


def _masks(case: SetCase) -> Expected:
    found = []
    for place, (number, layer, optima, losses) in enumerate(_layers(case.configuration, case.outputs, case.targets)):
        if number is None:
            losses = losses | mask_losses(case.configuration, layer, case.targets, _matchings(optima))  # noqa: PLW2901
        found.append(LayerExpected(place, optima, _by_key(case.configuration, losses, number)))
    return Expected(layers=tuple(found))


def _gradients(case: SetCase) -> Expected:
    configuration = case.configuration
    numbers = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
    weights = dict(zip(TRAINING_TERMS, numbers, strict=True))
    found = []
    for place, (number, layer, optima, losses) in enumerate(_layers(configuration, case.outputs, case.targets)):
        objective = LayerObjective(configuration, layer, case.targets, _matchings(optima), weights)
        own = {name: loss for name, loss in losses.items() if name not in METRICS}
        found.append(
            LayerExpected(
                place,
                optima,
                _by_key(configuration, own, number),
                logits_gradient=Range.of(objective.range.logits),
                boxes_gradient=Range.of(objective.range.boxes),
            )
        )
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
            _expected_layers(configuration, outputs, targets, normaliser)
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
    "masks": _masks,
    "gradients": _gradients,
    "distributed": _distributed,
    "postprocess": _postprocess,
    "heads": _heads,
    "decoder": _decoder,
    "model": _model,
}
