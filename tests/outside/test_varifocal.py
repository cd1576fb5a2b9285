"""A dialect from outside: a profile with a term of its own, in a file beside an adapter, is judged like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from criterion import DEFECTS, RIGHT, VarifocalCriterion, implementation
from judging import failure, share_fired
from varifocal import VARIFOCAL

from detr_spec.invariants import all_invariants

FILE = Path(__file__).parents[2] / "conformance" / "implementations" / "varifocal.py"
VALUE = "criterion.classification-value"
SLOPE = "gradients.classification"
APPLYING = [
    item.id
    for item in all_invariants()
    if item.applies(VARIFOCAL) and item.component in RIGHT.components and item.cost == 1
]


def test_a_dialect_is_one_readable_file() -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 80


@pytest.mark.parametrize("id", APPLYING)
def test_a_right_criterion_holds(id: str) -> None:
    assert failure(id, RIGHT, 10) is None


@pytest.mark.parametrize("id", [VALUE, SLOPE])
def test_it_is_no_empty_word(id: str) -> None:
    assert share_fired(id, RIGHT, 40) > 0.5


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(defect: Callable[..., VarifocalCriterion]) -> None:
    wrong = implementation(defect)
    asked = VALUE, SLOPE, "gradients.none-through-matching", "criterion.denominator"
    assert any(failure(name, wrong, 60) is not None for name in asked)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a project in which the dialect is installed, as packages register one."""
    for name in ("varifocal.py", "criterion.py"):
        source = FILE if name == FILE.name else Path(__file__).parent / name
        (tmp_path / name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    installed = tmp_path / "varifocal-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: varifocal\nVersion: 0.1\n", encoding="utf-8")
    entry = "[detr_spec.profiles]\nvarifocal = varifocal:VARIFOCAL\n"
    (installed / "entry_points.txt").write_text(entry, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `detr-spec` in a process of its own in that folder, whose modules and packages it finds."""
    where = os.pathsep.join([str(folder), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", "from detr_conformance.entry import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": where},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_its_vectors_are_written_and_replayed_and_its_pages_name_it(registered: Path) -> None:
    asked = ("--invariant", VALUE, "--examples", "60", "--vectors", "found", "--html", "page.html")
    found = run(registered, "check", "criterion.py:WRONG", *asked)
    assert found.returncode == 1, found.stderr
    (vector,) = (registered / "found").iterdir()
    assert json.loads(vector.read_text(encoding="utf-8"))["profile"]["class_loss"]["name"] == "own-varifocal"
    assert "varifocal" in (registered / "page.html").read_text(encoding="utf-8")
    assert run(registered, "replay", str(vector), "criterion.py:RIGHT").returncode == 0
    assert run(registered, "replay", str(vector), "criterion.py:WRONG").returncode == 1


MINE = """
import detr_reference as reference
from criterion import VarifocalCriterion


class Matcher(reference.HungarianMatcher):
    def __init__(self, cost_class=2, cost_bbox=5, cost_giou=2, focal_alpha=0.25, focal_gamma=2.0):
        super().__init__(cost_class, cost_bbox, cost_giou, class_cost=reference.focal_cost(focal_alpha, focal_gamma))


class Criterion(VarifocalCriterion):
    def __init__(self, num_classes, matcher, weight_dict, losses, focal_alpha=0.75, focal_gamma=2.0):
        super().__init__(num_classes, matcher, weight_dict, losses, focal_alpha, focal_gamma)
"""


@pytest.mark.thorough
def test_init_finds_it_where_it_is_registered(registered: Path) -> None:
    (registered / "mine.py").write_text(MINE, encoding="utf-8")
    found = run(registered, "init", "mine:Criterion")
    assert "Profile varifocal fits best" in found.stdout, found.stdout + found.stderr
    assert 'profile = named_profile("varifocal")' in (registered / "detr_spec_adapter.py").read_text(encoding="utf-8")
    told = run(registered, "check", "detr_spec_adapter.py:implementation", "--examples", "3", "-n", "0")
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_profile_that_cannot_be_imported_is_told_in_a_line(registered: Path) -> None:
    entry = "[detr_spec.profiles]\nvarifocal = a_module_that_is_gone:VARIFOCAL\n"
    (registered / "varifocal-0.1.dist-info" / "entry_points.txt").write_text(entry, encoding="utf-8")
    found = run(registered, "list")
    assert found.returncode == 2
    assert "the profile 'varifocal' that a_module_that_is_gone:VARIFOCAL registers cannot be imported" in found.stderr
    assert "Traceback" not in found.stderr
