"""The three lines that a third party adds, run by a pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.commands.pytest_tests import _options

THREE_LINES = """
from detr_conformance import conformance_tests
from subjects import {name}
test_conformance = conformance_tests({name})
"""

SHOWN = ("-p", "no:cacheprovider", "-rA", "--no-header")


@pytest.fixture
def pytest_on(subjects: Path, python_file: Callable[..., Path]) -> Callable[..., str]:
    """Runs pytest on the three lines for one of the subjects, and gives its output."""

    def run(name: str, *options: str, lines: str = THREE_LINES) -> str:
        python_file("test_mine.py", lines.format(name=name))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *SHOWN, *options, "test_mine.py"],
            cwd=subjects.parent,
            env={**os.environ, "PYTHONPATH": str(subjects.parent)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout + done.stderr

    return run


def test_each_invariant_is_an_item_that_passes_or_is_skipped(pytest_on: Callable[..., str]) -> None:
    output = pytest_on("RIGHT", "--detr-spec-examples=3", "-k", "assignment.valid-pairs or matcher.valid-pairs")
    assert "PASSED test_mine.py::test_conformance[assignment.valid-pairs]" in output
    assert "not provided: right provides no matcher" in output
    assert "1 passed, 1 skipped" in output


def test_a_violation_fails_with_the_case_and_no_traceback(pytest_on: Callable[..., str]) -> None:
    output = pytest_on("GREEDY", "--detr-spec-seed=4", "-k", "assignment.valid-pairs")
    assert "FAILED test_mine.py::test_conformance[assignment.valid-pairs]" in output
    assert "VIOLATED: assignment.valid-pairs (S1, MUST), greedy (detr)" in output
    assert "cost matrix 0" in output
    again = "pytest 'test_mine.py::test_conformance[assignment.valid-pairs]'"
    assert f"{again} --detr-spec-seed 4 --detr-spec-examples 30" in output
    assert "pytest_tests.py" not in output.partition("short test summary")[0]
    assert "def " not in output


def test_items_are_shared_among_processes(pytest_on: Callable[..., str]) -> None:
    pytest.importorskip("xdist")
    output = pytest_on("BOTH", "-n", "2", "--detr-spec-examples=2", "-k", "assignment")
    assert "PASSED test_mine.py::test_conformance[detr-assignment.valid-pairs]" in output
    assert "PASSED test_mine.py::test_conformance[deformable-assignment.valid-pairs]" in output
    assert "failed" not in output


def test_the_arguments_choose_and_known_violations_are_expected_failures(
    pytest_on: Callable[..., str], ledger_of: Callable[..., Path]
) -> None:
    ledger_of("greedy", "assignment.valid-pairs")
    lines = THREE_LINES.replace(
        "conformance_tests({name})",
        "conformance_tests({name}, invariants=['assignment.valid-pairs'], ledger=['ledger.toml'])",
    )
    output = pytest_on("GREEDY", lines=lines)
    assert "1 xfailed" in output
    assert "it repeats columns" in output


def test_an_option_names_a_ledger(pytest_on: Callable[..., str], ledger_of: Callable[..., Path]) -> None:
    path = ledger_of("greedy", "assignment.valid-pairs")
    narrowed = THREE_LINES.replace("({name})", "({name}, invariants=['assignment.valid-pairs'])")
    output = pytest_on("RIGHT", f"--detr-spec-ledger={path}", lines=narrowed)
    assert "ledger.toml, line 4: greedy is not among those checked, which are right (detr)" in output


def test_a_vacuous_invariant_does_not_pass(pytest_on: Callable[..., str]) -> None:
    lines = (
        THREE_LINES
        + """
import dataclasses
from detr_conformance.commands import pytest_tests
from detr_conformance.base import verdict
pytest_tests.judge_listed = lambda *arguments, judge=pytest_tests.judge_listed, **named: dataclasses.replace(
    judge(*arguments, **named), verdict=verdict.Verdict.VACUOUS, message="no case met the premise")
"""
    )
    output = pytest_on("RIGHT", "-k", "assignment.valid-pairs", "--detr-spec-examples=1", lines=lines)
    assert "vacuous: no case met the premise" in output
    assert "1 skipped" in output


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("detr_spec_examples=0", "examples is 0; expected an integer of at least 1"),
        ("detr_spec_seed=many", "seed is 'many'; expected an integer or 'random'"),
    ],
)
def test_a_wrong_option_is_named(
    pytestconfig: pytest.Config, option: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = option.partition("=")
    monkeypatch.setattr(pytestconfig.option, name, type(getattr(pytestconfig.option, name))(value))
    with pytest.raises(UsageError, match=told):
        _options(pytestconfig)


def test_it_works_where_plugins_are_not_loaded(pytest_on: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert "1 passed" in pytest_on("RIGHT", "-k", "assignment.valid-pairs")
