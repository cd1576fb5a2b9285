"""What is asked for by name is chosen, and nothing that does not exist is asked for in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.running.selection import Selection, Subject, chosen_invariants, chosen_subjects
from detr_spec.implementation import Implementation
from detr_spec.invariants import all_invariants
from detr_spec.profiles import DEFORMABLE, DETR


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_asked_for_means_everything() -> None:
    assert chosen_invariants(Selection()) == all_invariants()


def test_components_and_levels_narrow() -> None:
    chosen = chosen_invariants(Selection(components=("matcher", "assignment"), level="must"))
    assert {item.component for item in chosen} == {"matcher", "assignment"}
    assert {item.level.value for item in chosen} == {"MUST"}


def test_an_invariant_is_found_by_id_and_by_number() -> None:
    (chosen,) = chosen_invariants(Selection(invariants=("matcher.optimal-cost",)))
    assert chosen.number == "M2"
    by_number = chosen_invariants(Selection(invariants=("m2", "S1")))
    assert {item.number for item in by_number} == {"M2", "S1"}


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection(components=("macher",)), "no component is called 'macher'; did you mean matcher?"),
        (Selection(invariants=("matcher.optimal-costs",)), "did you mean matcher.optimal-cost"),
        (Selection(level="MAY"), "no level is called 'MAY'"),
        (
            Selection(components=("heads",), invariants=("M2",)),
            "no invariant has component heads and name M2",
        ),
    ],
)
def test_unknown_names_and_empty_choices_are_refused(selection: Selection, told: str) -> None:
    assert told in refusal(lambda: chosen_invariants(selection))


@pytest.fixture
def pair(right: Implementation) -> list[Subject]:
    """One address with two profiles."""
    return [
        Subject(right, "right.py:BOTH", 0),
        Subject(replace(right, profile=DEFORMABLE), "right.py:BOTH", 1),
    ]


def choose(subjects: list[Subject], selection: Selection) -> list[str]:
    chosen = chosen_subjects(subjects, selection, chosen_invariants(replace(selection, profile=None)))
    return [subject.implementation.profile.name for subject in chosen]


def test_a_profile_narrows_the_implementations(pair: list[Subject]) -> None:
    assert choose(pair, Selection()) == ["detr", "deformable"]
    assert choose(pair, Selection(profile="deformable")) == ["deformable"]


def test_a_profile_of_the_implementations_own_can_be_named(right: Implementation) -> None:
    own = Subject(replace(right, profile=replace(DETR, name="mine")))
    assert choose([own], Selection(profile="mine")) == ["mine"]


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection(profile="deform"), "no profile is called 'deform'; did you mean deformable"),
        (Selection(components=("boxes",)), "right.py:BOTH provides no boxes; it provides assignment"),
        (
            Selection(profile="detr", components=("boxes",)),
            "right.py:BOTH provides no boxes in profile detr; it provides assignment",
        ),
        (Selection(invariants=("M2",)), "nothing that was chosen is asked of right.py:BOTH"),
    ],
)
def test_what_an_implementation_lacks_is_refused(pair: list[Subject], selection: Selection, told: str) -> None:
    assert told in refusal(lambda: choose(pair, selection))


def test_a_profile_that_is_not_declared_is_refused(pair: list[Subject]) -> None:
    message = refusal(lambda: choose(pair[:1], Selection(profile="deformable")))
    assert message == "right.py:BOTH declares no profile deformable; it declares detr"


def test_one_of_several_may_lack_what_is_asked_for(right: Implementation) -> None:
    other = replace(right, name="other", assignment=None, boxes=lambda _: None)  # type: ignore[arg-type,return-value]
    both = [Subject(right, "a:A"), Subject(other, "b:B")]
    for selection in (Selection(components=("assignment",)), Selection(invariants=("S1",))):
        assert choose(both, selection) == ["detr", "detr"]
    message = refusal(lambda: choose(both, Selection(components=("matcher",))))
    assert message == "a:A and b:B provides no matcher; it provides assignment, boxes"


def test_two_implementations_of_one_name_and_profile_are_refused(right: Implementation) -> None:
    twins = [Subject(right, "a:A"), Subject(right, "b:B")]
    assert "two implementations are called right in profile detr" in refusal(lambda: choose(twins, Selection()))
