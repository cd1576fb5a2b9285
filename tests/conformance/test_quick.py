"""A quick look replays a kept vector of each invariant, and asks some about fresh cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detr_conformance.commands.command_line import run

SWAPPED = """
from detr_conformance import torch_implementation
from detr_reference import HungarianMatcher

class Swapped(HungarianMatcher):
    def forward(self, outputs, targets):
        return [(second, first) for first, second in super().forward(outputs, targets)]

implementation = torch_implementation(
    name="swapped", profile="detr", matcher=lambda asked: Swapped(*asked.cost_weights))
"""


def looked(folder: Path, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code of a quick look, and its judgements by id."""
    report = folder / "report.json"
    code = run(["check", *arguments, "--quick", "--json", str(report)])
    (item,) = json.loads(report.read_text())["implementations"]
    return code, {found["id"]: found for found in item["invariants"]}


def test_a_right_implementation_is_seen_to_hold(tmp_path: Path) -> None:
    code, found = looked(tmp_path, "reference", "--profile", "detr", "--component", "criterion")
    asked = {name: item for name, item in found.items() if item["verdict"] != "not applicable"}
    assert code == 0
    assert {item["verdict"] for item in asked.values()} == {"holds"}
    assert all(item["examples"] for item in asked.values())


def test_one_vector_is_enough_for_a_plain_defect(tmp_path: Path) -> None:
    adapter = tmp_path / "swapped.py"
    adapter.write_text(SWAPPED)
    code, found = looked(tmp_path, f"{adapter}:implementation", "--invariant", "matcher.optimal-cost")
    assert code == 1
    assert found["matcher.optimal-cost"]["verdict"] in ("violated", "raised")
    assert found["matcher.optimal-cost"]["examples"] == 1


def test_the_seed_says_which_invariants_get_fresh_cases(tmp_path: Path) -> None:
    only = ("reference", "--profile", "detr", "--component", "postprocess", "--component", "boxes")
    counts = [
        {name: item["examples"] for name, item in looked(tmp_path, *only, "--seed", seed)[1].items()} for seed in "112"
    ]
    assert counts[0] == counts[1] != counts[2]
    assert sum(count > 1 for count in counts[0].values()) > 5


def test_what_takes_long_is_said_to_be_left_out(tmp_path: Path) -> None:
    _, found = looked(tmp_path, "reference", "--profile", "detr", "--invariant", "gradients.learnability")
    assert found["gradients.learnability"]["verdict"] == "vacuous"
    assert "left out of a quick look" in found["gradients.learnability"]["message"]


def test_a_dialect_of_ones_own_is_asked_about_fresh_cases(tmp_path: Path) -> None:
    adapter = tmp_path / "own.py"
    adapter.write_text(
        "from dataclasses import replace\nfrom detr_spec.profiles import DETR\n"
        "from detr_conformance.implementations.declared.implementation import declared_implementation\n"
        "implementation = declared_implementation(replace(DETR, name='own', cost_weights=(2.0, 5.0, 2.0)))\n"
    )
    code, found = looked(tmp_path, f"{adapter}:implementation", "--component", "matcher", "--invariant", "M2")
    assert code == 0
    assert {item["verdict"] for item in found.values()} <= {"holds", "not applicable", "vacuous"}
    assert any(item["verdict"] == "holds" for item in found.values())


@pytest.mark.parametrize("other", [["--accept"], ["--shard", "1/2"], ["--minutes", "1"]], ids=lambda other: other[0])
def test_a_quick_look_takes_no_option_of_a_long_one(other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "reference", "--quick", *other]) == 2
    assert "--quick is a look in this process" in capsys.readouterr().err
