"""Contestants that compute something else are named and not timed; those that are right are never accused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detr_conformance.bench.agreement import Judge
from detr_conformance.bench.batches import REGIMES, Batch, make_batch
from detr_conformance.bench.contest import How, assignment_contest, criterion_contest
from detr_conformance.bench.contestant import NOT_INSTALLED, TERMS, Contestant, Package, Step
from detr_conformance.bench.heads import HEADS
from detr_conformance.bench.ours import OURS, PLAIN, reference_step
from detr_conformance.bench.registry import CONTESTANTS
from detr_conformance.bench.sizes import Size
from detr_conformance.bench.solvers import SOLVERS, SolverContestant
from detr_conformance.bench.timing import PROCESSOR, STEP
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR, PROFILES

TINY = Size(3, 12, 6, 4, layers=2)
ONCE = How(repeats=2)
ABSENT = Package("no-such-distribution", "no_such_module")


def weights(profile: Profile) -> dict[str, float]:
    return dict(zip(TERMS, profile.loss_weights, strict=True))


def told(contestant: Contestant, batch: Batch) -> str | None:
    with contestant.setting():
        return Judge(batch, weights(batch.profile)).disagreement(contestant, contestant.build(batch))


@pytest.mark.filterwarnings("ignore")  # of the packages of others, when they are imported
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda item: f"{item.name}-{item.profile.name}")
def test_right_contestants_agree(contestant: Contestant, regime: str) -> None:
    missing = contestant.missing("cpu")
    if missing is not None:
        pytest.skip(f"{contestant.name} is {missing}")
    size = replace(TINY, targets=0) if regime == "coco" else TINY
    assert told(contestant, make_batch(size, regime, PROFILES[contestant.profile.name])) is None


@pytest.mark.filterwarnings("ignore")  # of the packages of others, when they are imported
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda item: f"{item.name}-{item.profile.name}")
def test_right_contestants_agree_down_to_hidden_states(contestant: Contestant, heads: str) -> None:
    missing = contestant.missing("cpu")
    if missing is not None:
        pytest.skip(f"{contestant.name} is {missing}")
    batch = make_batch(TINY, "trained", PROFILES[contestant.profile.name], heads=heads)
    assert told(contestant, batch) is None


@pytest.mark.parametrize("heads", HEADS)
def test_heads_hand_out_the_hidden_states_layer_by_layer(heads: str) -> None:
    batch = make_batch(TINY, "trained", DETR, heads=heads)
    assert batch.hidden is not None
    for made, hidden, numbers in zip(batch.made_layers(), batch.hidden, (batch.logits, batch.boxes), strict=True):
        assert torch.equal(torch.stack(list(made)), hidden)
        assert torch.equal(hidden, torch.stack(numbers))
        assert all(layer.requires_grad and not layer.is_leaf for layer in made)
    views = [layer._is_view() for layer in batch.made_layers()[0]]
    assert all(views) == any(views) == (heads != "separate")


def with_terms(change: Callable[[dict[str, Tensor]], None]) -> Callable[[Batch], Step]:
    def build(batch: Batch) -> Step:
        step = reference_step(batch)

        def terms(losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            found = dict(step.terms(losses))
            change(found)
            return found

        return replace(step, terms=terms)

    return build


def scaled(name: str) -> Callable[[Batch], Step]:
    def change(terms: dict[str, Tensor]) -> None:
        terms[name] = terms[name] * (1 + 1e-3)

    return with_terms(change)


def wrong_gradient(name: str) -> Callable[[Batch], Step]:
    """A term with its right value, and a gradient that is a thousandth too large."""

    def change(terms: dict[str, Tensor]) -> None:
        terms[name] = terms[name] + 1e-3 * (terms[name] - terms[name].detach())

    return with_terms(change)


def gradient_of_unmatched(batch: Batch) -> Step:
    def change(terms: dict[str, Tensor]) -> None:
        matched = set(reference_step(batch).matchings()[0][0][0].tolist())
        box = batch.boxes[0][0, next(query for query in range(TINY.queries) if query not in matched)]
        terms["box_l1"] = terms["box_l1"] + 1e-3 * (box - box.detach()).sum()

    return with_terms(change)(batch)


def greedy(batch: Batch) -> Step:
    """Each image's targets to its first queries."""
    step = reference_step(batch)
    pairs = [(torch.arange(count), torch.arange(count)) for count in batch.counts]
    return replace(step, matchings=lambda: [pairs] * batch.size.layers)


def incomplete(batch: Batch) -> Step:
    step = reference_step(batch)
    return replace(step, matchings=lambda: [[(i[1:], j[1:]) for i, j in layer] for layer in step.matchings()])


