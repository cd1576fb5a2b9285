"""The expected values of a case, as the norm defines them: what any language can hold an implementation against."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detr_conformance.vectors.vector import Expected, ImageExpected, LayerExpected, Optimum, Range
from detr_spec import boxes
from detr_spec.apart import has_losses, is_open
from detr_spec.cases import BoxCase, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import candidates, count_range
from detr_spec.gradients import layer_objective
from detr_spec.invariants.apart import denoising_of_ranks, supervised
from detr_spec.invariants.criterion_answers import Judged
from detr_spec.invariants.distributed import with_divisors
from detr_spec.invariants.shared import costs_of
from detr_spec.losses import METRICS
from detr_spec.matching.assignment import solve, total_allowance, unique_optimum
from detr_spec.matching.costs import image_costs
from detr_spec.places import APART, LAST, Place, places_of
from detr_spec.reported import absent_keys, reported_losses, weight_table, weighted_sum
from detr_spec.scope import joined, problems
from detr_spec.tolerance import Interval, lift
from detr_spec.values import Floats, Losses, Matching, Outputs, Targets
from detr_spec.violation import PremiseFailed


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


def _optimum(cost: Floats | Interval, dtype: str, copies: int = 1) -> Optimum:
    value = cost.value if isinstance(cost, Interval) else cost
    best = solve(np.asarray(value, dtype=np.float64))
    spread = 0.0
    if isinstance(cost, Interval):
        spread = 2 * float((cost.upper - cost.lower).max(initial=0.0)) * len(best.rows)
    unique = unique_optimum(cost, dtype, copies) is not None
    allowance = total_allowance(np.asarray(value, dtype=np.float64), dtype) + spread
    return Optimum(best.total, allowance, best.rows, best.columns, unique)


def _image_optimum(cost: Interval, configuration: Configuration) -> Optimum:
    """The optima of an image's problems as one."""
    whole = problems(len(cost), cost.shape[1], configuration.scope)
    found = [_optimum(costs_of(problem, cost), configuration.dtype, problem.repeats) for problem in whole]
    pairs = joined(_matchings(found), whole)
    return Optimum(
        sum(part.total for part in found),
        sum(part.allowance for part in found),
        pairs.queries.astype(np.int64),
        pairs.targets.astype(np.int64),
        all(part.unique for part in found),
    )


def _assignment(case: CostCase) -> Expected:
    return Expected(optima=tuple(_optimum(cost, case.configuration.dtype) for cost in case.costs))


def _layer_optima(layer: Outputs, targets: Targets, configuration: Configuration) -> tuple[Optimum, ...]:
    return tuple(_image_optimum(cost, configuration) for cost in image_costs(layer, targets, configuration))


def _matcher(case: SetCase) -> Expected:
    costs = image_costs(case.outputs.main, case.targets, case.configuration)
    return Expected(
        costs=tuple(map(Range.of, costs)),
        optima=_layer_optima(case.outputs.main, case.targets, case.configuration),
    )


def _matchings(optima: Sequence[Optimum]) -> tuple[Matching, ...]:
    return tuple(Matching(optimum.queries, optimum.targets) for optimum in optima)


@dataclass(frozen=True, eq=False)
class _Batch:
    """A batch under its optima, one of each image in each decoder layer, and what a right answer is judged by."""

    optima: tuple[tuple[Optimum, ...], ...]
    judged: Judged
    apart: tuple[Judged, ...] = ()
    """What answers are judged by for predictions that stand apart, as far as their matchings are known."""

    @property
    def layers(self) -> tuple[tuple[Place, tuple[Optimum, ...]], ...]:
        """The place of each layer, and its optima; none is unique where a union of them is not."""
        last, *earlier = places_of("decoder", len(self.optima))
        several = self.judged.union is not None and len(self.judged.unions) > 1
        optima = [[replace(optimum, unique=optimum.unique and not several) for optimum in own] for own in self.optima]
        return tuple(zip((*earlier, last), map(tuple, optima), strict=True))


def _batch(configuration: Configuration, outputs: Outputs, targets: Targets) -> _Batch:
    optima = tuple(_layer_optima(layer, targets, configuration) for layer in outputs.layers)
    return _Batch(optima, Judged(configuration, outputs, targets, Losses({}), tuple(map(_matchings, optima))))


def _set_batch(case: SetCase) -> _Batch:
    """The batch of a case, with those of its predictions apart that have losses and one right matching."""
    found = []
    for name in APART:
        if has_losses(case.configuration.profile, name):
            with contextlib.suppress(PremiseFailed):
                found.append(supervised(case, name, Losses({})))
    return replace(_batch(case.configuration, case.outputs, case.targets), apart=tuple(found))


def _expected_layers(batch: _Batch, metrics: bool = True) -> tuple[LayerExpected, ...]:
    """What each layer is to give, by the profile's keys.

    What is a sum over layers, or of predictions apart, is among the last one's. What is open is left out.
    """
    configuration, outputs = batch.judged.configuration, batch.judged.outputs
    losses: dict[Place, dict[str, Range]] = {place: {} for place, _ in batch.layers}
    given = {"decoder", *(name for name in APART if getattr(outputs, name) is not None)}
    known = {judged.whose: judged for judged in (batch.judged, *batch.apart)}
    for key, reported in reported_losses(configuration).items():
        parts = tuple(part for part in reported.parts if part[1].whose in given)
        names = {name for name, place in parts if not is_open(name, place.whose)}
        looked_at = names if metrics else names.difference(METRICS)
        if looked_at and all(place.whose in known for _, place in parts):
            ((_, place), *others) = parts
            whole = replace(reported, parts=parts)
            found = weighted_sum(configuration, whole, lambda place: known[place.whose].definitions(place))
            losses[LAST if others or place not in losses else place][key] = Range.of(found)
    if outputs.denoising is None:
        losses[LAST] |= dict.fromkeys(absent_keys(configuration), Range.of(lift(0.0, configuration.dtype)))
    return tuple(LayerExpected(number, optima, losses[place]) for number, (place, optima) in enumerate(batch.layers))


def _criterion(case: SetCase) -> Expected:
    return Expected(layers=_expected_layers(_set_batch(case)))


def _gradients(case: SetCase) -> Expected:
    configuration = case.configuration
    batch = _set_batch(case)
    table = weight_table(configuration, configuration.term_weights)
    found = []
    for (place, _), layer, matchings, expected in zip(
        batch.layers, case.outputs.layers, batch.judged.matchings, _expected_layers(batch, metrics=False), strict=True
    ):
        supervised = layer, case.targets, matchings
        given = table, place, batch.judged.union, batch.judged.beside
        slopes = layer_objective(configuration, supervised, *given).range
        logits, boxes = Range.of(slopes.logits), Range.of(slopes.boxes)
        found.append(replace(expected, logits_gradient=logits, boxes_gradient=boxes))
    return Expected(layers=tuple(found))


def _distributed(case: RankCase) -> Expected:
    batches = [_batch(case.configuration, *batch) for batch in case.batches]
    ranks = zip(batches, with_divisors([batch.judged for batch in batches]), denoising_of_ranks(case), strict=True)
    return Expected(
        ranks=tuple(
            _expected_layers(replace(batch, judged=judged, apart=tuple(denoising)))
            for batch, judged, denoising in ranks
        )
    )


def _postprocess(case: SetCase) -> Expected:
    images = []
    for image, size in enumerate(case.sizes):
        logits, image_boxes = case.outputs.logits[image], case.outputs.boxes[image]
        found = candidates(logits, image_boxes, size, case.configuration, case.outputs.phrases_of(image))
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
