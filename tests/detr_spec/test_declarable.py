"""What can be declared is found by reflection, and profiles are drawn of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from detr_spec.declarable import declarable_values, differences, drawn_profile, parts
from detr_spec.profile import Keys, Profile, replace
from detr_spec.profiles import DETR
from detr_spec.terms import CrossEntropy

SEEDS = range(2000)


def test_a_seed_draws_one_profile() -> None:
    assert drawn_profile(7) == drawn_profile(7)
    assert len({drawn_profile(seed) for seed in SEEDS}) == len(SEEDS)


def test_every_value_of_every_field_is_drawn() -> None:
    drawn = [drawn_profile(seed) for seed in SEEDS]

    def require_drawn(kind: Any, items: list[Any]) -> None:
        for name, values in declarable_values(kind).items():
            assert {getattr(item, name) for item in items} == set(values), name
        for name, inner in parts(kind).items():
            require_drawn(inner, [getattr(item, name) for item in items])

    require_drawn(Profile, drawn)


def test_the_default_of_a_field_comes_first() -> None:
    for kind in (Profile, *parts().values()):
        default = DETR if kind is Profile else kind()
        assert {name: values[0] for name, values in declarable_values(kind).items()} == {
            name: getattr(default, name) for name in declarable_values(kind)
        }


def test_a_new_choice_is_tried_and_a_new_number_is_asked_for() -> None:
    @dataclass(frozen=True)
    class Rules:
        order: Literal["ascending", "descending", "none"] = "ascending"
        strict: bool = True
        score: str | None = "score"

    assert declarable_values(Rules) == {
        "order": ("ascending", "descending", "none"),
        "strict": (True, False),
        "score": ("score", None, "other_score"),
    }

    @dataclass(frozen=True)
    class MoreRules:
        margin: float = 0.5

    with pytest.raises(LookupError, match="the field 'margin' of a profile may have; add some to NUMBERS"):
        declarable_values(MoreRules)


def test_the_summary_says_in_what_a_drawn_profile_differs() -> None:
    other = replace(DETR, class_loss=CrossEntropy(eos_coef=1.0), keys=Keys(class_error=None))
    assert differences(other, DETR) == ["class_loss cross-entropy(eos_coef=1)", "keys.class_error None"]
    assert drawn_profile(0).summary.startswith(("detr, ", "deformable, "))