WRONG: dict[str, tuple[Callable[[Batch], Step], str]] = {
    "greedy": (greedy, "layer 0, image 0: the matching costs"),
    "incomplete": (incomplete, "layer 0, image 0: 3 pairs"),
    "classification": (scaled("classification"), "classification is"),
    "box_l1": (scaled("box_l1"), "box_l1 is"),
    "box_giou": (scaled("box_giou"), "box_giou is"),
    "gradient of logits": (wrong_gradient("classification"), "the gradient of the logits of layer 0"),
    "gradient of boxes": (wrong_gradient("box_giou"), "the gradient of the boxes of layer 0"),
    "gradient of unmatched": (gradient_of_unmatched, "not 0 where nothing is matched"),
}


def failing(batch: Batch) -> Step:
    raise RuntimeError("out of order")


@pytest.mark.parametrize("profile", [DETR, DEFORMABLE], ids=lambda profile: profile.name)
@pytest.mark.parametrize("defect", WRONG)
def test_a_wrong_contestant_is_accused(defect: str, profile: Profile) -> None:
    build, words = WRONG[defect]
    batch = make_batch(TINY, "trained", profile)
    assert words in (told(Contestant("wrong", profile, None, build), batch) or "")


def test_who_disagrees_fails_or_is_absent_is_named_and_has_no_times() -> None:
    (plain,) = (item for item in OURS if item.name == PLAIN and item.profile is DETR)
    contestants = [
        plain,
        Contestant("wrong", DETR, None, greedy),
        Contestant("failing", DETR, None, failing),
        Contestant("absent", DETR, ABSENT, failing),
    ]
    setting = criterion_contest([partial(lambda item: item, item) for item in contestants], TINY, "trained", DETR, ONCE)
    found = {entry.name: entry for entry in setting.entries}
    assert list(found) == [PLAIN, "wrong", "failing", "absent"]
    assert [entry.status for entry in setting.entries] == ["timed", "disagrees", "failed", "not installed"]
    assert "the matching costs" in found["wrong"].note
    assert found["failing"].note == "RuntimeError: out of order"
    assert [entry.runs is None for entry in setting.entries] == [False, True, True, True]
    runs = found[PLAIN].runs
    assert runs is not None
    assert set(runs.seconds) == {STEP, PROCESSOR}
    assert runs.count == 2
    assert min(runs.seconds[STEP]) > 0


def solver(name: str, answer: Callable[[Any], Any], **named: Any) -> SolverContestant:
    return SolverContestant(name, named.pop("package", None), lambda cost: lambda: answer(cost), list, **named)


def test_a_solver_is_timed_only_where_it_finds_the_least_total() -> None:
    def first_queries(cost: Tensor) -> Any:
        return [(np.arange(cost.shape[1]),) * 2] * len(cost)

    def one_query(cost: Tensor) -> Any:
        return [(np.arange(cost.shape[1]), np.zeros(cost.shape[1], int))] * len(cost)

    def broken(cost: Tensor) -> Any:
        raise RuntimeError("out of order")

    solvers = [
        *SOLVERS,
        solver("greedy", first_queries),
        solver("no matching", one_query),
        solver("failing", broken),
        solver("absent", broken, package=ABSENT),
        solver("elsewhere", broken, only_on="cuda"),
    ]
    setting = assignment_contest(solvers, TINY, "untrained", DETR, ONCE)
    found = {entry.name: (entry.status, entry.note) for entry in setting.entries}
    for name in ("scipy, queries as rows", "scipy, targets as rows", "accelerated"):
        assert found[name] == ("timed", "")
    assert found["greedy"][0] == "disagrees"
    assert "another solver needs" in found["greedy"][1]
    assert found["no matching"][0] == "disagrees"
    assert found["failing"] == ("failed", "RuntimeError: out of order")
    assert found["absent"] == ("not installed", "not installed")
    assert found["elsewhere"] == ("left out", "for cuda only")
    assert found["torch-linear-assignment"][0] in ("not installed", "left out")
    assert {entry.name for entry in setting.entries if entry.runs is None} >= {"greedy", "no matching", "failing"}


def test_regimes_are_what_they_are_called() -> None:
    batches = {regime: make_batch(Size(8, 40, 92, 7, layers=2), regime, DETR) for regime in ("trained", "untrained")}
    spread = {regime: batch.boxes[0].detach().std(dim=1).max().item() for regime, batch in batches.items()}
    assert spread["untrained"] < 0.01 < spread["trained"]
    real = make_batch(Size(8, 40, 92, 0, layers=2), "coco", DETR)
    assert len(set(real.counts)) > 2
    assert real.size.targets == max(real.counts)
    again = make_batch(Size(8, 40, 92, 7, layers=2), "trained", DETR)
    assert torch.equal(again.logits[1], batches["trained"].logits[1])
    assert not torch.equal(again.logits[0], again.logits[1])


def test_a_package_whose_module_has_a_common_name_must_be_the_one_that_is_found() -> None:
    assert Package("pytest", "pytest", common=True).missing is None
    assert Package("no-such-distribution", "pytest", common=True).missing == NOT_INSTALLED
    assert Package("numpy", "json", common=True).missing == "json is another package here"
    assert Package("numpy", "json").missing is None
    assert ABSENT.missing == NOT_INSTALLED
