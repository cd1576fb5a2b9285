"""Two implementations are asked the same: what moved is told, who is right, and where the norm is silent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.commands.command_line import run
from detr_conformance.comparing.comparison import Change, Comparison, Right, compared, differences
from detr_conformance.comparing.numbers import digest, numbers_of, part_of, with_part
from detr_conformance.comparing.show import as_markdown
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_conformance.mutants.patch import mutant_implementations
from detr_conformance.vectors.reading import read_vectors
from detr_spec.implementation import Implementation, with_functions
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.values import Losses, Matching

REFERENCE = IMPLEMENTATIONS[0]

ADAPTERS = """
from dataclasses import replace
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_spec.implementation import with_functions

right = replace(IMPLEMENTATIONS[0], name="right")

def halved(name, function):
    def call(*arguments):
        answer = function(*arguments)
        values = {key: value / (2 if key == "loss_bbox" else 1) for key, value in answer.value.values.items()}
        return replace(answer, value=replace(answer.value, values=values))
    return call

wrong = replace(right, name="wrong", criterion=lambda asked: with_functions(right.criterion(asked), halved))
both = [right, replace(right, name="again")]
"""


def mutant(name: str) -> Implementation:
    (found,) = (item for item in mutant_implementations(name) if item.profile.name == "detr")
    return found


def asked(first: Implementation, second: Implementation, *names: str, examples: int = 5) -> Comparison:
    invariants = [item for name in names for item in find_invariants(name)]
    return compared(first, second, invariants, examples=examples, seed=0, device="cpu")


def changes(found: Comparison) -> dict[str, Change]:
    return {item.first.id: item.change for item in found.invariants}


def changed_losses(name: str, change: Any) -> Implementation:
    """The reference, whose criterion's losses are changed, as a dictionary."""

    def wrap(_: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            answer = function(*arguments)
            return replace(answer, value=replace(answer.value, values=change(dict(answer.value.values))))

        return call

    assert REFERENCE.criterion is not None
    build = REFERENCE.criterion
    return replace(REFERENCE, name=name, criterion=lambda configuration: with_functions(build(configuration), wrap))


def test_what_is_one_and_the_same_is_alike_bit_for_bit() -> None:
    found = asked(REFERENCE, replace(REFERENCE, name="again"), "criterion.l1-value", "matcher.optimal-cost")
    assert set(changes(found).values()) == {Change.NONE}
    assert found.moved == ()
    assert found.calls > 10
    assert not found.is_worse


@pytest.mark.parametrize("mended", [False, True])
def test_a_defect_is_broken_and_its_mending_mended(mended: bool) -> None:
    both = [REFERENCE, mutant("cardinality-signed")]
    first, second = reversed(both) if mended else both
    found = asked(first, second, "criterion.cardinality-value", "criterion.l1-value", examples=20)
    assert changes(found) == {
        "criterion.cardinality-value": Change.MENDED if mended else Change.BROKEN,
        "criterion.l1-value": Change.NONE,
    }
    (moved,) = found.moved
    assert (moved.component, moved.part) == ("criterion", "cardinality_error")
    assert moved.right is (Right.SECOND if mended else Right.FIRST)
    assert moved.accused == {"criterion.cardinality-value"}
    assert found.is_worse is not mended


def test_what_is_wrong_in_both_is_neither_mended_nor_broken() -> None:
    wrong = mutant("cardinality-signed")
    found = asked(wrong, replace(wrong, name="again"), "criterion.cardinality-value", examples=20)
    assert set(changes(found).values()) == {Change.WRONG_IN_BOTH}
    assert not found.is_worse


def test_another_way_of_rounding_is_right_in_both() -> None:
    def last_digit(values: dict[str, float]) -> dict[str, float]:
        return values | {"loss_giou": float(np.nextafter(values["loss_giou"], np.inf))}

    found = asked(REFERENCE, changed_losses("rounded", last_digit), "criterion.giou-value", "criterion.l1-value")
    assert set(changes(found).values()) == {Change.NONE}
    (moved,) = found.moved
    assert (moved.part, moved.right) == ("loss_giou", Right.BOTH)
    assert all(apart.absolute < 1e-15 for apart in moved.dtypes.values())


def test_what_no_invariant_speaks_of_is_said_to_be_so() -> None:
    first = changed_losses("first", lambda values: values | {"note": 1.0})
    second = changed_losses("second", lambda values: values | {"note": 2.0})
    found = asked(first, second, "criterion.l1-value")
    (moved,) = found.moved
    assert (moved.part, moved.right) == ("note", Right.SILENT)


def test_what_is_no_longer_provided_is_worse() -> None:
    found = asked(REFERENCE, replace(REFERENCE, name="less", matcher=None), "matcher.optimal-cost")
    assert changes(found) == {"matcher.optimal-cost": Change.LOST}
    assert found.is_worse


def test_the_smallest_case_is_left_as_a_vector(tmp_path: Path) -> None:
    found = asked(REFERENCE, mutant("cardinality-signed"), "criterion.cardinality-value", examples=20)
    (moved,) = found.moved
    file = tmp_path / "case.json"
    file.write_text(json.dumps(moved.case))
    (placed,) = read_vectors(file)
    assert placed.vector.invariants == ("criterion.cardinality-value",)
    assert placed.vector.case.outputs.queries <= 3


def test_dtypes_that_one_does_not_declare_are_not_asked() -> None:
    narrow = replace(REFERENCE, name="narrow", limits=REFERENCE.limits.with_dtypes({"criterion": ("float32",)}))
    found = asked(REFERENCE, narrow, "criterion.l1-value")
    assert set(found.invariants[0].first.dtypes) == {"float32"}
    none = replace(REFERENCE, name="none", limits=REFERENCE.limits.with_dtypes({"criterion": ("float64",)}))
    with pytest.raises(UsageError, match="declare no dtype of criterion in common"):
        asked(narrow, none, "criterion.l1-value")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "defect", ["giou-loss-flat-sides-1e-6", "cross-entropy-log-of-softmax", "l1-cost-in-float32"], ids=str
)
def test_a_defect_breaks_invariants_of_what_it_moves_alone(defect: str) -> None:
    wrong = mutant(defect)
    invariants = [item for item in all_invariants() if item.component in ("criterion", "boxes", "matcher")]
    found = compared(REFERENCE, wrong, invariants, examples=10, seed=0, device="cpu", smallest=False)
    assert not any(change is Change.MENDED for change in changes(found).values())
    broken = {item.first.component for item in found.invariants if item.change is Change.BROKEN}
    assert broken <= {item.component for item in found.moved}


