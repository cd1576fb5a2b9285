"""A counterexample keeps nothing that it does not need, and nothing is left out that its invariant may rely on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, seed
from judging import drawing
from needless import needless

from detr_conformance.encoding.places import Place
from detr_conformance.implementations.resolve import resolve
from detr_conformance.judging import smaller
from detr_conformance.judging.judge import judge
from detr_conformance.judging.parts import parts
from detr_conformance.judging.reduction import kind_of, may_be_drawn, reduce_found, reduction
from detr_conformance.judging.search import Search, search_case
from detr_conformance.mutants.patch import mutant_implementations
from detr_conformance.vectors.vector import KINDS, from_document
from detr_spec.cases import BoxCase, Case, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariant import Cases, Domain, Invariant
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profiles import DETR
from detr_spec.strategies import (
    Promised,
    apart_cases,
    box_cases,
    cost_cases,
    feature_cases,
    hidden_cases,
    image_cases,
    rank_cases,
)
from detr_spec.values import FeatureMap, Outputs, Target
from detr_spec.violation import require, without_numbers

Toy = Callable[..., Invariant]

MUTANTS = {
    "class-error-without-no-object": "criterion.class-error-value",
    "cost-maximised": "matcher.optimal-cost",
    "denoising-boxes-counted": "auxiliary.denoising-outputs-apart",
    "sizes-without-gradient-in-giou": "gradients.box-giou",
    "boxes-viewed-as-pairs": "boxes.ways-of-calling",
    "solver-tall-matrix-cut": "assignment.transposed",
    "auxiliary-outputs-reversed": "heads.auxiliary-in-order",
    "query-number-added": "decoder.query-order",
    "detections-by-numpy": "postprocess.no-gradient",
    "area-counts-pixels": "boxes.scaling",
    "scores-are-logits": "postprocess.scores",
    "masks-focal-alpha-half": "masks.mask-value",
    "largest-count-of-all": "distributed.denominator",
}
"""Mutants of several components, each with an invariant that finds it."""

DRAWN = 10
"""How many cases are drawn of each."""


@pytest.mark.parametrize(("mutant", "id"), MUTANTS.items(), ids=MUTANTS)
def test_no_single_thing_can_be_left_out_of_what_is_left(mutant: str, id: str) -> None:
    """From the largest of some cases that fail on, of which shrinking would leave less to do."""
    (invariant,) = find_invariants(id)
    implementation = mutant_implementations(mutant)[0]
    domain = Domain(implementation.profile, implementation.limits.of(invariant.component), small=True)
    component = implementation.component(invariant.component)
    failed: list[Search] = []

    @seed(0)
    @drawing(DRAWN)
    @given(case=invariant.cases(domain))
    def run_case(case: Any) -> None:
        found = search_case(invariant, component, case)
        failed.extend([found] if found.failure else [])

    run_case()
    found = max(failed, key=lambda found: sum(part.size for part in parts(found.failing_case)))
    drawn, kind = found.failing_case, kind_of(found.failure)
    reduce_found(invariant, domain, component, found, over=lambda: False)
    assert found.failing_case is not drawn
    assert kind_of(found.failure) == kind
    assert needless(invariant, implementation, found.failing_case) == []


def test_a_counterexample_is_what_is_left_and_is_reported_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smaller, "SEARCHES", 0)
    (invariant,) = find_invariants("postprocess.large-sizes")
    implementation = mutant_implementations("sizes-in-two-bytes")[0]
    counterexample = judge(invariant, implementation).counterexample
    assert counterexample is not None
    assert counterexample.vector is not None
    case = from_document(counterexample.vector, Place("the counterexample")).case
    assert needless(invariant, implementation, case) == []
    assert np.shape(counterexample.case["outputs"]["boxes"]) == (1, 1, 4)


def outputs(layers: int, images: int, queries: int, classes: int, **apart: Outputs) -> Outputs:
    """Predictions of so many layers, the last of which predicts masks."""
    shape = images, queries
    layer = Outputs(np.zeros((*shape, classes + 1)), np.full((*shape, 4), 0.5))
    return replace(layer, masks=np.zeros((*shape, 2, 2)), auxiliary=(layer,) * (layers - 1), **apart)


TARGET = Target(np.array([0, 2]), np.full((2, 4), 0.5), masks=np.ones((2, 3, 4), dtype=np.bool_))
PLAIN = Configuration(profile=DETR, num_classes=3)
LAYERED = replace(PLAIN, decoder_layers=2)
LARGE: dict[type[Case], Case] = {
    BoxCase: BoxCase(configuration=PLAIN, first=np.zeros((3, 4)), second=np.zeros((3, 4))),
    CostCase: CostCase(configuration=PLAIN, costs=(np.zeros((3, 2)), np.zeros((3, 4)))),
    SetCase: SetCase(
        regime="general",
        configuration=replace(LAYERED, encoder_predictions=3),
        outputs=outputs(2, 3, 5, 3, encoder=outputs(3, 3, 2, 3), denoising=outputs(1, 3, 8, 3)),
        targets=(TARGET,) * 3,
        sizes=np.array([[3, 4]] * 3),
    ),
    RankCase: RankCase(regime="uneven", configuration=LAYERED, batches=((outputs(2, 2, 4, 3), (TARGET,) * 2),) * 3),
    HiddenCase: HiddenCase(configuration=LAYERED, hidden=np.zeros((2, 3, 4, 8))),
    FeatureCase: FeatureCase(
        configuration=LAYERED,
        features=FeatureMap(
            features=np.zeros((2, 8, 3, 2)),
            positions=np.zeros((2, 8, 3, 2)),
            padding=np.zeros((2, 3, 2), dtype=np.bool_),
            queries=np.zeros((3, 8)),
        ),
    ),
    ImagesCase: ImagesCase(configuration=LAYERED, images=(np.zeros((3, 16, 20)), np.zeros((3, 20, 16)))),
}
"""A case of each kind, with several of everything."""


PROMISED: dict[type[Case], Promised] = {
    BoxCase: box_cases(),
    CostCase: cost_cases(),
    SetCase: apart_cases("encoder", "denoising"),
    RankCase: rank_cases(masks=True),
    HiddenCase: hidden_cases(),
    FeatureCase: feature_cases(),
    ImagesCase: image_cases(),
}


@pytest.mark.parametrize("kind", KINDS.values())
def test_all_but_one_of_each_part_can_be_left_out(kind: type[Case]) -> None:
    large, domain = LARGE[kind], Domain(DETR)
    assert all(part.size > 1 for part in parts(large) if part.name not in ("auxiliary layers", "classes"))
    left = reduction(large, lambda case: PROMISED[kind].admits(domain, large, case))
    sizes = [(part.name, part.size) for part in parts(left)]
    assert sizes
    assert all(size <= (2 if name == "ranks" else 1) for name, size in sizes)


def left_of(invariant: Invariant, implementation: Implementation, case: Case, over: bool = False) -> Any:
    """What is left of a failing case."""
    component = implementation.component(invariant.component)
    found = search_case(invariant, component, case)
    reduce_found(invariant, Domain(DETR), component, found, over=lambda: over)
    return found.failing_case


TWO = CostCase(configuration=PLAIN, costs=(np.zeros((3, 2)), np.ones((3, 4))))


def test_what_is_left_fails_in_the_same_way(toy: Toy, right: Implementation) -> None:
    def in_two_ways(component: Any, case: CostCase) -> None:
        require(len(case.costs) == 1, f"{len(case.costs)} matrices")
        require(case.costs[0].size < 2, f"a matrix of {case.costs[0].size}")

    left = left_of(toy(in_two_ways, cases=cost_cases(problems=(1, 3))), right, TWO)
    assert [cost.shape for cost in left.costs] == [(1, 1), (1, 1)]
    left = left_of(toy(in_two_ways, cases=cost_cases(problems=(1, 3))), right, replace(TWO, costs=TWO.costs[:1]))
    assert [cost.size for cost in left.costs] == [2]


def test_what_fails_once_takes_no_place(toy: Toy, right: Implementation) -> None:
    seen: Counter[int] = Counter()

    def once(component: Any, case: CostCase) -> None:
        size = sum(cost.size for cost in case.costs)
        seen[size] += 1
        require(size < 18 and seen[size] > 1, "a new size")

    assert left_of(toy(once), right, TWO) is TWO


def test_nothing_is_left_out_after_the_time_is_over_or_where_no_strategy_tells(toy: Toy, right: Implementation) -> None:
    def never(component: Any, case: CostCase) -> None:
        require(False, "never")

    assert left_of(toy(never), right, TWO, over=True) is TWO
    assert left_of(toy(never, cases=cost_cases().cases), right, TWO) is TWO
    assert left_of(toy(never), right, TWO) is not TWO


def test_numbers_and_how_many_they_are_tell_no_failures_apart() -> None:
    messages = (
        "logits[0, 1] of image 3 changed, the farthest of 2 such numbers among 6",
        "logits[2] of image 0 changed",
    )
    assert len(set(map(without_numbers, messages))) == 1
    assert without_numbers("no loss_ce_0, loss_ce_10 at 1.5e-07") == without_numbers("no loss_ce_1 at [0, -3]")
    assert without_numbers("boxes changed") != without_numbers("logits changed")


def promises() -> dict[Cases, tuple[Invariant, Implementation]]:
    """Each strategy of an invariant, with one that has it, and the reference in a profile that this applies to."""
    return {
        invariant.cases: (invariant, subject)
        for subject in (*resolve("reference"), *resolve("detr-spec-solver"))
        for invariant in all_invariants()
        if invariant.applies(subject.profile) and invariant.component in subject.components
    }


def test_every_strategy_tells_what_can_be_left_out_of_its_cases_but_for_real_images_to_learn_from() -> None:
    untold = [invariant.id for cases, (invariant, _) in promises().items() if not isinstance(cases, Promised)]
    assert untold == ["gradients.learnability"]


def test_every_drawn_case_is_one_that_may_be_drawn() -> None:
    """Of whatever regime and size, so that a new regime is not forgotten."""
    for cases, (invariant, subject) in promises().items():
        if isinstance(cases, Promised):
            require_own_cases_told(cases, Domain(subject.profile, subject.limits.of(invariant.component)))


def require_own_cases_told(cases: Promised, domain: Domain) -> None:
    """A strategy tells of its own cases that they may be drawn."""

    @seed(0)
    @drawing(5)
    @given(case=cases(domain))
    def told(case: Any) -> None:
        # A real image may have fewer objects than an invariant asks for; then nothing is left out of the case.
        assert case.regime == "coco" or cases.admits(domain, case, case), case

    told()


def test_what_is_left_of_a_drawn_case_is_no_accusation() -> None:
    for cases, (invariant, subject) in promises().items():
        if isinstance(cases, Promised):
            require_sound_down_to_the_least(cases, invariant, subject)


def require_sound_down_to_the_least(cases: Promised, invariant: Invariant, subject: Implementation) -> None:
    """The reference is right for all that is left, on the way to the least, of a case of the strategy."""
    domain = Domain(subject.profile, subject.limits.of(invariant.component), small=True)
    component = subject.component(invariant.component)

    @seed(0)
    @drawing(1)
    @given(case=cases(domain))
    def sound_down_to_the_least(case: Any) -> None:
        def sound(left: Any) -> bool:
            is_case = may_be_drawn(invariant, domain, case, left)
            assert not is_case or search_case(invariant, component, left).failure is None
            return is_case

        reduction(case, sound)

    sound_down_to_the_least()
