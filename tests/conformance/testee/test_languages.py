"""Testees in other interpreters and languages are judged as any implementation is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_conformance import Report, check
from detr_conformance.base.verdict import Verdict

ROOT = Path(__file__).parents[3]
TESTEES = ROOT / "conformance" / "implementations" / "testees"
LIBRARY = ROOT / "conformance" / "detr_conformance" / "testee"
TRANSFORMERS_JS = os.environ.get("DETR_SPEC_TRANSFORMERS_JS", "")

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no program node")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no program g++")

OTHER_PYTHON = os.environ.get("DETR_SPEC_OTHER_PYTHON", "")
needs_other_python = pytest.mark.skipif(
    shutil.which(OTHER_PYTHON) is None, reason="DETR_SPEC_OTHER_PYTHON names no interpreter with NumPy, 3.8 or newer"
)

Verdicts = dict[str, Verdict]


def verdicts(report: Report) -> Verdicts:
    (item,) = report.implementations
    return {judgement.id: judgement.verdict for judgement in item.judgements}


def verdicts_of(address: str, **chosen: Any) -> Verdicts:
    """The verdicts that say something, by invariant."""
    found = verdicts(check(address, **{"examples": 4, **chosen}))
    nothing = (Verdict.NOT_PROVIDED, Verdict.NOT_APPLICABLE)
    return {name: verdict for name, verdict in found.items() if verdict not in nothing}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The name of the C++ testee after a change of its source."""

    def build(name: str, old: str = "", new: str = "") -> str:
        folder = tmp_path_factory.mktemp("cpp")
        source = (TESTEES / "boxes_and_assignment.cpp").read_text()
        assert old in source
        (folder / f"{name}.cpp").write_text(source.replace(old, new) if old else source)
        command = [
            "g++",
            "-std=c++17",
            "-O0",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            folder / name,
            folder / f"{name}.cpp",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return f"process:{folder / name}"

    return build


@needs_compiler
def test_a_testee_in_cpp_holds_what_it_provides(compiled: Callable[..., str]) -> None:
    found = verdicts_of(compiled("right"), examples=6)
    assert len(found) >= 42
    assert set(found.values()) == {Verdict.HOLDS}


@needs_compiler
def test_a_defect_in_cpp_is_found(compiled: Callable[..., str]) -> None:
    address = compiled("wrong", "- (enclosing - together) / enclosing", "- (enclosing - together)")
    assert verdicts_of(address, invariants=["boxes.giou-definition"], examples=20) == {
        "boxes.giou-definition": Verdict.VIOLATED
    }


@needs_node
def test_a_testee_in_javascript_holds_what_it_provides() -> None:
    found = verdicts_of(f"process:node {TESTEES / 'detections.mjs'}")
    assert len(found) >= 15
    assert set(found.values()) == {Verdict.HOLDS}


@needs_node
def test_a_defect_in_javascript_is_found(tmp_path: Path) -> None:
    shutil.copy(TESTEES / "detr_testee.mjs", tmp_path)
    source = (TESTEES / "detections.mjs").read_text()
    swapped = source.replace("[height, width])", "[width, height])")
    assert swapped != source
    (tmp_path / "swapped.mjs").write_text(swapped)
    found = verdicts_of(f"process:node {tmp_path / 'swapped.mjs'}", invariants=["P2"], examples=20)
    assert found["postprocess.pixels-of-each-axis"] is Verdict.VIOLATED


@needs_node
@pytest.mark.skipif(
    not (Path(TRANSFORMERS_JS) / "node_modules" / "@huggingface" / "transformers").exists(),
    reason="DETR_SPEC_TRANSFORMERS_JS names no folder into which npm has installed @huggingface/transformers",
)
def test_transformers_js_violates_what_is_known_and_nothing_else() -> None:
    address = f"process:node {TESTEES / 'transformers_js.mjs'} {TRANSFORMERS_JS}"
    found = verdicts_of(address, ledger=[TESTEES / "transformers_js.toml"], examples=20)
    for name in ("threshold", "broken-scores", "no-score-passes"):
        assert found.pop(f"postprocess.{name}") is Verdict.EXPECTED_VIOLATION
    assert set(found.values()) == {Verdict.HOLDS}


NUMPY_TESTEE = """
import sys

print("nothing that is printed disturbs the messages", file=sys.stderr)
import numpy as np
from detr_testee import numpy_testee, serve


def corners(boxes):
    print("not even from here")
    centre, size = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([centre - size / 2, centre + size / 2], -1)


def shifting(boxes):
    boxes[:, :2] += boxes[:, 2:] / 2
    return boxes


def first(cost):
    if not np.isfinite(cost).all():
        raise ValueError("a cost is not finite")
    best = min(cost.shape)
    return np.arange(best), np.arange(best)


name = "numpy on Python {}.{}".format(*sys.version_info)
boxes = {"cxcywh_to_xyxy": corners, "xyxy_to_cxcywh": shifting}
profile = {"name": "mine", "boxes": {"invalid": "unchecked"}}
serve(numpy_testee(name=name, profile=profile, limits={"dtypes": ["float32"]}, boxes=boxes, solver=first))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that has NumPy and nothing else."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/*/site-packages")
    for part in ("numpy", "numpy.libs"):
        installed = Path(np.__file__).parents[1] / part
        if installed.exists():
            (packages / part).symlink_to(installed)
    return folder / "bin" / "python"


def test_the_environment_has_nothing_else(environment: Path) -> None:
    for module, status in (("numpy", 0), ("scipy", 1), ("hypothesis", 1)):
        done = subprocess.run([environment, "-I", "-c", f"import {module}"], capture_output=True, check=False)
        assert done.returncode == status


@pytest.mark.parametrize("python", ["", pytest.param(OTHER_PYTHON, marks=needs_other_python)], ids=["venv", "other"])
def test_a_numpy_testee_is_judged_on_what_it_does(
    python: str, environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "numpy_testee.py"
    path.write_text(NUMPY_TESTEE)
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY))
    chosen = ["B1", "boxes.inputs-unchanged", "boxes.nan-refused", "assignment.valid-pairs", "S2", "S7"]
    report = check(f"process:{python or environment} {path}", invariants=chosen, examples=10)
    found = verdicts(report)
    assert found["boxes.cxcywh-to-xyxy"] is Verdict.HOLDS
    assert found["boxes.inputs-unchanged"] is Verdict.VIOLATED
    assert found["boxes.nan-refused"] is Verdict.NOT_APPLICABLE
    assert found["assignment.valid-pairs"] is Verdict.HOLDS
    assert found["assignment.optimal-total"] is Verdict.VIOLATED
    assert found["assignment.nan-refused"] is Verdict.HOLDS
    (item,) = report.implementations
    assert item.dtypes == ("float32",)
    assert item.profile == "mine"


def test_a_torch_testee_is_judged_on_all_that_the_library_provides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY))
    found = verdicts_of(
        f"process:{sys.executable} {TESTEES / 'old_torch_losses.py'}",
        invariants=["B9", "M1", "M14", "A1", "G2", "G5", "C17", "C18", "P5", "P10"],
        examples=2,
    )
    assert len(found) > 20
    assert set(found.values()) == {Verdict.HOLDS}


def test_the_library_is_valid_in_python_3_8() -> None:
    import ast

    ast.parse((LIBRARY / "detr_testee.py").read_text(), feature_version=(3, 8))
