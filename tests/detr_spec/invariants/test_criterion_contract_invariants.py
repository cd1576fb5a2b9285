"""The invariants of the criterion as a function: right criteria are never accused, defects by their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from judging import Failing, judged, share_fired
from subjects import Factory, Losses, hidden, matching_by, softmax, subject

from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import IMPLEMENTATIONS, detr_matcher
from detr_reference import HungarianMatcher, SetCriterion, box_cxcywh_to_xyxy
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants
from detr_spec.profile import Profile
from detr_spec.profiles import DETR
from detr_spec.values import Answer, Matching, Observation, Outputs, Targets
from detr_spec.values import Losses as Answered

MODULES = ("detr_spec.invariants.criterion_contract", "detr_spec.invariants.criterion_refusals")
INVARIANTS = tuple(
    item
    for item in all_invariants()
    if item.component == "criterion" and item.check.__module__ in MODULES and item.applies(DETR)
)
EXAMPLES = 30
WEIGHTS = {"criterion.every-term-weighted", "criterion.doubled-weight", "criterion.auxiliary-weights"}


def weighted(weights: Callable[[Configuration], dict[str, float]]) -> Factory:
    """The reference with another weight table."""
    return lambda c: SetCriterion(c.num_classes, detr_matcher(c), weights(c), c.class_loss.eos_coef, c.losses)


def rewritten(change: Callable[[Answer[Answered]], Answer[Answered]]) -> Implementation:
    """The reference, with something else in its answers."""
    whole = subject(softmax(SetCriterion))

    def build(configuration: Configuration) -> Callable[[Outputs, Targets], Answer[Answered]]:
        criterion = whole.component("criterion")(configuration)
        return lambda outputs, targets: change(criterion(outputs, targets))

    return Implementation(name="rewritten", profile=DETR, criterion=build)


def observed(change: Callable[[Observation], Observation]) -> Implementation:
    """The reference, with something else observed about its answers."""
    return rewritten(lambda answer: Answer(answer.value, change(answer.observation)))


def answered(change: Callable[[Answered], Answered]) -> Implementation:
    """The reference, with other losses, weights or matchings."""
    return rewritten(lambda answer: Answer(change(answer.value), answer.observation))


def matched(change: Callable[[Matching], Matching]) -> Implementation:
    """The reference, with other matchings shown."""
    return answered(
        lambda losses: replace(losses, matchings=tuple(tuple(map(change, layer)) for layer in losses.matchings or ()))
    )


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
def test_it_holds_on_the_reference_and_is_no_empty_word(invariant: Invariant, reference: Implementation) -> None:
    assert share_fired(invariant.id, reference, EXAMPLES) > 0.2


def test_a_function_without_weights_is_not_accused(failing: Failing) -> None:
    assert failing(subject(hidden(softmax(SetCriterion))), [item.id for item in INVARIANTS]) == set()


@pytest.mark.parametrize("invariant", [item for item in INVARIANTS if item.id in WEIGHTS], ids=lambda item: item.id)
def test_weights_that_are_not_shown_are_not_judged(invariant: Invariant) -> None:
    assert judged(invariant.id, subject(hidden(softmax(SetCriterion))), 5).verdict is Verdict.NOT_PROVIDED


@pytest.mark.parametrize("invariant", [item for item in INVARIANTS if item.id in WEIGHTS], ids=lambda item: item.id)
def test_fixed_weights_are_not_asked_to_vary(invariant: Invariant) -> None:
    fixed = {"loss_class": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    judgement = judged(invariant.id, subject(softmax(SetCriterion), limits=Limits(fixed=fixed)), 10)
    varies = invariant.id == "criterion.doubled-weight"
    assert judgement.verdict is (Verdict.NOT_PROVIDED if varies else Verdict.HOLDS)


def test_what_a_framework_cannot_show_is_not_judged() -> None:
    blind = observed(lambda observation: Observation())
    unseen = ("zero-dimensional", "device", "metrics-without-gradient", "losses-with-gradient")
    for item in INVARIANTS:
        if item.id.removeprefix("criterion.") in unseen:
            assert judged(item.id, blind, 5).verdict is Verdict.NOT_PROVIDED


def last_layer_only(configuration: Configuration) -> dict[str, float]:
    return replace(configuration, decoder_layers=1).weight_dict


def with_metric(configuration: Configuration) -> dict[str, float]:
    return configuration.weight_dict | {"cardinality_error": 1.0}


def fixed_numbers(configuration: Configuration) -> dict[str, float]:
    numbers = (1.0, 5.0, 2.0)
    return {key: numbers[place % 3] for place, key in enumerate(configuration.weight_dict)}


def scaled(configuration: Configuration) -> dict[str, float]:
    return {key: 10.0 * weight for key, weight in configuration.weight_dict.items()}


def swapped_coefficients(configuration: Configuration) -> dict[str, float]:
    return replace(configuration, loss_bbox=configuration.loss_giou, loss_giou=configuration.loss_bbox).weight_dict


def default_auxiliary(configuration: Configuration) -> dict[str, float]:
    return dict.fromkeys(configuration.weight_dict, 0.375) | last_layer_only(configuration)


class WeightsInside(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return {name: loss * self.weight_dict.get(name, 1.0) for name, loss in losses.items()}


class OneElement(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        return {name: loss.reshape(1) for name, loss in super().forward(outputs, targets).items()}


class AttachedMetrics(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | {"class_error": losses["class_error"] + 0 * losses["loss_ce"]}


class FreshZero(SetCriterion):
    """ultralytics PR 26012: the box losses of an empty batch are new tensors."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        if any(len(target["labels"]) for target in targets):
            return losses
        return losses | {name: torch.zeros_like(losses[name]) for name in ("loss_bbox", "loss_giou")}


