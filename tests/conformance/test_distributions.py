"""The two distributions, built: what each contains, and what it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
OPTIONAL = {"torchvision": "backbone", "numba": "fast", "cupy": "cuda13"}


class Wheel:
    """A wheel's files, and its metadata."""

    def __init__(self, project: Path, folder: Path) -> None:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
        (path,) = folder.glob("*.whl")
        with ZipFile(path) as archive:
            self.names = archive.namelist()
            (metadata,) = (name for name in self.names if name.endswith(".dist-info/METADATA"))
            self.metadata = Parser().parsestr(archive.read(metadata).decode())

    @property
    def packages(self) -> set[str]:
        """What can be imported of it."""
        return {name.partition("/")[0] for name in self.names if ".dist-info/" not in name}

    def needs(self, extra: str = "") -> set[str]:
        """The names of the packages that it needs, or that an extra adds, each with the extras asked of it."""
        given = [one.partition(";") for one in self.metadata.get_all("Requires-Dist", [])]
        marker = f"extra == '{extra}'" if extra else ""
        return {name.strip() for name, _, condition in given if condition.strip() == marker}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    return Wheel(ROOT / "reference", tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    return Wheel(ROOT, tmp_path_factory.mktemp("suite"))


def test_training_code_can_install_the_reference_alone(reference: Wheel) -> None:
    assert reference.packages == {"detr_reference", "detr_accelerated"}
    assert {name.partition(">")[0] for name in reference.needs()} == {"numpy", "scipy", "torch"}
    sources = {name.rpartition("/")[2] for name in reference.names}
    assert {"criterion.cu", "formulas.cu", "lsap.cu", "LICENSE"} <= sources


def test_the_reference_imports_what_it_needs_and_nothing_else(reference: Wheel) -> None:
    imported = set()
    for name in reference.names:
        if name.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / "reference" / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    imported.add(str(node.module).partition(".")[0])
    others = imported - sys.stdlib_module_names - reference.packages
    assert others == {"numpy", "scipy", "torch", "numba", "torchvision"}
    for name, extra in OPTIONAL.items():
        assert any(need.startswith(name) for need in reference.needs(extra))


def test_the_suite_brings_the_reference_with_torch_and_has_none_of_it(suite: Wheel, reference: Wheel) -> None:
    assert suite.packages == {"detr_spec", "detr_conformance"}
    assert not any(name.startswith(("torch", "detr")) for name in suite.needs())
    name, version = reference.metadata["Name"], reference.metadata["Version"]
    assert suite.metadata["Version"] == version
    assert suite.needs("torch") == {f"{name}[backbone]=={version}"}
    for extra in ("fast", "cuda12", "cuda13"):
        assert suite.needs(extra) == {f"{name}[{extra}]=={version}"}


def test_the_suite_has_its_data(suite: Wheel) -> None:
    names = {name.removeprefix("detr_conformance/") for name in suite.names}
    assert {"data/detection_limits.json", "schemas/vector.schema.json", "mutants/bank/boxes.toml"} <= names
    assert {"reports/templates/page.html", "adoption/templates/adapter.py.jinja"} <= names
