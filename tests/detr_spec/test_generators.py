"""The generators, where the judge draws from them: shares as stated, real ties, premises that fire, small failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from subjects import focal, softmax
from torch import Tensor
from torch.nn.functional import cross_entropy

from detr_conformance import torch_implementation
from detr_conformance.base.verdict import Verdict
from detr_conformance.implementations.reference import BOXES, IMPLEMENTATIONS, detr_matcher
from detr_conformance.judging.judge import judge
from detr_conformance.judging.search import search
from detr_reference import FocalSetCriterion, PostProcess, SetCriterion
from detr_spec.cases import CostCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Cases, Domain
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.matching.assignment import unique_optimum
from detr_spec.matching.costs import image_costs
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR, PROFILES
from detr_spec.strategies import (
    ALL_REGIMES,
    BOX_REGIMES,
    COST_REGIMES,
    box_cases,
    cost_cases,
    feature_cases,
    image_cases,
    mask_cases,
    set_cases,
)
from detr_spec.strategies.regimes import SATURATED_LOGIT

SEEDS = range(6)
EXAMPLES = 100

STRATEGIES: dict[str, tuple[Cases, tuple[str, ...]]] = {
    "sets": (set_cases(layers=(1, 3)), ALL_REGIMES),
    "masks": (mask_cases(), ALL_REGIMES),
    "boxes": (box_cases(), BOX_REGIMES),
    "costs": (cost_cases(problems=(1, 3)), COST_REGIMES),
    "features": (feature_cases(), ("padded", "unpadded")),
    "images": (image_cases(), ("one size", "several sizes")),
}


@cache
def drawn(name: str) -> tuple[Any, ...]:
    """What the judge would draw by a strategy in its usual batches, with several seeds, in both profiles."""
    cases: list[Any] = []
    toy = replace(all_invariants()[0], cases=STRATEGIES[name][0], check=lambda _, case: cases.append(case))
    for seed in SEEDS:
        for profile in (DETR, DEFORMABLE):
            search(toy, Domain(profile, Limits()), lambda _: None, EXAMPLES // 2, seed)
    return tuple(cases)


def share(truths: Iterable[bool]) -> float:
    return float(np.mean(list(truths)))


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name not in ("features", "images")])
def test_regimes_have_equal_shares(name: str) -> None:
    """None has less than half, or more than double, of what is its due: by three deviations or more."""
    counts = Counter(case.regime for case in drawn(name))
    regimes = STRATEGIES[name][1]
    assert set(counts) == set(regimes)
    due = len(drawn(name)) / len(regimes)
    assert 0.5 * due < min(counts.values()) <= max(counts.values()) < 2 * due, counts


@pytest.mark.parametrize("name", STRATEGIES)
def test_dtypes_have_equal_shares_and_seeds_differ(name: str) -> None:
    counts = Counter(case.configuration.dtype for case in drawn(name))
    assert len(drawn(name)) == len(SEEDS) * EXAMPLES
    assert counts["float32"] + counts["float64"] == len(drawn(name))
    assert min(counts.values()) >= 0.4 * len(drawn(name))
    assert len({case.seed for case in drawn(name)}) > 50


def test_most_feature_maps_are_padded_and_most_images_differ_in_size() -> None:
    assert 0.6 < share(case.regime == "padded" for case in drawn("features")) < 0.95
    several = [case for case in drawn("images") if len(case.images) > 1]
    assert share(case.regime == "several sizes" for case in several) > 0.8


def test_one_case_in_five_is_large() -> None:
    """Beside real targets, which always are; its numbers are off the grid of those that are drawn one by one."""
    general = [case for case in drawn("sets") if case.regime in ("general", "one-class", "more-targets-than-queries")]
    off_grid = [(case.outputs.boxes * 64 % 1 != 0).any() for case in general]
    assert 0.1 < share(map(bool, off_grid)) < 0.35


def test_one_case_in_four_has_saturated_masks() -> None:
    saturated = [np.abs(case.outputs.masks).max() >= SATURATED_LOGIT / 2 for case in drawn("masks")]
    assert 0.15 < share(map(bool, saturated)) < 0.35


def test_half_of_the_configurations_are_the_profiles_own() -> None:
    own = [case.configuration.cost_weights == case.configuration.profile.cost_weights for case in drawn("sets")]
    assert 0.35 < share(own) < 0.65


def test_problems_have_one_shape_half_of_the_time() -> None:
    several = [case for case in drawn("costs") if len(case.costs) > 1 and case.regime not in ("one-by-one", "empty")]
    assert 0.35 < share(len({cost.shape for cost in case.costs}) == 1 for case in several) < 0.75


def totals(cost: np.ndarray[Any, Any]) -> list[float]:
    """The totals of the best assignment, and of the best one without each of its pairs."""
    rows, columns = linear_sum_assignment(cost)
    found = [float(cost[rows, columns].sum())]
    for row, column in zip(rows, columns, strict=True):
        other = cost.copy()
        other[row, column] = 1e6
        again = linear_sum_assignment(other)
        found.append(float(other[again].sum()))
    return found


def is_exact_tie(cost: np.ndarray[Any, Any]) -> bool:
    """Whether another assignment costs exactly as little as the best."""
    best, *others = totals(cost)
    return best in others


def test_tied_cost_matrices_have_exact_ties() -> None:
    cases: list[CostCase] = [case for case in drawn("costs") if case.regime == "tied"]
    matrices = [cost for case in cases for cost in case.costs if min(cost.shape) > 1]
    assert len(matrices) > 20
    assert share(map(is_exact_tie, matrices)) > 0.5
    for cost in filter(is_exact_tie, matrices):
        assert unique_optimum(cost) is None


def test_tied_queries_have_costs_that_are_equal_to_the_last_bit() -> None:
    cases: list[SetCase] = [case for case in drawn("sets") if case.regime == "tied"]
    repeated = 0
    for case in cases:
        (cost, *_), logits, boxes = (
            image_costs(case.outputs.main, case.targets, case.configuration),
            case.outputs.logits[0],
            case.outputs.boxes[0],
        )
        for first in range(case.outputs.queries):
            for second in range(first):
                if (logits[first] == logits[second]).all() and (boxes[first] == boxes[second]).all():
                    repeated += 1
                    np.testing.assert_array_equal(cost.value[first], cost.value[second])
    assert repeated > len(cases)


SELDOM = (
    "criterion.matched-label",
    "criterion.no-object-weight",
    "criterion.unmatched-query-any-class",
    "criterion.unmatched-query-no-object",
    "criterion.matched-box",
    "matcher.absent-classes",
    "masks.empty-images",
    "auxiliary.own-matching",
    "boxes.separation",
)
"""Invariants whose premises fire in less than three quarters of the cases; those of all others do more often."""

LEAST = 0.25


@pytest.mark.parametrize("id", SELDOM)
def test_a_premise_that_seldom_fires_does_so_in_a_quarter_of_the_cases(id: str) -> None:
    (invariant,) = find_invariants(id)
    for reference in IMPLEMENTATIONS:
        if invariant.applies(reference.profile):
            judgement = judge(invariant, reference, examples=EXAMPLES)
            assert judgement.verdict is Verdict.HOLDS
            assert judgement.fired >= LEAST * judgement.examples


FIRING = "fires_on or premise_fires or no_empty_word"
"""How the tests are called, in the folder of the invariants' tests, that ask for an invariant's share of cases."""


class Collected:
    """A plugin for pytest that keeps the parameters of the tests that were found."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.parameters = {item.name.partition("[")[2].removesuffix("]") for item in items}


