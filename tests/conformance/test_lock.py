"""A lock says what moved, by how much, and tells what is right but different from what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from samples import record

from detr_conformance import numpy_implementation
from detr_conformance.base.errors import UsageError
from detr_conformance.commands.command_line import run
from detr_conformance.lock.answers import numbers_of
from detr_conformance.lock.comparing import compared, moves_between, unit_in_last_place
from detr_conformance.lock.recording import LockedAnswer, lock_text, parsed_lock, recorded
from detr_conformance.lock.schema import lock_schema
from detr_conformance.vectors.places import Place
from detr_conformance.vectors.validation import schema_text
from detr_spec import boxes
from detr_spec.values import Detections, Floats, LayerGradient, Losses, LossGradients, Matching

HERE = Place("here")


def boxes_with(change: Callable[[Floats], Floats], name: str = "boxes") -> object:
    """Box operations in float64 whose GIoU is changed."""

    def giou(first: Floats, second: Floats) -> Floats:
        if not (boxes.is_valid(first) and boxes.is_valid(second)):
            raise ValueError("no boxes")
        return change(boxes.giou(first, second))

    return numpy_implementation(name=name, boxes={"giou": giou})


def nothing(giou: Floats) -> Floats:
    return giou


def one_ulp(giou: Floats) -> Floats:
    """Within what rounding in float64 or float32 may do."""
    return np.nextafter(giou, 0).astype(giou.dtype)


def twice(giou: Floats) -> Floats:
    return 2 * giou


@pytest.fixture(scope="module")
def text() -> str:
    """The lock of box operations."""
    return lock_text(recorded([boxes_with(nothing)], "cpu", 0.0))  # type: ignore[list-item]


def test_what_computes_the_same_has_moved_nothing(text: str) -> None:
    found = compared(parsed_lock(text, HERE), [boxes_with(nothing)], device="cpu")  # type: ignore[list-item]
    assert (found.beyond, found.within, found.exit_code) == ((), 0, 0)
    assert found.compared > 20


def test_what_is_right_but_different_is_told_with_its_distance(text: str) -> None:
    found = compared(parsed_lock(text, HERE), [boxes_with(one_ulp)], device="cpu")  # type: ignore[list-item]
    assert found.exit_code == 1
    assert found.beyond
    assert not any(moved.violated for moved in found.beyond)
    assert all(0 < move.ulps <= 2 for moved in found.beyond for move in moved.moves)
    assert found.beyond[0].moves[0].name.startswith("giou[")


def test_what_moves_within_the_tolerance_passes(text: str) -> None:
    lock = replace(parsed_lock(text, HERE), ulps=2.0)
    found = compared(lock, [boxes_with(one_ulp)], device="cpu")  # type: ignore[list-item]
    assert (found.beyond, found.exit_code) == ((), 0)
    assert found.within > 0


def test_what_is_wrong_is_told_apart(text: str) -> None:
    found = compared(parsed_lock(text, HERE), [boxes_with(twice)], device="cpu")  # type: ignore[list-item]
    assert "boxes.giou-definition" in {name for moved in found.beyond for name in moved.violated}


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"a": [0.0]}, {"a": [-0.0]}, ("a[0]", 0.0)),
        ({"a": [1.0]}, {"a": [1.0 + 2**-52]}, ("a[0]", 1.0)),
        ({"a": [1.0]}, {"a": [float("nan")]}, ("a[0]", np.inf)),
        ({"a": [1.0]}, {"a": [1.0, 2.0]}, ("a", np.inf)),
        ({"a": [1.0]}, {"b": [1.0]}, ("a", np.inf)),
    ],
)
def test_a_move_is_measured(
    before: dict[str, list[float]], now: dict[str, list[float]], told: tuple[str, float]
) -> None:
    answers = [
        LockedAnswer("v", {name: np.array(numbers) for name, numbers in given.items()}) for given in (before, now)
    ]
    first = moves_between(*answers, "float64")[0]
    assert (first.name, first.ulps) == told


def test_an_answer_that_raises_has_moved() -> None:
    (move,) = moves_between(LockedAnswer("v"), LockedAnswer("v", raised="ValueError"), "float32")
    assert (move.before, move.now) == ("answered", "raised ValueError")
    assert not moves_between(LockedAnswer("v", raised="ValueError"), LockedAnswer("v", raised="ValueError"), "float32")


@pytest.mark.parametrize(
    ("number", "dtype", "unit"),
    [(1.0, "float64", 2.0**-52), (1.5, "float32", 2.0**-23), (4.0, "float16", 2.0**-8), (0.0, "float64", 5e-324)],
)
def test_a_unit_in_the_last_place_is_that_of_the_dtype(number: float, dtype: str, unit: float) -> None:
    assert unit_in_last_place(number, dtype) == unit


def test_a_lock_of_something_else_is_refused(text: str) -> None:
    lock = parsed_lock(text, HERE)
    with pytest.raises(UsageError, match=r"others \(detr\) is not in the lock, which holds boxes \(detr\)"):
        compared(lock, [boxes_with(nothing, "others")], device="cpu")  # type: ignore[list-item]
    with pytest.raises(UsageError, match="recorded on 'cpu', and 'cuda' is asked for"):
        compared(lock, [boxes_with(nothing)], device="cuda")  # type: ignore[list-item]
    with pytest.raises(UsageError, match="here: it is of the vectors of detr-spec"):
        parsed_lock(text.replace(lock.vectors, "0" * 16), HERE)
    with pytest.raises(UsageError, match='here: no field is called "colour"'):
        parsed_lock(text.replace('"ulps"', '"colour": 1, "ulps"'), HERE)
    with pytest.raises(UsageError, match=r"here, at /ulps: found -1\.0; expected a number of at least 0"):
        parsed_lock(text.replace('"ulps": 0.0', '"ulps": -1.0'), HERE)
    with pytest.raises(UsageError, match="ulps is nan; expected a number of at least 0"):
        recorded([], "cpu", float("nan"))


def test_the_published_schema_is_that_of_the_values() -> None:
    assert json.loads(schema_text("lock")) == lock_schema(), "renew it: detr-spec vectors schema lock"


@pytest.mark.parametrize("kind", [Detections, LayerGradient, LossGradients, Losses, Matching])
def test_every_field_of_an_answer_is_locked(kind: type) -> None:
    paths = " ".join(path for path, _ in numbers_of(record(kind), "answer"))
    for field in fields(kind):
        assert f"answer.{field.name}" in paths


def test_the_paths_to_numbers_are_those_of_python() -> None:
    found = LossGradients(Losses({"loss_ce": 1.0}), 2.0, (LayerGradient(np.zeros(1), None),), denoising=None)
    assert [path for path, _ in numbers_of(found)] == ["losses.values[loss_ce]", "total", "layers[0].logits"]


SUBJECT = """
from detr_conformance import numpy_implementation
from scipy.optimize import linear_sum_assignment

