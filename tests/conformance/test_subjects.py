"""Each adapter of a package is judged in an environment whose packages are pinned, and stands in the table."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from detr_conformance.ledger.reading import read_ledger

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "conformance" / "implementations"
ADAPTERS = sorted(path for path in FOLDER.glob("*.py") if re.search(r"^IMPLEMENTATIONS? =", path.read_text(), re.M))
BESIDE = ("accelerate", "opencv-python-headless", "scikit-learn", "setuptools")
"""What subjects need to be asked, and is none."""
REQUIREMENTS = sorted((FOLDER / "requirements").glob("*.txt"))


def tox() -> configparser.ConfigParser:
    """What tox is told."""
    told = configparser.ConfigParser(interpolation=None)
    told.read(ROOT / "tox.ini")
    return told


def environments() -> dict[str, configparser.SectionProxy]:
    """The environments that judge subjects, by their names."""
    told = tox()
    (label,) = re.findall(r"^subjects = (.*)$", told["tox"]["labels"], re.M)
    names = re.split(r"[,\s]+", label)
    return {name: told[f"testenv:{name}"] for name in names}


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda path: path.stem)
def test_an_adapter_is_judged_with_its_ledger(adapter: Path) -> None:
    commands = [told["commands"].split() for told in environments().values()]
    (judging,) = [words for words in commands if any(word.startswith(f"{adapter.name}:") for word in words)]
    assert (f"{adapter.stem}.toml" in judging) == adapter.with_suffix(".toml").is_file()


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=lambda path: path.stem)
def test_packages_are_pinned_and_installed_by_one_command(requirements: Path) -> None:
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in requirements.read_text().splitlines())
    named = f"requirements/{requirements.name}"
    assert any(named in section.get("deps", "") for section in tox().values())


def test_the_table_of_subjects_names_every_pin() -> None:
    table = (ROOT / "docs" / "subjects.md").read_text()
    for requirements in REQUIREMENTS:
        for line in requirements.read_text().splitlines():
            name, _, version = line.partition("==")
            stem = name.removesuffix("-opencv-headless")
            if requirements.stem != "bench" and name not in BESIDE:
                assert re.search(rf"\| *[^|]*\b{stem} {re.escape(version)}", table), line


@pytest.mark.parametrize("ledger", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_a_ledger_can_be_read_and_has_reasons(ledger: Path) -> None:
    assert read_ledger(ledger).entries
