"""The register of invariants refuses what cannot be explained, and finds by id or number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from detr_spec.implementation import COMPONENTS
from detr_spec.invariant import MUST, SHOULD, invariant
from detr_spec.invariants import UnknownInvariant, all_invariants, find_invariants
from detr_spec.strategies import box_cases


def stated(component: Any, case: Any) -> None:
    """Something is so.

    Otherwise something breaks.
    """


def unexplained(component: Any, case: Any) -> None:
    """Something is so."""


def registering(id: str, number: str = "B1", check: Callable[..., None] = stated) -> Callable[[], Any]:
    texts = {"formula": "a = b", "source": "norm", "breaks": "much"}
    return lambda: invariant(id, number=number, cases=box_cases(), **texts)(check)


REFUSED = {
    "an unknown component": (registering("mask.area"), "'mask.area' is not of the form component.some-name"),
    "capitals": (registering("boxes.Area"), "not of the form"),
    "no component": (registering("area"), "not of the form"),
    "an empty name": (registering("boxes."), "not of the form"),
    "an id that is taken": (registering("matcher.optimal-cost", "M2"), "'matcher.optimal-cost' is taken"),
    "an unknown group": (
        registering("boxes.no-such-thing", "X1"),
        "has number 'X1'; expected one of the norm's list",
    ),
    "number 0": (registering("boxes.no-such-thing", "B0"), "has number 'B0'"),
    "no reason": (registering("boxes.no-such-thing", "B1", unexplained), "needs a docstring"),
}


@pytest.mark.parametrize(("register", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_explained_is_refused(register: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        register()
    assert "boxes.no-such-thing" not in {item.id for item in all_invariants()}


def test_every_invariant_can_be_explained() -> None:
    for item in all_invariants():
        assert item.level in (MUST, SHOULD)
        assert item.component in COMPONENTS
        for text in (item.statement, item.why, item.formula, item.source, item.breaks):
            assert text.strip() == text, item.id
            assert text, item.id
            assert "\n" not in item.statement
        assert item.statement.endswith(".")


def test_ids_are_unique_and_in_the_order_of_the_norm() -> None:
    ids = Counter(item.id for item in all_invariants())
    assert max(ids.values()) == 1
    groups = "".join(item.number[0] for item in all_invariants())
    assert list(dict.fromkeys(groups)) == [group for group in "BSMCAGPHD" if group in groups]
    numbers = [int(item.number[1:]) for item in all_invariants() if item.number.startswith("P")]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, max(numbers) + 1))


def test_invariants_are_found_by_id_and_by_number() -> None:
    [found] = find_invariants("matcher.optimal-cost")
    assert (found.number, found.level, found.component) == ("M2", MUST, "matcher")
    assert {item.number for item in find_invariants("p5")} == {"P5"}
    assert len(find_invariants("P5")) > 1
    with pytest.raises(UnknownInvariant) as raised:
        find_invariants("matcher.optimal-csot")
    assert str(raised.value).startswith(
        "no invariant is called 'matcher.optimal-csot'; did you mean matcher.optimal-cost"
    )
    with pytest.raises(UnknownInvariant, match="`detr-spec list` shows them all"):
        find_invariants("zzzzzz")


def test_what_is_rare_gets_more_cases_and_what_takes_long_gets_fewer() -> None:
    [ordinary] = find_invariants("criterion.keys")
    counts = [(1, 1, 30), (1, 6, 180), (2, 1, 15), (2, 3, 45), (50, 1, 1)]
    for cost, rarity, cases in counts:
        assert replace(ordinary, cost=cost, rarity=rarity).case_count(30) == cases
        assert replace(ordinary, cost=cost, rarity=rarity).affordable(30) == max(1, 30 // cost)
