"""The norm says what is true of the code: which field declares what, and which numbers decide without being derived."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

import detr_spec
from detr_spec.profiles import DETR

PACKAGE = Path(detr_spec.__file__).parent
NORM = (Path(__file__).parents[2] / "docs" / "norm.md").read_text(encoding="utf-8")
DECISIONS = NORM.partition("## 10.")[2]

FILES = [
    *sorted((PACKAGE / "invariants").glob("*.py")),
    *(PACKAGE / name for name in ("tolerance/reverse.py", "matching/assignment.py")),
]

ARITHMETIC = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.Dict, ast.operator, ast.unaryop, ast.expr_context)


def is_number(value: ast.expr) -> bool:
    """Whether an expression is a number, or several, written as such."""
    parts = list(ast.walk(value))
    constants = [part.value for part in parts if isinstance(part, ast.Constant)]
    return all(isinstance(part, ARITHMETIC) for part in parts) and any(
        isinstance(constant, (int, float)) and not isinstance(constant, bool) for constant in constants
    )


def named_numbers() -> Iterator[tuple[str, ast.expr]]:
    """The numbers that modules of invariants and allowances give a name, as module.NAME."""
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                targets, value = [node.target], node.value
            elif isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            else:
                continue
            for target in targets:
                if isinstance(target, ast.Name) and is_number(value):
                    yield f"{path.stem}.{target.id}", value


NUMBERS = dict(named_numbers())


@pytest.mark.parametrize("name", NUMBERS)
def test_each_named_number_stands_in_the_norm(name: str) -> None:
    assert f"`{name}`" in DECISIONS, f"say in section 10 of docs/norm.md what {name} decides and why, or derive it"


@pytest.mark.parametrize(("name", "value"), re.findall(r"^\| `(\w+\.\w+)` \| (\S+) \|", DECISIONS, re.MULTILINE))
def test_each_decision_of_the_norm_has_its_value(name: str, value: str) -> None:
    module, _, constant = name.partition(".")
    package = "detr_spec" if (PACKAGE / f"{module}.py").exists() else "detr_spec.invariants"
    base, raised, power = value.partition("⁻")
    exponent = -int(power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789"))) if raised else 1
    expected = float(base) ** exponent
    assert getattr(import_module(f"{package}.{module}"), constant) == pytest.approx(expected, rel=1e-12)


def test_the_norm_names_no_number_that_is_gone() -> None:
    modules = {path.stem for path in FILES}
    named = set(re.findall(r"`([a-z_]+\.[A-Z][A-Z_0-9]+)`", DECISIONS))
    assert {name for name in named if name.partition(".")[0] in modules} == set(NUMBERS)


def test_a_new_number_is_found() -> None:
    for source in ("2.0**-4", "(2, 6)", "{'float16': 8.0}", "-700.0"):
        assert is_number(ast.parse(source, mode="eval").body)
    for source in ("'word'", "set_cases(layers=(1, 2))", "True", "OTHER"):
        assert not is_number(ast.parse(source, mode="eval").body)


MARKS = [mark for mark in re.findall(r"\(p(:[^)]*)?\)", NORM) if mark != ": …"]


@pytest.mark.parametrize("mark", MARKS)
def test_each_mark_of_a_profile_names_fields_that_there_are(mark: str) -> None:
    fields = re.findall(r"`([a-z_.]+)`", mark)
    assert fields, f"(p{mark}) names no field of Profile; name it, or take the mark away"
    for field in fields:
        attrgetter(field)(DETR)


def test_the_marks_are_found() -> None:
    assert len(MARKS) > 15