class Detached(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        return {name: loss.detach() for name, loss in super().forward(outputs, targets).items()}


class PopsAuxiliary(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        auxiliary = outputs.pop("aux_outputs", [])
        return super().forward({**outputs, "aux_outputs": auxiliary}, targets)


class ConvertsInPlace(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        for target in targets:
            target["boxes"].copy_(box_cxcywh_to_xyxy(target["boxes"]))
        return losses


class Stale(HungarianMatcher):
    """PaddleDetection PR 7724: the indices of the batch before, where its shape is the same."""

    def __init__(self, *weights: float) -> None:
        super().__init__(*weights)
        self.known: dict[Any, Any] = {}

    def forward(self, outputs: Any, targets: Any) -> Any:
        shape = (outputs["pred_logits"].shape, tuple(len(target["labels"]) for target in targets))
        if shape not in self.known:
            self.known[shape] = super().forward(outputs, targets)
        return self.known[shape]


class RunningCount(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        self.calls = getattr(self, "calls", 0) + 1
        losses = super().forward(outputs, targets)
        return losses | {"loss_bbox": losses["loss_bbox"] / self.calls}


class NoChecks(SetCriterion):
    def _check(self, outputs: Any, auxiliary: Any, targets: Any) -> None:
        pass


class ClampedLabels(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        last = self.num_classes - 1
        clamped = [{**target, "labels": target["labels"].clamp(0, last)} for target in targets]
        return super().forward(outputs, clamped)


class PythonLabels(SetCriterion):
    """Negative labels index from the end, as in Python."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        labels = [target["labels"] % self.num_logits for target in targets]
        wrapped = [{**target, "labels": own} for target, own in zip(targets, labels, strict=True)]
        return super().forward(outputs, wrapped)


class ZipsTheShorter(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        count = max(min(len(targets), len(outputs["pred_logits"])), 1)
        targets = (targets or [{"labels": torch.zeros(0, dtype=torch.int64), "boxes": torch.zeros(0, 4)}])[:count]
        outputs = {name: outputs[name][:count] for name in ("pred_logits", "pred_boxes")}
        targets = [{**target, "boxes": target["boxes"].to(outputs["pred_boxes"])} for target in targets]
        return super().forward(outputs, targets)


class AnyColumns(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        logits = outputs["pred_logits"]
        columns = torch.arange(self.num_logits).clamp(max=logits.shape[-1] - 1)
        return super().forward({**outputs, "pred_logits": logits[..., columns]}, targets)


DEFECTS: dict[str, tuple[Implementation, set[str]]] = {
    "weights of the last layer": (subject(weighted(last_layer_only)), {"criterion.every-term-weighted"}),
    "a metric with a weight": (subject(weighted(with_metric)), {"criterion.every-term-weighted"}),
    "weights of fixed numbers": (subject(weighted(fixed_numbers)), {"criterion.doubled-weight"}),
    "weights ten times too large": (subject(weighted(scaled)), {"criterion.doubled-weight"}),
    "swapped coefficients": (subject(weighted(swapped_coefficients)), {"criterion.doubled-weight"}),
    "auxiliary weights by default": (
        subject(weighted(default_auxiliary)),
        {"criterion.auxiliary-weights", "criterion.doubled-weight"},
    ),
    "weights inside": (subject(softmax(WeightsInside)), {"criterion.unweighted-losses"}),
    "one element": (subject(softmax(OneElement)), {"criterion.zero-dimensional"}),
    "metrics in the graph": (subject(softmax(AttachedMetrics)), {"criterion.metrics-without-gradient"}),
    "a fresh zero": (subject(softmax(FreshZero)), {"criterion.losses-with-gradient"}),
    "detached": (subject(softmax(Detached)), {"criterion.losses-with-gradient"}),
    "another device": (
        observed(lambda seen: replace(seen, devices=dict(seen.devices) | {"loss_giou": "cuda:0"})),
        {"criterion.device"},
    ),
    "auxiliary outputs popped": (subject(softmax(PopsAuxiliary)), {"criterion.inputs-unchanged"}),
    "boxes converted in place": (subject(softmax(ConvertsInPlace)), {"criterion.inputs-unchanged"}),
    "stale indices": (
        subject(softmax(SetCriterion, matching_by(Stale))),
        {"criterion.repeatable"},
    ),
    "a running count": (subject(softmax(RunningCount)), {"criterion.repeatable"}),
    "no checks": (
        subject(softmax(NoChecks)),
        {"criterion.label-k-refused", "criterion.logit-columns-refused"},
    ),
    "clamped labels": (
        subject(softmax(ClampedLabels)),
        {"criterion.label-k-refused", "criterion.foreign-label-refused"},
    ),
    "negative labels from the end": (subject(softmax(PythonLabels)), {"criterion.foreign-label-refused"}),
    "the shorter of images and targets": (
        subject(softmax(ZipsTheShorter)),
        {"criterion.target-count-refused"},
    ),
    "any number of columns": (subject(softmax(AnyColumns)), {"criterion.logit-columns-refused"}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    defective, expected = DEFECTS[name]
    assert failing(defective, expected, 15) == expected


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_no_other(name: str, failing: Failing) -> None:
    defective, expected = DEFECTS[name]
    assert failing(defective, [item.id for item in INVARIANTS], 15) == expected


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, expected in DEFECTS.values())) == {item.id for item in INVARIANTS}


GARBAGE: dict[str, tuple[Implementation, str]] = {
    "no losses": (answered(lambda losses: replace(losses, values={})), "criterion.keys"),
    "NaN": (
        answered(lambda losses: replace(losses, values=dict.fromkeys(losses.values, np.nan))),
        "criterion.l1-value",
    ),
    "no weights": (answered(lambda losses: replace(losses, weights={})), "criterion.every-term-weighted"),
    "no matching of any layer": (
        answered(lambda losses: replace(losses, matchings=())),
        "criterion.optimal-matching",
    ),
    "matchings of no image": (
        answered(lambda losses: replace(losses, matchings=tuple(() for _ in losses.matchings or ()))),
        "criterion.optimal-matching",
    ),
    "indices far out": (
        matched(lambda own: Matching(own.queries + 1000, own.targets)),
        "criterion.optimal-matching",
    ),
    "negative indices": (
        matched(lambda own: Matching(own.queries, own.targets - 100)),
        "auxiliary.own-matching",
    ),
    "one query for all": (
        matched(lambda own: Matching(own.queries * 0, own.targets)),
        "criterion.optimal-matching",
    ),
    "fractions for indices": (
        matched(lambda own: Matching(own.queries + 0.5, own.targets)),
        "criterion.optimal-matching",
    ),
    "pairs left out": (
        matched(lambda own: Matching(own.queries[:-1], own.targets[:-1])),
        "criterion.optimal-matching",
    ),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_accused_and_breaks_no_check(name: str, failing: Failing) -> None:
    subject_of_garbage, accusing = GARBAGE[name]
    assert accusing in failing(subject_of_garbage, examples=3)


def test_empty_matchings_of_another_dtype_are_right(failing: Failing) -> None:
    def as_float(own: Matching) -> Matching:
        return own if len(own.queries) else Matching(own.queries.astype(float), own.targets.astype(float))

    assert failing(matched(as_float), examples=5) == set()


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("clamped labels", replace(DETR, label_beyond_range="unchecked")),
        ("the shorter of images and targets", replace(DETR, target_count="unchecked")),
    ],
)
def test_what_the_profile_leaves_unchecked_is_not_asked(name: str, profile: Profile) -> None:
    _, accusing = DEFECTS[name]
    assert all(not item.applies(profile) for item in INVARIANTS if item.id in accusing)