def test_every_invariant_is_asked_for_its_share_of_cases() -> None:
    """No new invariant and no renamed module goes unasked; an empty list of parameters alone would fail nothing."""
    collected = Collected()
    folder = Path(__file__).parent / "invariants"
    options = ["--collect-only", "-qq", "-p", "no:cacheprovider", "-k", FIRING, f"--rootdir={folder.parents[2]}"]
    assert pytest.main([*options, str(folder)], plugins=[collected]) == pytest.ExitCode.OK
    asked = {
        name.removeprefix(f"{profile}-").removesuffix(f"-{profile}")
        for name in collected.parameters
        for profile in PROFILES
    }
    assert {item.id for item in all_invariants()} <= asked


def greedy(configuration: Configuration) -> Callable[..., Any]:
    """Each target in turn takes the cheapest query that is left."""
    matcher = detr_matcher(configuration)

    def pairs(logits: Tensor, boxes: Tensor, target: dict[str, Tensor]) -> Any:
        cost = matcher.cost_matrix(logits, boxes, target["labels"], target["boxes"])
        count = min(cost.shape)
        queries = torch.empty(count, dtype=torch.int64)
        for place in range(count):
            queries[place] = cost[:, place].argmin()
            cost[queries[place]] = torch.inf
        order = queries.argsort()
        return queries[order], torch.arange(count)[order]

    return lambda outputs, targets: [
        pairs(*image) for image in zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True)
    ]


