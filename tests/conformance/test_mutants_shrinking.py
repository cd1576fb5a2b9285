"""How small the cases are that are shown of mutants: how a case is measured, and that some are read at a glance."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from detr_conformance.campaign.shrinking import Shrunken, all_shrunken, case_size, cases_to_show
from detr_conformance.commands.command_line import run
from detr_conformance.mutants.bank import find_mutant


def outputs(*queries: int) -> dict[str, object]:
    return {"boxes": [[[0.5] * 4] * count for count in queries]}


def targets(*counts: int) -> list[dict[str, object]]:
    return [{"labels": [0] * count} for count in counts]


def test_the_largest_image_of_all_batches_counts() -> None:
    assert case_size({"outputs": outputs(2, 3), "targets": targets(0, 4)}) == (3, 4)
    assert case_size({"batches": [(outputs(2), targets(1)), (outputs(5), targets(0))]}) == (5, 1)
    assert case_size({"first": [[0, 0, 1, 1]]}) == (None, None)


def test_few_queries_and_targets_are_readable_and_what_is_not_found_is_not() -> None:
    names = "mutant", "detr", "matcher.optimal-cost"
    assert Shrunken(*names, found=True, queries=2, targets=2).readable
    assert Shrunken(*names, found=True).readable
    assert not Shrunken(*names, found=True, queries=2, targets=3).readable
    assert not Shrunken(*names, found=True, queries=3, targets=1).readable
    assert not Shrunken(*names, found=False).readable


def test_each_defect_is_shown_by_an_expected_invariant_in_each_of_its_profiles() -> None:
    chosen = [find_mutant(name) for name in ("surplus-targets-cut-off", "area-of-clamped-sides")]
    asked = cases_to_show(chosen)
    assert [(mutant, profile) for mutant, profile, _ in asked] == [
        ("surplus-targets-cut-off", "detr"),
        ("surplus-targets-cut-off", "deformable"),
    ]
    assert {invariant for _, _, invariant in asked} <= set(chosen[0].expected)


def test_a_planted_defect_is_shown_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (size,) = all_shrunken(cases_to_show([find_mutant("scores-are-logits")]), examples=10, workers=0)
    assert size.readable
    assert (size.queries, size.targets) == (1, 0)
    file = tmp_path / "sizes.json"
    asked = ["mutants", "--shrink", "scores-are-logits", "--examples", "10", "-n", "0", "--json", str(file)]
    assert run(asked) == 0
    assert capsys.readouterr().out.strip() == "1 of 1 cases have at most 2 queries and 2 targets"
    assert json.loads(file.read_text()) == [asdict(size)]


@pytest.mark.parametrize(
    "options",
    [("--shrink", "--markdown"), ("--shrink", "--page"), ("--others", "--json"), ("--list", "--picture")],
)
def test_a_file_that_would_not_be_written_is_refused(
    options: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    assert run(["mutants", "scores-are-logits", *options, str(file)]) == 2
    assert "no matrix to write" in capsys.readouterr().err
    assert not file.exists()
