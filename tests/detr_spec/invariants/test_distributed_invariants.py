"""The invariants of distributed training: right criteria are never accused, defects by their own."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from judging import Failing, judged, own_invariants, share_fired
from subjects import Factory, Losses, focal, hidden, softmax
from torch import Tensor

from detr_conformance import torch_implementation
from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.torch_ranks import PATIENCE, Ranks, ranks_available
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_reference import FocalSetCriterion, SetCriterion
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR

pytestmark = pytest.mark.skipif(not ranks_available(), reason="needs gloo, and a process that may fork")

INVARIANTS = tuple(
    item
    for item in own_invariants("distributed")
    if any(item.applies(reference.profile) for reference in IMPLEMENTATIONS)
)
EXAMPLES = 30
FEWER = 15

MEAN, DENOMINATOR, CLAMP = "distributed.mean-of-box-losses", "distributed.denominator", "distributed.clamp"
MASKS = "distributed.mask-denominator"
LOCAL, SAME, JOINS = "distributed.local-classification", "distributed.same-batch", "distributed.every-rank-joins"
SIZES = "distributed.large-sizes"


def subject(criterion: Factory, profile: Profile = DETR, patience: float = PATIENCE) -> Implementation:
    whole = torch_implementation(name="subject", profile=profile, criterion=criterion)
    assert whole.criterion is not None
    return Implementation(name="subject", profile=profile, distributed=Ranks(whole.criterion, patience=patience))


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def summed(number: Tensor) -> Tensor:
    number = number.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(number)
    return number


def total(count: float) -> float:
    return float(summed(torch.tensor(float(count))))


@pytest.mark.parametrize("item", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
def test_it_holds_on_the_reference_and_is_no_empty_word(invariant: Invariant, item: Implementation) -> None:
    if not invariant.applies(item.profile):
        assert (invariant.id, item.profile.name) == (LOCAL, "deformable")
        return
    assert share_fired(invariant.id, item, 2 * EXAMPLES) > 0.5


class Divides(SetCriterion):
    """Divides by another number."""

    def num_boxes(self, outputs: Any, targets: Any) -> float:
        return self.divisor([len(target["labels"]) for target in targets], outputs["pred_logits"].shape[1])

    def divisor(self, lengths: list[int], queries: int) -> float:
        raise NotImplementedError


class InDouble(Divides):
    """Right: counted in float64, where the reference counts in float32."""

    def divisor(self, lengths: list[int], queries: int) -> float:
        return max(float(summed(torch.tensor(sum(lengths), dtype=torch.float64))) / size(), 1.0)


class OwnCount(Divides):
    """ultralytics; detr#299."""

    def divisor(self, lengths: list[int], queries: int) -> float:
        return max(sum(lengths), 1)


class Matches(Divides):
    def divisor(self, lengths: list[int], queries: int) -> float:
        return max(total(sum(min(length, queries) for length in lengths)) / size(), 1)


class NotDivided(Divides):
    """detr#267."""

    def divisor(self, lengths: list[int], queries: int) -> float:
        return max(total(sum(lengths)), 1)


class NotDividedFocal(FocalSetCriterion):
    """Divided by the objects of all ranks."""

    def num_boxes(self, outputs: Any, targets: Any) -> float:
        return max(total(sum(len(target["labels"]) for target in targets)), 1)


NOT_ACCUSED: dict[str, Implementation] = {
    "hidden": subject(hidden(softmax())),
    "hidden focal": subject(hidden(focal()), DEFORMABLE),
    "counted in float64": subject(softmax(InDouble)),
    "declared local": subject(softmax(OwnCount), replace(DETR, rank_reduction="local")),
    "declared sum": subject(DeclaredCriterion, replace(DETR, rank_reduction="sum")),
    "declared sum of focal losses": subject(focal(NotDividedFocal), replace(DEFORMABLE, rank_reduction="sum")),
    "declared matches": subject(softmax(Matches), replace(DETR, denominator="matches")),
}


@pytest.mark.parametrize("name", NOT_ACCUSED)
def test_ranks_that_share_rightly_are_not_accused(name: str, failing: Failing) -> None:
    assert failing(NOT_ACCUSED[name], examples=FEWER) == set()


class DividedTwice(Divides):
    """transformers 5.23: a mean over the ranks, divided by their number."""

    def divisor(self, lengths: list[int], queries: int) -> float:
        return max(total(sum(lengths)) / size() ** 2, 1)


class ClampedFirst(Divides):
    def divisor(self, lengths: list[int], queries: int) -> float:
        return max(total(sum(lengths)), 1) / size()


class FirstRanks(Divides):
    """Rank 0 says to all what it has."""

    def divisor(self, lengths: list[int], queries: int) -> float:
        count = torch.tensor(float(sum(lengths)))
        if dist.is_initialized():
            dist.broadcast(count, 0)
        return max(float(count), 1)


class UnderACondition(Divides):
    def divisor(self, lengths: list[int], queries: int) -> float:
        return max(total(sum(lengths)) / size(), 1) if sum(lengths) else 1


class ForEachImage(Divides):
    def divisor(self, lengths: list[int], queries: int) -> float:
        return max(sum(total(length) for length in lengths) / size(), 1)