class MeanOverCoordinates(SetCriterion):
    """The L1 distance is a mean over coordinates, not their sum."""

    def forward(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = super().forward(outputs, targets)
        return losses | {"loss_bbox": losses["loss_bbox"] / 4}


class PlainMean(SetCriterion):
    """The weight of no object is forgotten."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        return cross_entropy(logits.transpose(1, 2), query_classes)


class CountsMatches(SetCriterion):
    """Box losses are divided by the number of matches, which differs where targets outnumber queries."""

    def forward(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = super().forward(outputs, targets)
        lengths = [len(target["labels"]) for target in targets]
        matches = sum(min(length, outputs["pred_logits"].shape[1]) for length in lengths)
        factor = max(sum(lengths), 1) / max(matches, 1)
        return losses | {name: losses[name] * factor for name in ("loss_bbox", "loss_giou")}


class SwappedAlpha(FocalSetCriterion):
    """α weighs the negatives."""

    def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
        kept, self.focal_alpha = self.focal_alpha, 1 - self.focal_alpha
        loss = super().classification_loss(logits, query_classes, num_boxes)
        self.focal_alpha = kept
        return loss


class SwappedSides(PostProcess):
    """Widths scale with the height."""

    def forward(self, outputs: Any, target_sizes: Any) -> Any:
        return super().forward(outputs, target_sizes.flip(1))


def subject(profile: Profile = DETR, **components: Any) -> Implementation:
    return torch_implementation(name="subject", profile=profile, **components)


DEFECTS: dict[str, tuple[str, Callable[[], Implementation]]] = {
    "greedy": ("matcher.optimal-cost", lambda: subject(matcher=greedy)),
    "mean over coordinates": ("criterion.l1-value", lambda: subject(criterion=softmax(MeanOverCoordinates))),
    "no weight of no object": ("criterion.classification-value", lambda: subject(criterion=softmax(PlainMean))),
    "matches counted": ("criterion.denominator", lambda: subject(criterion=softmax(CountsMatches))),
    "α swapped": ("criterion.classification-value", lambda: subject(DEFORMABLE, criterion=focal(SwappedAlpha))),
    "sides swapped": ("postprocess.pixels-of-each-axis", lambda: subject(postprocess=lambda _: SwappedSides())),
}
"""Defects that a case of two queries and two targets, or of fewer, can show, and an invariant that each violates."""


@pytest.mark.parametrize("name", DEFECTS)
def test_failures_shrink_to_two_queries_and_two_targets(name: str) -> None:
    accusing, build = DEFECTS[name]
    (invariant,) = find_invariants(accusing)
    judgement = judge(invariant, build(), examples=EXAMPLES)
    assert judgement.verdict is Verdict.VIOLATED
    assert judgement.counterexample is not None
    case = judgement.counterexample.case
    assert len(case["outputs"]["boxes"][0]) <= 2
    assert max(len(target["labels"]) for target in case["targets"]) <= 2


def test_wrong_boxes_shrink_to_one_pair() -> None:
    wrong = subject(boxes=BOXES | {"giou": BOXES["iou"]})
    (invariant,) = find_invariants("boxes.giou-definition")
    judgement = judge(invariant, wrong, examples=EXAMPLES)
    assert judgement.counterexample is not None
    case = judgement.counterexample.case
    assert len(case["first"]) == len(case["second"]) == 1
    on_grid = np.array([case["first"], case["second"]]) * 64
    assert (on_grid % 1 == 0).all()
