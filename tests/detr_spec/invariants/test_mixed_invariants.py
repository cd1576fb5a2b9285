"""The invariants of mixed precision: right implementations are never accused, and in each regime a defect is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from judging import failure, judged, share_fired
from subjects import softmax, subject

from detr_conformance import torch_implementation
from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import IMPLEMENTATIONS, detr_matcher
from detr_conformance.judging.search import search
from detr_reference import FocalSetCriterion, HungarianMatcher, SetCriterion, focal_cost
from detr_reference.boxes import upcast_half
from detr_spec.cases import SetCase
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Domain
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profiles import DETR
from detr_spec.values import MIXED_DTYPES, UNIFORM_DTYPES, part_dtypes, round_to

INVARIANTS = tuple(item for item in all_invariants() if item.check.__module__ == "detr_spec.invariants.mixed")
EXAMPLES = 20
MIXED = Limits(dtypes=("float32", *MIXED_DTYPES))


def matching_in_float32(configuration: Any) -> Callable[..., Any]:
    """The matcher, which is given predictions in float32 whatever it was called with."""
    matcher = detr_matcher(configuration)
    return lambda outputs, targets: matcher({name: upcast_half(outputs[name]) for name in outputs}, targets)


def matching(dtypes: tuple[str, ...]) -> Implementation:
    limits = Limits(dtypes=dtypes)
    return torch_implementation(name="matching", profile=DETR, limits=limits, matcher=matching_in_float32)


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("id", [item.id for item in INVARIANTS if item.component != "matcher"])
def test_it_holds_and_fires_on_the_reference(id: str, reference: Implementation) -> None:
    assert share_fired(id, reference, EXAMPLES) > 0.5


@pytest.mark.parametrize("id", [item.id for item in INVARIANTS if item.component == "matcher"])
def test_it_holds_and_fires_on_a_matcher_in_float32(id: str) -> None:
    assert share_fired(id, matching(MIXED.dtypes), EXAMPLES) > 0.8


def test_a_matcher_of_mixed_precision_is_not_asked_to_refuse_it() -> None:
    assert judged("matcher.narrow-dtype-refused", matching(MIXED.dtypes), 5).verdict is Verdict.VACUOUS
    assert judged("matcher.narrow-dtype-refused", matching(("float32",)), 5).verdict is Verdict.VIOLATED


@pytest.mark.parametrize("id", [item.id for item in INVARIANTS if item.component == "criterion"])
def test_what_is_not_declared_is_not_judged(id: str) -> None:
    assert judged(id, subject(softmax(SetCriterion)), 3).verdict is Verdict.NOT_PROVIDED


def test_other_invariants_are_asked_in_other_dtypes_where_there_are_any() -> None:
    both = subject(softmax(SetCriterion), limits=MIXED)
    (asked,) = find_invariants("criterion.l1-value")
    assert judged(asked.id, both, 20).dtypes == {"float32": asked.case_count(20)}
    alone = subject(softmax(SetCriterion), limits=Limits(dtypes=("bfloat16-logits",)))
    judgement = judged("criterion.l1-value", alone, 10)
    assert judgement.verdict is Verdict.HOLDS
    assert judgement.dtypes == {"bfloat16-logits": asked.case_count(10)}


class RoundedTargets(SetCriterion):
    """Target boxes are rounded to the dtype of the logits."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        dtype = outputs["pred_logits"].dtype
        return super().forward(outputs, [target | {"boxes": target["boxes"].to(dtype)} for target in targets])


class BufferLikeLogits(SetCriterion):
    """Target boxes are put into memory that is made like the logits."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        for target in targets:
            buffer = outputs["pred_logits"].new_zeros(target["boxes"].shape)
            buffer[torch.arange(len(buffer))] = target["boxes"]
        return super().forward(outputs, targets)


@pytest.mark.parametrize("dtype", MIXED_DTYPES)
def test_in_each_regime_a_matcher_that_asks_for_one_dtype_is_seen(dtype: str) -> None:
    def of_one_dtype(configuration: Any) -> Callable[..., Any]:
        matcher = detr_matcher(configuration)

        def match(outputs: Any, targets: Any) -> Any:
            if outputs["pred_logits"].dtype != targets[0]["boxes"].dtype:
                raise RuntimeError("expected both inputs to have the same dtype")
            return matcher(outputs, targets)

        return match

    limits = Limits(dtypes=("float32", dtype))
    one = torch_implementation(name="one", profile=DETR, limits=limits, matcher=of_one_dtype)
    assert failure("matcher.mixed-precision", one, EXAMPLES) is not None
    assert failure("matcher.optimal-cost", one, EXAMPLES) is None


@pytest.mark.parametrize("kind", [RoundedTargets, BufferLikeLogits])
@pytest.mark.parametrize("dtype", MIXED_DTYPES)
def test_in_each_regime_a_defect_is_seen(dtype: str, kind: type[SetCriterion]) -> None:
    limits = Limits(dtypes=("float32", dtype))
    assert failure("criterion.mixed-precision", subject(softmax(kind), limits=limits), EXAMPLES) is not None
    assert failure("criterion.l1-value", subject(softmax(kind), limits=limits), EXAMPLES) is None


@pytest.mark.parametrize("dtype", MIXED_DTYPES)
def test_boxes_in_float32_have_numbers_that_the_narrow_dtype_does_not_hold(dtype: str) -> None:
    (invariant,) = find_invariants("criterion.mixed-precision")
    parts, cases = part_dtypes(dtype), list[SetCase]()

    def keep(_: Any, case: SetCase) -> None:
        cases.append(case)

    search(replace(invariant, check=keep), Domain(DETR, Limits(dtypes=(dtype,))), None, EXAMPLES, seed=0)
    boxes = np.concatenate([target.boxes for case in cases for target in case.targets])
    fine = boxes[boxes != 0]
    assert (round_to(fine, "float32") == fine).all()
    assert (round_to(fine, parts.logits) != fine).mean() > 0.9
    assert all((round_to(case.outputs.logits, parts.logits) == case.outputs.logits).all() for case in cases)
    assert all((round_to(case.outputs.boxes, parts.boxes) == case.outputs.boxes).all() for case in cases)


def test_dtypes_of_one_kind_have_it_in_every_part() -> None:
    for dtype in UNIFORM_DTYPES:
        parts = part_dtypes(dtype)
        assert {parts.logits, parts.boxes, parts.targets} == {dtype}


def test_a_focal_loss_by_hand() -> None:
    """One logit of 0 with its target: α · ½² · ln 2, which bfloat16 rounds to three digits (rf-detr#446)."""
    matcher = HungarianMatcher(2, 5, 2, class_cost=focal_cost())
    criterion = FocalSetCriterion(1, matcher, {}, ["labels", "boxes"])
    box = torch.tensor([[0.5, 0.5, 0.25, 0.25]])
    for boxes in (box[None].bfloat16(), box[None]):
        outputs = {"pred_logits": torch.zeros(1, 1, 1, dtype=torch.bfloat16), "pred_boxes": boxes}
        losses = criterion(outputs, [{"labels": torch.tensor([0]), "boxes": box}])
        assert losses["loss_ce"].item() == pytest.approx(0.25 * 0.25 * log(2), rel=2**-8)
        assert losses["loss_bbox"].item() == 0