# The numbers of a value


def test_numbers_have_places_and_parts() -> None:
    losses = Losses({"loss_ce": 1.0, "loss_ce_10": 2.0}, matchings=((Matching(np.arange(2), np.arange(2)),),))
    places = [place for place, _ in numbers_of(losses)]
    assert places == [
        ".values.loss_ce", ".values.loss_ce_10", ".matchings[0][0].queries", ".matchings[0][0].targets",
    ]  # fmt: skip
    assert [part_of(place) for place in places] == ["loss_ce", "loss_ce_i", "matchings.queries", "matchings.targets"]
    assert part_of("") == "answer"


def test_a_part_is_changed_alone() -> None:
    losses = Losses({"loss_ce": 1.0, "loss_bbox": 2.0})
    changed = with_part(losses, "loss_ce", lambda numbers: numbers + 1)
    assert changed.values == {"loss_ce": 2.0, "loss_bbox": 2.0}
    assert losses.values["loss_ce"] == 1.0


def test_digests_tell_numbers_shapes_and_dtypes_apart() -> None:
    given = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, dtype=np.int64), np.ones(4), {"a": np.zeros(4)}]
    assert len({digest(value) for value in given}) == len(given)
    assert digest((np.zeros(4),)) == digest([np.zeros(4)])


def test_differences_of_what_is_not_finite_or_of_another_shape_have_no_size() -> None:
    nan, one = np.array([np.nan, 1.0]), np.array([1.0, 1.0])
    assert differences({"a": nan}, {"a": nan.copy()}) == {}
    for first, second in (({"a": nan}, {"a": one}), ({"a": one}, {"a": one[:1]}), ({"a": one}, {})):
        assert np.isnan(differences(first, second)["a"]).all()
    assert differences({"a": one}, {"a": one * 2})["a"] == (1.0, 0.5)


# The command


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    path = tmp_path / "adapters.py"
    path.write_text(ADAPTERS)
    return path


@pytest.mark.parametrize("isolate", [False, True])
def test_the_command_is_a_gate(
    adapters: Path, tmp_path: Path, isolate: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{adapters}:{name}" for name in ("right", "wrong")]
    options = ["--invariant", "criterion.l1-value", "--examples", "3", *(["--isolate"] if isolate else [])]
    files = ["--json", str(tmp_path / "found.json"), "--markdown", str(tmp_path / "found.md")]
    assert run(["compare", *names, *options, *files]) == 1
    (document,) = json.loads((tmp_path / "found.json").read_text())["comparisons"]
    assert document["is_worse"]
    assert [item["change"] for item in document["invariants"]] == ["broken"]
    assert {item["part"]: item["right"] for item in document["moved"]} == {"loss_bbox": "right in the first"}
    assert "| broken | criterion.l1-value |" in (tmp_path / "found.md").read_text()
    assert "right and wrong (detr)" in capsys.readouterr().out
    assert run(["compare", *reversed(names), *options]) == 0


def test_names_of_other_dialects_or_of_several_are_refused(adapters: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, both = f"{adapters}:right", f"{adapters}:both"
    assert run(["compare", right, "detr_conformance.implementations.dialects.rt_detr:IMPLEMENTATIONS"]) == 2
    assert "expected two of one dialect" in capsys.readouterr().err
    assert run(["compare", right, both]) == 2
    assert "several implementations of detr; name one of them" in capsys.readouterr().err


def test_tables_of_markdown_keep_their_cells() -> None:
    found = asked(REFERENCE, replace(REFERENCE, name="a|b"), "boxes.cxcywh-to-xyxy", examples=2)
    assert "a\\|b" in as_markdown([found])