class RaisesFirst(Divides):
    """A rank without boxes raises before the collective that the others wait in."""

    def divisor(self, lengths: list[int], queries: int) -> float:
        if dist.is_initialized() and not sum(lengths):
            raise IndexError("there is no box")
        return max(total(sum(lengths)) / size(), 1)


class Dies(Divides):
    def divisor(self, lengths: list[int], queries: int) -> float:
        if dist.is_initialized() and not sum(lengths):
            os._exit(3)
        return max(total(sum(lengths)) / size(), 1)


class Averages(SetCriterion):
    """Losses are averaged over the ranks as for a log, and then trained on."""

    names: tuple[str, ...] = ("loss",)

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return {
            name: summed(loss) / size() if name.startswith(self.names) else loss
            for name, loss in sorted(losses.items())
        }


class AveragesClassification(Averages):
    names = ("loss_ce",)


class SumsMetrics(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses = super().forward(outputs, targets)
        return losses | {"cardinality_error": summed(losses["cardinality_error"])}


class DividesClassificationByItsOwn(FocalSetCriterion):
    """By the matches of its own rank."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        own = max(int((query_classes < self.num_classes).sum()), 1)
        return super().classification_loss(logits, query_classes, own if dist.is_initialized() else num_boxes)


class MasksByTheirOwn(SetCriterion):
    """Mask losses are divided by the number of the rank's own boxes."""

    def forward(self, outputs: Any, targets: Any) -> Losses:
        losses, own = super().forward(outputs, targets), sum(len(target["labels"]) for target in targets)
        factor = max(total(own) / size(), 1) / max(own, 1)
        return losses | {name: losses[name] * factor for name in ("loss_mask", "loss_dice") if name in losses}


DEFECTS: dict[str, tuple[Implementation, set[str]]] = {
    "each rank's own count": (subject(softmax(OwnCount)), {MEAN, DENOMINATOR, MASKS, CLAMP, SIZES}),
    "not divided by the ranks": (subject(softmax(NotDivided)), {MEAN, DENOMINATOR, MASKS, CLAMP, SAME, SIZES}),
    "divided by the ranks twice": (subject(softmax(DividedTwice)), {MEAN, DENOMINATOR, MASKS, SAME, SIZES}),
    "clamped before the division": (subject(softmax(ClampedFirst)), {CLAMP}),
    "matches counted": (subject(softmax(Matches)), {DENOMINATOR, MASKS}),
    "rank 0's count for all": (subject(softmax(FirstRanks)), {MEAN, DENOMINATOR, MASKS, CLAMP, SIZES}),
    "losses averaged": (subject(softmax(Averages)), {DENOMINATOR, MASKS, CLAMP, LOCAL}),
    "masks by their own count": (subject(softmax(MasksByTheirOwn)), {MASKS}),
    "classification averaged": (subject(softmax(AveragesClassification)), {LOCAL}),
    "a metric summed": (subject(softmax(SumsMetrics)), {SAME}),
    "focal loss by its own count": (
        subject(focal(DividesClassificationByItsOwn), DEFORMABLE),
        {MEAN, DENOMINATOR, CLAMP, SIZES},
    ),
    "means where sums are declared": (
        subject(softmax(), replace(DETR, rank_reduction="sum")),
        {MEAN, DENOMINATOR, MASKS, SAME, SIZES},
    ),
    "local weights of classes where sums are declared": (
        subject(softmax(NotDivided), replace(DETR, rank_reduction="sum")),
        {MEAN, SAME, SIZES},
    ),
    "undeclared means": (subject(softmax(), replace(DETR, rank_reduction="local")), {DENOMINATOR, MASKS}),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_invariants(name: str, failing: Failing) -> None:
    item, expected = DEFECTS[name]
    assert failing(item, expected, 2 * EXAMPLES, expected) == expected


@pytest.mark.thorough
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_no_other(name: str, failing: Failing) -> None:
    item, expected = DEFECTS[name]
    assert failing(item, examples=2 * EXAMPLES, suspected=expected) == expected


SILENT: dict[str, tuple[type[SetCriterion], str]] = {
    "a collective under a condition": (UnderACondition, "did not answer"),
    "a collective for each image": (ForEachImage, "did not answer"),
    "an exception before the collective": (RaisesFirst, "raised IndexError: there is no box"),
    "a rank that dies": (Dies, "died, with exit code 3"),
}


@pytest.mark.parametrize("name", SILENT)
def test_a_rank_that_does_not_join_is_accused_once_and_soon(name: str) -> None:
    kind, message = SILENT[name]
    item = subject(softmax(kind), patience=0.5)
    judgements = {invariant.id: judged(invariant.id, item, 2 * EXAMPLES) for invariant in INVARIANTS}
    accused = judgements.pop(JOINS)
    assert accused.verdict is Verdict.VIOLATED
    assert message in accused.message
    for judgement in judgements.values():
        # Where all ranks have the same empty batch, all of them raise, and none waits.
        assert judgement.verdict in (Verdict.VACUOUS, Verdict.HOLDS) or kind is RaisesFirst
    assert message in judgements[CLAMP].message
    assert sum(judgement.seconds for judgement in judgements.values()) < 60


def test_every_invariant_has_a_defect() -> None:
    assert set().union(*(expected for _, expected in DEFECTS.values())) >= {item.id for item in INVARIANTS} - {JOINS}
