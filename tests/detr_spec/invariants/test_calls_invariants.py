"""The invariants of the way of a call: right implementations are never accused, and in each way a defect is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, seed
from judging import drawing, failure, judged, share_fired
from torch import Tensor

from detr_conformance import numpy_implementation, torch_implementation
from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.reference import BOXES, IMPLEMENTATIONS, detr_criterion, detr_matcher
from detr_conformance.implementations.solver import SOLVER, solver
from detr_conformance.judging.search import search
from detr_reference import PostProcess, SetCriterion
from detr_spec.calls import CALLS, LABEL_CALLS, PLAIN, USUAL_CALLS
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Domain
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profiles import DETR
from detr_spec.strategies import called_cases, set_cases
from detr_spec.violation import Raised, Violation

INVARIANTS = tuple(item for item in all_invariants() if item.check.__module__ == "detr_spec.invariants.calls")
EXAMPLES = 20
ALL_CALLS = Limits(calls=(*USUAL_CALLS, *LABEL_CALLS))


def of_invariants(component: str) -> list[str]:
    return [item.id for item in INVARIANTS if item.component == component]


@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
@pytest.mark.parametrize("id", [item.id for item in INVARIANTS if item.component != "assignment"])
def test_it_holds_and_fires_on_the_reference(id: str, reference: Implementation) -> None:
    assert share_fired(id, reference, EXAMPLES) > 0.5


@pytest.mark.parametrize("id", of_invariants("assignment"))
def test_it_holds_and_fires_on_the_solver(id: str) -> None:
    assert share_fired(id, SOLVER, EXAMPLES) > 0.5


def with_wide_labels(module: Callable[..., Any]) -> Callable[..., Any]:
    """The module, which is given labels in int64 whatever it was called with."""

    def call(outputs: Any, targets: Any) -> Any:
        return module(outputs, [target | {"labels": target["labels"].long()} for target in targets])

    return call


def test_labels_in_other_dtypes_are_asked_for_where_they_are_declared() -> None:
    taking = torch_implementation(
        name="taking",
        profile=DETR,
        limits=ALL_CALLS,
        matcher=lambda c: with_wide_labels(detr_matcher(c)),
        criterion=lambda c: with_wide_labels(detr_criterion(c)),
    )
    for component in ("matcher", "criterion", "gradients"):
        assert judged(f"{component}.ways-of-calling", taking, EXAMPLES).verdict is Verdict.HOLDS
    refusing = torch_implementation(name="refusing", profile=DETR, limits=ALL_CALLS, matcher=detr_matcher)
    assert isinstance(failure("matcher.ways-of-calling", refusing, 60), Raised)


def test_what_is_called_in_the_plain_way_alone_is_not_judged() -> None:
    plain = torch_implementation(name="plain", profile=DETR, limits=Limits(calls=()), matcher=detr_matcher)
    assert judged("matcher.ways-of-calling", plain, 5).verdict is Verdict.NOT_PROVIDED


def test_a_bridge_that_knows_no_ways_is_not_judged() -> None:
    bridged = torch_implementation(name="bridged", profile=DETR, matcher=detr_matcher).component("matcher")
    ignorant = Implementation(
        name="ignorant", profile=DETR, matcher=lambda configuration: bridged(replace(configuration, call=PLAIN))
    )
    assert judged("matcher.ways-of-calling", ignorant, 5).verdict is Verdict.NOT_PROVIDED


Sees = Callable[[Any, Tensor, Any], bool]
"""What a defect looks at: the module, the predicted boxes, and the targets or the sizes."""


def strides(boxes: Tensor) -> tuple[int, ...]:
    return tuple(boxes.stride())


def wrong_criterion(sees: Sees) -> Implementation:
    class Wrong(SetCriterion):
        calls = 0

        def forward(self, outputs: Any, targets: Any) -> Any:
            wrong = sees(self, outputs["pred_boxes"], (outputs, targets))
            self.calls += 1
            losses = super().forward(outputs, [target | {"labels": target["labels"].long()} for target in targets])
            return {name: loss * 2 if wrong else loss for name, loss in losses.items()}

    def build(c: Configuration) -> SetCriterion:
        return Wrong(c.num_classes, detr_matcher(c), c.weight_dict, c.class_loss.eos_coef, c.losses)

    return torch_implementation(name="wrong", profile=DETR, limits=ALL_CALLS, criterion=build)


def wrong_postprocess(sees: Sees) -> Implementation:
    class Wrong(PostProcess):
        def forward(self, outputs: Any, target_sizes: Any) -> Any:
            sizes = target_sizes * 2 if sees(self, outputs["pred_boxes"], None) else target_sizes
            return super().forward(outputs, sizes)

    return torch_implementation(name="wrong", profile=DETR, postprocess=lambda _: Wrong())


def wrong_boxes(sees: Sees) -> Implementation:
    def convert(boxes: Tensor) -> Tensor:
        return BOXES["cxcywh_to_xyxy"](boxes) * (2 if sees(None, boxes, None) else 1)

    return torch_implementation(name="wrong", profile=DETR, boxes={"cxcywh_to_xyxy": convert})


def writing_solver(_: Sees) -> Implementation:
    def write(cost: Any) -> Any:
        cost[:] = cost.copy()
        return solver(cost)

    return numpy_implementation(name="wrong", solver=write)


def label_dtype(given: Any) -> torch.dtype:
    dtype: torch.dtype = given[1][0]["labels"].dtype
    return dtype


def without_gradient(*_: Any) -> bool:
    return not torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


DEFECTS: dict[str, tuple[str, Callable[[Sees], Implementation], Sees]] = {
    "sliced": ("criterion", wrong_criterion, lambda _, boxes, __: boxes.storage_offset() > 0 and boxes.is_contiguous()),
    "transposed": ("criterion", wrong_criterion, lambda _, boxes, __: 0 < strides(boxes)[0] < strides(boxes)[-1]),
    "gaps": ("criterion", wrong_criterion, lambda _, boxes, __: strides(boxes)[-1] == 2),
    "expanded": ("criterion", wrong_criterion, lambda _, boxes, __: 0 in strides(boxes)),
    "read-only": ("assignment", writing_solver, lambda *_: True),
    "with-gradient": ("boxes", wrong_boxes, lambda _, boxes, __: boxes.requires_grad),
    "no-grad": (
        "criterion",
        wrong_criterion,
        lambda *_: not (torch.is_grad_enabled() or torch.is_inference_mode_enabled()),
    ),
    "inference": ("criterion", wrong_criterion, lambda *_: torch.is_inference_mode_enabled()),
    "frozen-boxes": ("criterion", wrong_criterion, lambda _, boxes, __: torch.is_grad_enabled() > boxes.requires_grad),
    "evaluation": ("criterion", wrong_criterion, lambda module, *_: not module.training),
    "training": ("postprocess", wrong_postprocess, lambda module, *_: bool(module.training)),
    "validation": ("criterion", wrong_criterion, lambda module, *_: module.calls > 0 and not module.training),
    "after-errors": ("criterion", wrong_criterion, lambda module, *_: module.calls > 0),
    "refilled": ("criterion", wrong_criterion, lambda module, *_: module.calls > 0),
    "extra-keys": ("criterion", wrong_criterion, lambda _, __, given: len(given[1][0]) > 2),
    "int32-labels": ("criterion", wrong_criterion, lambda _, __, given: label_dtype(given) == torch.int32),
    "uint8-labels": ("criterion", wrong_criterion, lambda _, __, given: label_dtype(given) == torch.uint8),
}
"""For each way of a call what is wrong in it, and the component in which it is."""


def test_each_way_has_a_defect() -> None:
    assert DEFECTS.keys() == CALLS.keys() - {PLAIN}


@pytest.mark.parametrize("way", DEFECTS)
def test_what_is_wrong_in_one_way_is_seen_when_it_is_called_so(way: str) -> None:
    component, build, sees = DEFECTS[way]
    (invariant,) = find_invariants(f"{component}.ways-of-calling")
    subject = build(sees)
    found: list[Exception] = []

    def check(built: Any, case: Any) -> None:
        try:
            invariant.check(built, case)
        except (Violation, Raised) as failure:
            found.append(failure)

    domain = Domain(subject.profile, replace(subject.limits, calls=(way,)))
    search(replace(invariant, check=check), domain, subject.component(component), EXAMPLES, seed=0)
    assert found
    assert CALLS[way] in str(found[0]) or way == "read-only"


@pytest.mark.parametrize("fixed", [{}, {"cost_class": 3.0}])
def test_with_labels_in_other_dtypes_images_have_as_many_targets_of_other_classes(fixed: dict[str, float]) -> None:
    domain = Domain(DETR, Limits(calls=LABEL_CALLS, fixed=fixed))

    @seed(0)
    @drawing(40)
    @given(called_cases(set_cases(images=(2, 3), targets=(1, 5)), LABEL_CALLS)(domain))
    def check(case: Any) -> None:
        first, second, *_ = (target.labels for target in case.targets)
        assert case.outputs.logits.shape[-1] == case.configuration.columns <= 256
        assert case.configuration.cost_class == fixed.get("cost_class", 64.0)
        assert case.targets[-1].labels.min(initial=128) >= 128
        assert not {*first.tolist()} & {*second.tolist()}
        assert len(first) == len(second) or case.regime == "more-targets-than-queries"

    check()


def test_a_solver_that_goes_by_the_address_of_its_costs_is_found() -> None:
    kept: dict[int, Any] = {}

    def solve(cost: Any) -> Any:
        address = cost.__array_interface__["data"][0]
        if address not in kept:
            kept.clear()
            kept[address] = solver(cost)
        return kept[address]

    limits = Limits(calls=("refilled",))
    subject = numpy_implementation(name="subject", limits=limits, solver=solve)
    assert failure("assignment.ways-of-calling", subject, EXAMPLES) is not None
    sound = numpy_implementation(name="sound", limits=limits, solver=solver)
    assert judged("assignment.ways-of-calling", sound, EXAMPLES).verdict is Verdict.HOLDS


@pytest.mark.parametrize("sees", ["boxes", "labels", "list"])
def test_in_refilled_memory_predictions_and_targets_were_others(sees: str) -> None:
    """What is told of the first call is the same at the last, though its numbers are others."""

    def key(outputs: Any, targets: Any) -> Any:
        if sees == "list":
            return id(targets)
        return [part.data_ptr() for part in ([outputs["pred_boxes"]] if sees == "boxes" else [targets[0]["labels"]])]

    class Kept(SetCriterion):
        def forward(self, outputs: Any, targets: Any) -> Any:
            known = self.__dict__.setdefault("known", {})
            return known.setdefault(str(key(outputs, targets)), super().forward(outputs, targets))

    def build(c: Configuration) -> SetCriterion:
        return Kept(c.num_classes, detr_matcher(c), c.weight_dict, c.eos_coef, c.losses)

    subject = torch_implementation(name="kept", profile=DETR, limits=Limits(calls=("refilled",)), criterion=build)
    assert failure("criterion.ways-of-calling", subject, EXAMPLES) is not None


def test_denoising_queries_whose_meta_data_are_vectors_are_refilled_too() -> None:
    profile = replace(DETR, keys=replace(DETR.keys, denoising_loss="{loss}_dn"))
    subject = declared_implementation(profile)
    refilled = replace(subject, limits=replace(subject.limits, calls=("refilled",)))
    assert failure("postprocess.ways-of-calling", refilled, 2 * EXAMPLES) is None


def test_a_wrong_answer_in_the_plain_way_too_is_not_accused_again() -> None:
    def changed_in_place(boxes: Tensor) -> Tensor:
        boxes += 0.125
        return BOXES["cxcywh_to_xyxy"](boxes)

    subject = torch_implementation(
        name="subject",
        profile=DETR,
        limits=Limits(calls=("sliced", "gaps")),
        boxes={"cxcywh_to_xyxy": changed_in_place},
    )
    assert judged("boxes.ways-of-calling", subject, EXAMPLES).verdict is Verdict.HOLDS
    assert judged("boxes.inputs-unchanged", subject, EXAMPLES).verdict is Verdict.VIOLATED
