"""The contestants of this project: the reference, and the fast path with and without numba."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import Tensor

import detr_accelerated
import detr_reference
from detr_accelerated import assignment, box_costs
from detr_accelerated.matcher import matched_pairs
from detr_conformance.bench.batches import Batch
from detr_conformance.bench.contestant import DETR_KEYS, Contestant, Package, Place, Step, terms_by_layer
from detr_spec.profile import DEFORMABLE, DETR, Profile

LOSSES = ("labels", "boxes", "cardinality")
ACCELERATED = "accelerated, compiled"
PLAIN = "accelerated, torch alone"
UNVALIDATED = "accelerated, values not looked at"

REFERENCE_PLACES = (
    Place("detr_reference.matcher:HungarianMatcher", "forward", "cost"),
    Place("detr_reference.matcher", "linear_sum_assignment", "assignment"),
)
ACCELERATED_PLACES = (
    Place("detr_accelerated.criterion", "pack_batch", "cost"),
    Place("detr_accelerated.matcher:HungarianMatcher", "match", "cost"),
    Place("detr_accelerated.matcher", "solve", "assignment"),
)


def _matcher(module: Any, base: Any, profile: Profile, **named: Any) -> Any:
    if not profile.has_no_object:
        named["class_cost"] = module.focal_cost()
    return base(*profile.cost_weights, **named)


def _criterion(module: Any, matcher: Any, batch: Batch) -> Any:
    if batch.profile.has_no_object:
        return module.SetCriterion(batch.size.columns - 1, matcher, {}, batch.profile.eos_coef, LOSSES)
    return module.FocalSetCriterion(batch.size.columns, matcher, {}, LOSSES)


def _step(module: Any, matchings: Callable[[Batch], Any], batch: Batch, **named: Any) -> Step:
    matcher = _matcher(module, module.HungarianMatcher, batch.profile, **named)
    criterion = _criterion(module, matcher, batch).to(batch.device)
    outputs, targets = batch.outputs(), batch.targets()
    return Step(
        lambda: criterion(outputs, targets),
        terms_by_layer(DETR_KEYS),
        lambda: matchings(batch),
        batch.logits,
        batch.boxes,
    )


def reference_step(batch: Batch) -> Step:
    """A step of the readable reference."""
    matcher = _matcher(detr_reference, detr_reference.HungarianMatcher, batch.profile)

    def matchings(batch: Batch) -> Any:
        outputs = batch.outputs()
        return [matcher(layer, batch.targets()) for layer in (*outputs["aux_outputs"], outputs)]

    return _step(detr_reference, matchings, batch)


class _Recording(detr_accelerated.HungarianMatcher):
    """Keeps the assignment that it found last."""

    def match(self, predictions: Any, targets: Any) -> Tensor:
        self.columns = super().match(predictions, targets)
        return self.columns


def accelerated_matchings(batch: Batch) -> Sequence[Sequence[tuple[Tensor, Tensor]]]:
    """The matchings of all layers at once, first to last, as the criterion has them made."""
    matcher = _matcher(detr_accelerated, _Recording, batch.profile)
    _criterion(detr_accelerated, matcher, batch)(batch.outputs(), batch.targets())
    images = batch.size.images
    pairs = matched_pairs(matcher.columns, batch.counts * batch.size.layers)
    layers = [pairs[start : start + images] for start in range(0, len(pairs), images)]
    return [*layers[1:], layers[0]]


def accelerated_step(batch: Batch) -> Step:
    """A step of the fast path."""
    return _step(detr_accelerated, accelerated_matchings, batch)


def unvalidated_step(batch: Batch) -> Step:
    """A step of the fast path with a matcher that does not look for broken values, and on CUDA waits for nothing."""
    return _step(detr_accelerated, accelerated_matchings, batch, validate=False)


@contextmanager
def torch_alone() -> Iterator[None]:
    """The fast path as it is where numba is not installed."""
    with (
        patch.object(assignment, "_compiled_solver", lambda: assignment.solve_with_scipy),
        patch.object(box_costs, "_kernel", lambda: None),
    ):
        yield


NUMBA = Package("numba", "numba")


def contestants(profile: Profile) -> tuple[Contestant, ...]:
    """The contestants of this project in one dialect."""
    return (
        Contestant("reference", profile, None, reference_step, REFERENCE_PLACES),
        Contestant(PLAIN, profile, None, accelerated_step, ACCELERATED_PLACES, setting=torch_alone),
        Contestant(ACCELERATED, profile, NUMBA, accelerated_step, ACCELERATED_PLACES),
        Contestant(UNVALIDATED, profile, None, unvalidated_step, ACCELERATED_PLACES),
    )


OURS = (*contestants(DETR), *contestants(DEFORMABLE))
