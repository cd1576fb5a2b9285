"""Dialects that match groups, repeat targets or pool the pairs of layers: right ones hold, and wrong ones do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from judging import failure, share_fired
from torch import Tensor

from detr_conformance.implementations.declared import criterion
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profile import Keys, MatchingScope, Profile, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.values import Outputs, Target

SCOPES = {
    "groups": MatchingScope(groups=2),
    "summed groups": MatchingScope(groups=3, group_losses="sum"),
    "repeats": MatchingScope(repeats=2),
    "repeats in groups": MatchingScope(groups=2, repeats=2),
    "all layers": MatchingScope(box_pairs="all-layers"),
}
ASKED = ("matcher", "criterion", "gradients")
VALUES = ("criterion.l1-value", "criterion.classification-value", "auxiliary.many-layers", "gradients.box-l1")


def dialect(base: Profile, scope: MatchingScope) -> Profile:
    return replace(base, name="scoped", matching=scope)


@pytest.mark.parametrize("name", SCOPES)
def test_a_right_implementation_holds(name: str) -> None:
    base = DEFORMABLE if name == "repeats in groups" else DETR
    right = declared_implementation(dialect(base, SCOPES[name]))
    asked = [item for item in all_invariants() if item.component in ASKED and item.applies(right.profile)]
    assert [item.id for item in asked if item.cost < 50 and failure(item.id, right, 3) is not None] == []


@pytest.mark.parametrize("name", SCOPES)
def test_it_is_no_empty_word(name: str) -> None:
    right = declared_implementation(dialect(DETR, SCOPES[name]))
    assert min(share_fired(asked, right, 40) for asked in VALUES) > 0.2


def built_to(scope: MatchingScope, other: MatchingScope) -> Implementation:
    return declared_implementation(dialect(DETR, scope), dialect(DETR, other))


def in_training(implementation: Implementation, component: str) -> Implementation:
    """The implementation, one of whose components is in training mode whatever it is asked for."""
    factory: Any = getattr(implementation, component)
    changed = {component: lambda configuration: factory(replace(configuration, call="training"))}
    return replace(implementation, **changed)


DEPARTURES = {
    "groups are ignored": ("matcher.valid-pairs", SCOPES["groups"], MatchingScope()),
    "groups are made where there are none": ("matcher.valid-pairs", MatchingScope(), SCOPES["groups"]),
    "targets are counted once": ("criterion.l1-value", SCOPES["groups"], replace(SCOPES["groups"], group_losses="sum")),
    "repeated once too often": ("matcher.valid-pairs", SCOPES["repeats"], MatchingScope(repeats=3)),
    "pairs of each layer": ("auxiliary.many-layers", SCOPES["all layers"], MatchingScope()),
    "pairs of all layers": ("auxiliary.many-layers", MatchingScope(), SCOPES["all layers"]),
    "gradients by the pairs of each layer": ("gradients.weighted-total", SCOPES["all layers"], MatchingScope()),
}


@pytest.mark.parametrize("name", DEPARTURES)
def test_a_departure_is_found(name: str) -> None:
    by, scope, other = DEPARTURES[name]
    assert failure(by, built_to(scope, other), 100) is not None


POOLED = ("auxiliary.many-layers", "gradients.box-l1")


@pytest.mark.parametrize("found", [min, max])
def test_either_of_two_targets_that_a_query_has_equally_often_is_right(
    monkeypatch: pytest.MonkeyPatch, found: Callable[..., int]
) -> None:
    monkeypatch.setattr(criterion, "_most_frequent", partial(kept, lambda own: found(most_frequent(own))))
    right = declared_implementation(dialect(DETR, SCOPES["all layers"]))
    assert [name for name in POOLED if failure(name, right, 40) is not None] == []


@pytest.mark.parametrize("name", POOLED)
def test_a_target_that_a_query_has_less_often_than_another_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(criterion, "_most_frequent", partial(kept, lambda own: min(own, key=own.count)))
    wrong = declared_implementation(dialect(DETR, SCOPES["all layers"]))
    assert failure(name, wrong, 300) is not None


BOX = [0.25, 0.5, 0.125, 0.125]
ALIKE = np.array([[0.5, 0.5, 0.125, 0.125], [0.4375, 0.5, 0.0625, 0.125]])
"""Boxes with the same L1 distance from that box, 1/4, and the same GIoU, −1/3: one is moved, one is narrower too."""

TIED: dict[str, tuple[Keys, list[float], str]] = {
    "metrics": (Keys(box_centre="loss_xy", box_size="loss_hw"), BOX, "criterion.box-metrics"),
    "one loss of earlier layers": (Keys(auxiliary_loss="{loss}_aux"), [0.5, 0.5, 0.5, 0.5], "auxiliary.sums"),
    "one loss of all layers": (Keys(auxiliary_loss="{loss}"), [0.5, 0.5, 0.5, 0.5], "auxiliary.sums"),
}
"""What alone says which union was chosen, where the last layer's losses of boxes do not: the names of losses, the first
layer's box, and the invariant that looks at them."""


@pytest.mark.parametrize("found", [min, max])
@pytest.mark.parametrize("name", TIED)
def test_what_alone_says_which_union_was_chosen_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, name: str, found: Callable[..., int]
) -> None:
    """Two layers see the one target in the one query, and two the other, so that either is right for all."""
    keys, box, by = TIED[name]
    monkeypatch.setattr(criterion, "_most_frequent", partial(kept, lambda own: found(most_frequent(own))))
    right = declared_implementation(replace(dialect(DETR, SCOPES["all layers"]), keys=keys))
    one, other = np.array([[[9.0, 0.0, 0.0]]]), np.array([[[0.0, 9.0, 0.0]]])
    first, last = Outputs(one, np.array([[box]])), Outputs(other, np.array([[BOX]]))
    case = SetCase(
        configuration=Configuration(profile=right.profile, num_classes=2, decoder_layers=4),
        outputs=replace(last, auxiliary=(first, first, last)),
        targets=(Target(np.array([0, 1]), ALIKE),),
        sizes=np.array([[1, 1]]),
    )
    (invariant,) = find_invariants(by)
    invariant.check(right.component(invariant.component), case)


def most_frequent(own: list[int]) -> list[int]:
    return [target for target in own if own.count(target) == max(map(own.count, own))]


def kept(keep: Callable[[list[int]], int], pairs: Any) -> tuple[Tensor, Tensor]:
    """The pairs of all layers of an image, of which each query keeps one of its targets."""
    found: dict[int, list[int]] = {}
    for query, target in [
        pair for queries, targets in pairs for pair in zip(queries.tolist(), targets.tolist(), strict=True)
    ]:
        found.setdefault(query, []).append(target)
    return torch.tensor([*found], dtype=torch.int64), torch.tensor([*map(keep, found.values())], dtype=torch.int64)


@pytest.mark.parametrize("name", ["matcher.one-group-in-evaluation", "criterion.one-group-in-evaluation"])
def test_it_fires_on_a_right_one_and_groups_in_evaluation_are_found(name: str) -> None:
    right = declared_implementation(dialect(DETR, SCOPES["groups"]))
    assert share_fired(name, right, 30) > 0.5
    assert failure(name, in_training(right, name.partition(".")[0]), 30) is not None
