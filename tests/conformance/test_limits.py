"""Detection limits are what the ladder of planted errors says, and those that are published are met anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.commands.catalogue import catalogue
from detr_conformance.commands.command_line import run
from detr_conformance.commands.limits import measured_by_name
from detr_conformance.implementations.resolve import resolve
from detr_conformance.limits import ladder
from detr_conformance.limits.ladder import FIRST_LOOK, LADDER, measured, smallest
from detr_conformance.limits.plants import ABSOLUTE, RELATIVE, off_by, plants, remembering
from detr_conformance.limits.table import FILE, Limit, power_of_ten, published, read_limits, to_json, told
from detr_spec.configuration import Configuration
from detr_spec.implementation import BoxOperations, Heads, Implementation
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.parameters import is_held_by_all
from detr_spec.parts import known_parts
from detr_spec.profile import LOSS_PARTS, Profile
from detr_spec.profiles import D_FINE, DETR, PROFILES
from detr_spec.strategies import box_cases
from detr_spec.terms import Term
from detr_spec.values import Answer, Detections, LayerGradient, Losses, LossGradients, Outputs
from detr_spec.violation import require

Toy = Callable[..., Invariant]
TERMS = ("loss_ce", "loss_bbox", "loss_giou", "loss_mask", "loss_dice")


def shows_from(error: float, case: float) -> bool:
    """A case that is the smallest error it shows."""
    return error >= case


@pytest.mark.parametrize(
    ("cases", "expected"),
    [([1e-3], 1e-3), ([2e-3], 1e-2), ([1e-3, 1e-7, 1e-2], 1e-7), ([0.0], 1e-16), ([1.0], None), ([], None)],
)
def test_the_smallest_error_that_any_case_shows(cases: list[float], expected: float | None) -> None:
    assert smallest(shows_from, cases) == expected


def test_errors_below_a_gap_do_not_count() -> None:
    shown = {1e-1, 1e-2, 1e-4, 1e-5}
    assert smallest(lambda error, _: error in shown, [None]) == 1e-2


def test_the_largest_error_is_shown_early_and_the_others_by_any_case() -> None:
    blind = [1.0] * FIRST_LOOK
    assert smallest(shows_from, [*blind, 1e-5]) is None
    assert smallest(shows_from, [1e-1, *blind, 1e-5]) == 1e-5


def test_each_rung_is_a_tenth_of_the_one_before() -> None:
    np.testing.assert_allclose(np.diff(np.log10(LADDER)), -1.0)
    assert (LADDER[0], LADDER[-1]) == (1e-1, 1e-16)


def test_errors_are_of_the_kind_asked_for_and_no_finer_than_the_dtype() -> None:
    assert off_by(0.25, RELATIVE, "float64")([2.0, 0.0]).tolist() == [2.5, 0.0]
    assert off_by(-0.25, ABSOLUTE, "float64")([2.0, 0.0]).tolist() == [1.75, -0.25]
    assert off_by(1e-9, RELATIVE, "float32")(1.0) == 1.0 != off_by(1e-9, RELATIVE, "float64")(1.0)


LOSSES = Losses(dict.fromkeys((*TERMS, "class_error", "cardinality_error", "loss_ce_0", "cardinality_error_1"), 1.0))
LAYER = Outputs(np.ones((1, 1, 2)), np.ones((1, 1, 4)))
MASKS, EDGES = np.ones((1, 1, 2, 2)), np.ones((1, 1, 20))
ANSWERS: dict[str, Any] = {
    "boxes": np.ones((1, 1)),
    "criterion": LOSSES,
    "masks": LOSSES,
    "gradients": LossGradients(
        LOSSES, 1.0, (LayerGradient(None, None), LayerGradient(LAYER.logits, LAYER.boxes, MASKS, EDGES))
    ),
    "distributed": (LOSSES, LOSSES),
    "postprocess": (Detections(np.ones(1), np.ones(1, dtype=np.int64), np.ones((1, 4))),),
    "heads": replace(LAYER, auxiliary=(LAYER,)),
    "decoder": np.ones((1, 1, 1, 8)),
    "model": replace(LAYER, auxiliary=(LAYER,)),
}
PLANTED = {
    item.component: item for item in all_invariants() if plants(item, DETR) and not item.id.startswith("auxiliary.")
}


def leaves(value: Any, name: str = "") -> dict[str, list[float]]:
    """The numbers in an answer, by the names that lead to them; places in sequences have none."""
    if isinstance(value, (np.ndarray, float)):
        return {name: np.ravel(value).tolist()}
    if isinstance(value, (tuple, dict)):
        parts = value.items() if isinstance(value, dict) else (("", part) for part in value)
    else:
        parts = vars(value).items() if hasattr(value, "__dataclass_fields__") else ()
    found: dict[str, list[float]] = {}
    for key, part in parts:
        for leaf, numbers in leaves(part, f"{name}.{key}" if key else name).items():
            found.setdefault(leaf, []).extend(numbers)
    return found


def changed(before: Any, after: Any) -> set[str]:
    first, second = leaves(before), leaves(after)
    assert first.keys() == second.keys()
    return {name.rpartition(".")[2] for name in first if first[name] != second[name]}


@pytest.mark.parametrize("component", PLANTED)
def test_a_planted_error_changes_its_term_everywhere_and_nothing_else(component: str) -> None:
    answer = ANSWERS[component]
    for plant in plants(PLANTED[component], DETR):
        own = "" if component in ("boxes", "decoder") else plant.term.removeprefix("gradient of ")
        assert changed(answer, plant.change(answer, off_by(0.5, RELATIVE, "float64"))) == {own}
        assert changed(answer, plant.change(answer, off_by(0.0, RELATIVE, "float32"))) == set()


def test_auxiliary_layers_have_errors_of_their_own() -> None:
    (item,) = find_invariants("auxiliary.layer-alone")
    found = [changed(LOSSES, plant.change(LOSSES, off_by(0.5, RELATIVE, "float64"))) for plant in plants(item, DETR)]
    assert {"loss_ce"} in found
    assert {"loss_ce_0"} in found
    assert {"cardinality_error_1"} in found


def test_what_earlier_layers_alone_have_is_wrong_in_all_of_them() -> None:
    losses = Losses(dict.fromkeys(("loss_fgl", "loss_ddf_aux_0", "loss_ddf_aux_1", "loss_ddf_dn_0"), 1.0))
    planted = plants(PLANTED["criterion"], D_FINE)
    found = [changed(losses, plant.change(losses, off_by(0.5, RELATIVE, "float64"))) for plant in planted]
    assert {"loss_ddf_aux_0", "loss_ddf_aux_1"} in found
    assert {"loss_fgl"} in found


def test_one_process_alone_is_not_wrong() -> None:
    (plant, *_) = plants(PLANTED["distributed"], DETR)
    alone = (LOSSES,)
    assert plant.change(alone, off_by(0.5, RELATIVE, "float64")) == alone


def test_the_same_question_is_asked_once() -> None:
    asked: list[Any] = []

    def heads(configuration: Configuration) -> Heads:
        def forward(hidden: Any) -> Any:
            asked.append((configuration.dtype, hidden.tolist()))
            return Answer(len(asked))

        return Heads(forward=forward)

    remembered = remembering(heads)
    first, second = Configuration(profile=DETR), Configuration(profile=DETR, dtype="float64")
    answers = [
        remembered(configuration).forward(np.array([number])).value
        for configuration, number in ((first, 1.0), (first, 2.0), (second, 1.0), (first, 1.0), (second, 1.0))
    ]
    assert answers == [1, 2, 3, 1, 3]
    assert remembered(first).parameters is None


def overlap(value: float) -> Implementation:
    """Boxes that all overlap by so much."""

    def iou(first: Any, second: Any) -> Any:
        return Answer(np.full((len(first), len(second)), value))

    return Implementation(name="toy", profile=DETR, boxes=lambda _: BoxOperations(iou=iou))


def about(number: float, allowance: float, *, one_sided: bool = False) -> Callable[[Any, Any], None]:
    """The check that an overlap is the number, up to the allowance; or that it is not above it."""

    def check(component: Any, case: Any) -> None:
        got = component(case.configuration).iou(case.first, case.second).value
        apart = got - number if one_sided else np.abs(got - number)
        require(bool((apart <= allowance).all()), "no")

    return check


def measured_toy(toy: Toy, check: Callable[[Any, Any], None], value: float) -> list[tuple[Any, ...]]:
    invariant = toy(check, id="boxes.toy", component="boxes", cases=box_cases())
    limits = measured(invariant, overlap(value), examples=4)
    return [(limit.term, limit.error, limit.signs, dict(limit.limits)) for limit in limits]


def test_the_limit_is_the_allowance_rounded_up_to_a_power_of_ten(toy: Toy) -> None:
    both = {"float32": 1e-3, "float64": 1e-3}
    assert measured_toy(toy, about(1.0, 3e-4), 1.0) == [("iou", "relative", "±", both)]
    assert measured_toy(toy, about(1.0, 3e-4, one_sided=True), 1.0) == [("iou", "relative", "+", both)]


def test_what_is_0_has_absolute_errors(toy: Toy) -> None:
    assert measured_toy(toy, about(0.0, 3e-6), 0.0) == [("iou", "absolute", "±", {"float32": 1e-5, "float64": 1e-5})]


def test_no_dtype_shows_what_it_cannot_hold(toy: Toy) -> None:
    found = measured_toy(toy, about(1.0, 0.0), 1.0)
    assert found == [("iou", "relative", "±", {"float32": 1e-7, "float64": 1e-15})]


def test_what_sees_no_error_has_no_limit(toy: Toy) -> None:
    assert measured_toy(toy, lambda component, case: None, 1.0) == []


def test_errors_are_planted_in_right_answers_alone(toy: Toy) -> None:
    with pytest.raises(UsageError, match="does not hold for toy"):
        measured_toy(toy, about(1.0, 3e-4), 0.5)


def test_a_limit_is_found_again() -> None:
    for profile, item in (
        ("detr", "boxes.giou-definition"),
        ("deformable", "boxes.in-range"),
        ("detr", "heads.box-head"),
    ):
        expected = [limit for limit in published()[item] if limit.profile == profile]
        assert list(measured_by_name(profile, item)) == expected


def losses_by_term() -> dict[str, list[tuple[Profile, str]]]:
    """The profiles that have a training term, by its name, with what they call its loss."""
    found: dict[str, list[tuple[Profile, str]]] = {}
    for profile in PROFILES.values():
        own = {getattr(profile.keys, name): getattr(profile, part) for name, part in LOSS_PARTS.items()}
        own |= {further.key: further.term for further in profile.further_losses}
        for key, term in own.items():
            if term.is_judged:
                found.setdefault(term.name, []).append((profile, key))
    return found


def smallest_limits(term: str) -> dict[str, dict[str, float]]:
    """The smallest relative error, of either sign, that some invariant finds in a term, by profile and dtype."""
    found: dict[str, dict[str, float]] = {}
    for limit in read_limits(FILE):
        if (limit.term, limit.error, limit.signs) == (term, "relative", "±"):
            known = found.setdefault(limit.profile, {})
            known.update({dtype: min(known.get(dtype, 1.0), limit.limits[dtype]) for dtype in limit.limits})
    return found


NOT_HELD = {
    further.key
    for profile in PROFILES.values()
    for further in profile.further_losses
    if profile.losses.weighted and not is_held_by_all(further.weight)
}
"""Losses that are given times a weight that no case varies and float32 does not hold, 0.15: as right implementations
may hold it, rounded to float32, it is off by 4e-8."""


WIDER = {"loss_ddf": 1e-4}
"""Limits in float32 that are wider: the divergence of two distributions that a temperature has made nearly uniform is a
small difference of logarithms."""


@pytest.mark.parametrize(("term", "owners"), losses_by_term().items(), ids=losses_by_term())
def test_every_term_is_held_to_a_hundred_thousandth_and_in_float64_to_a_millionth_of_a_millionth(
    term: str, owners: list[tuple[Profile, str]]
) -> None:
    """In every profile of those that have it in which it was measured, and so is its gradient."""
    told = [(profile.name, key) for profile, key in owners]
    moved = f"gradient of {known_parts(Term)[term].moves}"
    for pairs in (told, [(name, moved) for name, _ in told]):
        measured = [(key, limits) for name, key in pairs if (limits := smallest_limits(key).get(name)) is not None]
        assert measured
        for key, limits in measured:
            assert limits["float32"] <= WIDER.get(key, 1e-5)
            assert limits["float64"] <= (1e-7 if key in NOT_HELD else 1e-12)


@pytest.mark.parametrize("profile", ["detr", "deformable"])
@pytest.mark.parametrize("term", TERMS)
def test_every_loss_of_the_first_dialects_is_measured_and_held_so(profile: str, term: str) -> None:
    limits = smallest_limits(term)[profile]
    assert limits["float32"] <= 1e-5
    assert limits["float64"] <= 1e-12


def test_every_gradient_is_held_to_a_ten_thousandth_and_in_float64_to_a_millionth_of_a_millionth() -> None:
    measured = {(limit.profile, limit.term): limit.limits for limit in read_limits(FILE) if "gradient" in limit.term}
    # Neither of the first dialects has distributions of edges.
    terms = [f"gradient of {field.name}" for field in fields(LayerGradient) if field.name != "edges"]
    assert {key for key in measured if key[0] in ("detr", "deformable")} == set(product(["detr", "deformable"], terms))
    for limits in [limit.limits for limit in read_limits(FILE) if limit.term in terms]:
        assert limits["float64"] <= 1e-12
        assert limits["float32"] <= 1e-4


def test_the_published_file_is_as_the_command_writes_it() -> None:
    assert FILE.read_text(encoding="utf-8") == to_json(read_limits(FILE))


def test_the_catalogue_tells_every_published_limit() -> None:
    page = catalogue()
    assert page.count("\n- detects: ") == len(published())
    for name, limits in published().items():
        entry = page.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert all(limit.term in entry for limit in limits)


def limit(term: str, float32: float, **different: Any) -> Limit:
    plain = Limit("criterion.l1-value", "detr", term, "relative", "±", {"float32": float32, "float64": 1e-14})
    return replace(plain, **different)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ([limit("a", 1e-6)], "a by 1e-6 in float32, 1e-14 in float64"),
        ([limit("a", 1e-6), limit("b", 1e-6)], "a, b by 1e-6 in float32, 1e-14 in float64"),
        ([limit("a", 1e-6), limit("a", 1e-5, profile="deformable")], "a by 1e-5 in float32, 1e-14 in float64"),
        ([limit("a", 1e-6), limit("b", 1e-6, profile="deformable"), limit("a", 1e-6, profile="deformable")],
         "a, b (in deformable) by 1e-6 in float32, 1e-14 in float64"),
        ([limit("a", 0.1, limits={"float64": 0.1}, error="absolute")], "a (absolute) by 1e-1 in float64"),
        ([limit("a", 1e-6, signs="+", error="absolute")], "a (absolute, δ > 0) by 1e-6 in float32, 1e-14 in float64"),
        ([limit("a", 1e-6), limit("b", 1e-5, signs="-", limits={"float32": 1e-5})],
         "a by 1e-6 in float32, 1e-14 in float64; b (δ < 0) by 1e-5 in float32"),
    ],
)  # fmt: skip
def test_limits_in_words(limits: list[Limit], text: str) -> None:
    assert told(limits) == text


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '[{"invariant": "boxes.identical"}]', "3"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"limits\.json"):
        read_limits(path)


def test_a_limit_of_nothing_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text(FILE.read_text(encoding="utf-8").replace("boxes.nested", "boxes.nestled"))
    with pytest.raises(UsageError, match=r"there is no boxes\.nestled in profile detr"):
        read_limits(path)


def test_the_command_measures_and_keeps_what_others_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "limits.json"
    path.write_text(to_json([limit("loss_bbox", 1e-6), limit("old", 1e-6, invariant="boxes.identical")]))
    how = ["--invariant", "boxes.identical", "--profile", "detr", "-n", "1", "--json", str(path)]
    assert run(["limits", *how]) == 0
    shown = capsys.readouterr().out
    assert "boxes.identical" in shown
    found = json.loads(path.read_text())
    assert {entry["invariant"] for entry in found} == {"boxes.identical", "criterion.l1-value"}
    assert {entry["term"] for entry in found} == {"loss_bbox", "iou", "giou"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--component", "matcher"], "has numbers to plant errors in"),
        (["--invariant", "boxes.identicle"], "did you mean boxes.identical"),
        (["--profile", "deform"], "did you mean deformable"),
        (["--invariant", "boxes.identical", "-n", "-1"], "workers is -1; expected an integer of at least 0"),
        (["--json", "no/such/folder.json"], "cannot be written"),
    ],
)
def test_a_wrong_use_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["limits", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("profile", "field", "told_as"),
    [
        ("detr", "class_loss.eos_coef", "an eos_coef of 0.1 is held to 1e-6"),
        ("deformable", "class_loss.alpha", "alpha of 0.1 to 1e-7"),
    ],
)
def test_what_is_given_up_for_numbers_that_float32_rounds_is_told(
    monkeypatch: pytest.MonkeyPatch, profile: str, field: str, told_as: str
) -> None:
    monkeypatch.setattr(ladder, "DTYPES", ("float64",))
    (subject,) = (item for item in resolve("reference") if item.profile.name == profile)
    (invariant,) = find_invariants("criterion.classification-value")
    fixed = replace(subject, limits=replace(subject.limits, fixed={field: 0.1}))
    (limit,) = (item for item in measured(invariant, fixed, examples=12) if item.term == "loss_ce")
    assert told_as in " ".join(catalogue().split())
    assert power_of_ten(limit.limits["float64"]) == told_as.rsplit(maxsplit=1)[-1]
