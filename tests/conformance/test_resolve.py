"""Implementations are found by name, and each way of failing is one line that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.implementations.resolve import implementations, registered_names, resolve
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation

SOLVER = """
from detr_conformance import numpy_implementation
from scipy.optimize import linear_sum_assignment

ONE = numpy_implementation(name="one", solver=linear_sum_assignment)
TWO = [ONE, numpy_implementation(name="two", solver=linear_sum_assignment)]
EMPTY = []
NUMBER = 3
MIXED = [ONE, 3]

def made():
    return ONE

def several():
    return tuple(TWO)

def wrong():
    return "text"

def broken():
    raise RuntimeError("out of order")

def matcher(outputs, targets):
    return []

class Matcher:
    def __init__(self, weight=1):
        self.weight = weight
    def __call__(self, *arguments, **named):
        return []

MODULE = Matcher()
"""


@pytest.fixture(autouse=True)
def _path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def file(python_file: Callable[..., Path]) -> Path:
    return python_file("solver.py", SOLVER)


def refusal(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("attribute", "names"),
    [("ONE", ["one"]), ("TWO", ["one", "two"]), ("made", ["one"]), ("several", ["one", "two"])],
)
def test_a_file_gives_what_its_attribute_holds_or_returns(file: Path, attribute: str, names: list[str]) -> None:
    assert [item.name for item in resolve(f"{file}:{attribute}")] == names


def test_a_module_in_the_working_directory_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    file.rename(file.with_name("solver_in_folder.py"))
    assert resolve("solver_in_folder:ONE")[0].name == "one"


def test_a_file_may_import_its_neighbours_early_and_late(python_file: Callable[..., Path]) -> None:
    python_file("neighbour_early.py", "VALUE = 1")
    python_file("neighbour_late.py", "from scipy.optimize import linear_sum_assignment as solve")
    path = python_file(
        "with_neighbours.py",
        """
        import neighbour_early
        from detr_conformance import numpy_implementation
        def solver(cost):
            from neighbour_late import solve
            return solve(cost)
        ONE = numpy_implementation(name="one", solver=solver)
        """,
    )
    (item,) = resolve(f"{path}:ONE")
    solver = item.component("assignment")(Configuration(profile=item.profile))
    assert solver.solve(np.array([[1.0, 0.0]])).value.pairs() == [(0, 1)]


def test_registered_names_hold_the_reference_in_both_profiles() -> None:
    pytest.importorskip("torch")
    assert {"reference", "detr-spec-solver"} <= set(registered_names())
    assert [item.profile.name for item in resolve("reference")] == ["detr", "deformable"]


def test_the_solver_needs_no_framework() -> None:
    assert resolve("detr-spec-solver")[0].components == ("assignment",)


def test_an_unknown_name_lists_the_registered_ones() -> None:
    message = refusal("referense")
    assert "'referense'" in message
    assert "did you mean reference?" in message
    assert "detr-spec-solver" in message


def test_a_missing_file_is_named() -> None:
    assert refusal("no/such/file.py:X") == "no/such/file.py does not exist; expected a Python file"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "is a folder" in refusal(f"{tmp_path}:X")


def test_a_missing_module_is_named() -> None:
    assert "no module is called 'no_such_module'" in refusal("no_such_module.part:X")


def test_a_missing_part_of_a_package_is_named() -> None:
    assert "no module is called 'json.no_such_part'" in refusal("json.no_such_part:X")


def test_a_module_that_imports_what_is_missing_is_not_itself_called_missing(
    python_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = python_file("imports_missing.py", "x = 1\nimport no_such_module")
    monkeypatch.chdir(path.parent)
    message = refusal("imports_missing:X")
    assert message.startswith(
        "imports_missing cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert "imports_missing.py, line 2)" in message


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys\nsys.exit('stop')", "SystemExit: stop"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
        ("raise ValueError('first line\\nsecond line')", "ValueError: first line"),
    ],
)
def test_a_file_that_cannot_be_imported_says_why_and_where(
    python_file: Callable[..., Path], source: str, reason: str
) -> None:
    path = python_file("broken.py", source)
    message = refusal(f"{path}:X")
    assert f"{path} cannot be imported: {reason}" in message
    assert message.count("broken.py, line ") == 1


@pytest.mark.parametrize(
    "source",
    [
        "def __getattr__(name):\n    raise SystemExit(0)",
        "class Odd:\n    @property\n    def __class__(self):\n        raise SystemExit(0)\n\nX = Odd()",
        "class Odd:\n    @property\n    def __signature__(self):\n        raise SystemExit(0)\n"
        "    def __call__(self):\n        pass\n\nX = Odd()",
    ],
)
def test_what_ends_the_process_when_it_is_looked_at_is_refused(python_file: Callable[..., Path], source: str) -> None:
    path = python_file("odd.py", source)
    assert refusal(f"{path}:X").startswith(f"{path}:X cannot be found: SystemExit: 0 ({path}, line ")


def test_a_file_that_failed_is_imported_anew(python_file: Callable[..., Path]) -> None:
    path = python_file("mended.py", "1 / 0")
    refusal(f"{path}:ONE")
    path.write_text(SOLVER)
    assert resolve(f"{path}:ONE")[0].name == "one"


def test_a_missing_attribute_lists_close_names_and_implementations(file: Path) -> None:
    message = refusal(f"{file}:ONES")
    assert "has no attribute 'ONES'; did you mean ONE?" in message
    assert message.endswith("its implementations are ONE, TWO")


def test_a_path_without_attribute_lists_the_implementations(file: Path) -> None:
    assert refusal(str(file)).endswith(f"write {file}:ATTRIBUTE; it has ONE, TWO")


@pytest.mark.parametrize("name", [":X", "module:", "a b:X", "1x:Y"])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert "expected package.module:attribute or path/to/file.py:attribute" in refusal(name)


@pytest.mark.parametrize(
    ("attribute", "found"),
    [
        ("NUMBER", "of type int"),
        ("matcher", "a function with arguments (outputs, targets)"),
        ("Matcher", "Matcher() is of type Matcher"),
        ("MODULE", "MODULE is of type Matcher"),
        ("wrong", "() is of type str"),
        ("MIXED", "[1] is of type int"),
    ],
)
def test_a_wrong_attribute_says_what_was_found_and_how_to_wrap_it(file: Path, attribute: str, found: str) -> None:
    message = refusal(f"{file}:{attribute}")
    assert found in message
    assert "torch_implementation" in message


def test_an_empty_list_is_refused(file: Path) -> None:
    assert "EMPTY is empty" in refusal(f"{file}:EMPTY")


def test_a_callable_that_raises_says_what(file: Path) -> None:
    assert "broken() raised RuntimeError: out of order" in refusal(f"{file}:broken")


def test_objects_are_taken_as_they_are(right: Implementation) -> None:
    assert implementations([right], "it") == (right,)


@pytest.mark.parametrize("name", [None, 5, "", "\x1b[31m", "a\nb", "x" * 101, "\u202e"])
def test_what_is_no_name_is_refused_where_it_is_found(right: Implementation, name: Any) -> None:
    for given in (replace(right, name=name), replace(right, profile=replace(right.profile, name=name))):
        with pytest.raises(UsageError, match="expected text of 1 to 100 characters that are shown") as refusal:
            implementations([right, given], "it")
        assert "\n" not in str(refusal.value)