def other(cost):
    rows, columns = linear_sum_assignment(-cost if {wrong} else cost[:, ::-1])
    return rows, columns if {wrong} else cost.shape[1] - 1 - columns

RIGHT = numpy_implementation(name="solver", solver=linear_sum_assignment)
SAME = numpy_implementation(name="solver", solver=other)
"""


def test_the_commands_lock_and_compare(
    python_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = python_file("solvers.py", SUBJECT.replace("{wrong}", "False"))
    lock = str(tmp_path / "lock.json")
    assert run(["lock", f"{path}:RIGHT", "--file", lock]) == 0
    assert "answers locked in" in capsys.readouterr().out
    how = ["--invariant", "assignment.valid-pairs", "--examples", "2", "-n", "0", "--lock", lock]
    assert run(["check", f"{path}:RIGHT", *how]) == 0
    assert "0 answers moved by more than 0 ulps" in capsys.readouterr().out
    assert run(["check", f"{path}:SAME", *how]) == 1
    out = capsys.readouterr().out
    assert "right but different: assignment.jsonl, line" in out
    assert "WRONG" not in out
    wrong = python_file("wrong.py", SUBJECT.replace("{wrong}", "True"))
    assert run(["check", f"{wrong}:SAME", *how]) == 1
    assert "WRONG, violates assignment." in capsys.readouterr().out
    assert run(["check", f"{path}:RIGHT", "--lock", str(path)]) == 2
    assert "no JSON" in capsys.readouterr().err
