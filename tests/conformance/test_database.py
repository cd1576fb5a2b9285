"""Databases of failing cases: what one run found, the next runs first, wherever and with whatever seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis.database import InMemoryExampleDatabase

from detr_conformance import Verdict, check
from detr_conformance.base.errors import UsageError
from detr_conformance.encoding.reports import plain
from detr_conformance.judging.database import Part
from detr_conformance.judging.judge import judge
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant
from detr_spec.violation import Violation


class Rare:
    """A check that fails for rare cases alone, and keeps what it was asked."""

    def __init__(self) -> None:
        self.cases: list[str] = []

    def __call__(self, component: Any, case: Any) -> None:
        self.cases.append(json.dumps(plain(case)))
        if any(cost.shape[0] == 3 for cost in case.costs):
            raise Violation("three rows")


@pytest.fixture
def rare(toy: Callable[..., Invariant], right: Implementation) -> Callable[..., Any]:
    """Judges a right solver by a check that fails for rare cases alone; gives the judgement and the cases."""

    def run(**arguments: Any) -> tuple[Any, list[str]]:
        found = Rare()
        return judge(toy(found), right, **arguments), found.cases

    return run


@pytest.fixture
def folder(tmp_path: Path, rare: Callable[..., Any]) -> tuple[str, ...]:
    """A database in which one run has left what fails."""
    location = (str(tmp_path / "cases"),)
    found, _ = rare(examples=60, seed=1, database=location)
    assert found.verdict is Verdict.VIOLATED
    return location


def seed_that_passes(rare: Callable[..., Any]) -> int:
    """A seed whose single case finds nothing by itself."""
    return next(seed for seed in range(2, 50) if rare(examples=1, seed=seed)[0].verdict is Verdict.HOLDS)


def test_what_one_run_found_another_finds_at_once(rare: Callable[..., Any], folder: tuple[str, ...]) -> None:
    seed = seed_that_passes(rare)
    judgement, cases = rare(examples=1, seed=seed, database=folder)
    assert judgement.verdict is Verdict.VIOLATED
    assert any(len(cost) == 3 for cost in json.loads(cases[0])["costs"])


def test_what_fails_no_more_is_dropped(
    rare: Callable[..., Any], folder: tuple[str, ...], toy: Callable[..., Invariant], right: Implementation
) -> None:
    seed = seed_that_passes(rare)
    repaired = toy(lambda component, case: None)
    assert judge(repaired, right, examples=1, seed=seed, database=folder).verdict is Verdict.HOLDS
    assert rare(examples=1, seed=seed, database=folder)[0].verdict is Verdict.HOLDS


def test_a_database_is_of_one_implementation_profile_and_invariant(
    rare: Callable[..., Any], folder: tuple[str, ...], toy: Callable[..., Invariant], solver_of: Callable[..., Any]
) -> None:
    from scipy.optimize import linear_sum_assignment

    seed = seed_that_passes(rare)
    other = judge(toy(Rare()), solver_of(linear_sum_assignment), examples=1, seed=seed, database=folder)
    assert other.verdict is Verdict.HOLDS
    assert rare(examples=1, seed=seed, database=folder)[0].verdict is Verdict.VIOLATED


def test_without_a_database_nothing_is_kept_and_the_cases_are_those_of_the_seed(
    rare: Callable[..., Any], folder: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    first, second = (rare(examples=40, seed=5)[1] for _ in range(2))
    assert first == second
    assert sorted(tmp_path.rglob("*")) == before


def test_fresh_cases_do_not_depend_on_what_is_kept(
    toy: Callable[..., Invariant], right: Implementation, folder: tuple[str, ...], tmp_path: Path
) -> None:
    cases: list[list[str]] = []
    for location in (folder, (str(tmp_path / "empty"),)):
        seen: list[str] = []
        judge(
            toy(lambda _, case, seen=seen: seen.append(json.dumps(plain(case)))), right, examples=20, database=location
        )
        cases.append(seen[-20:])
    assert cases[0] == cases[1]


def test_passing_cases_are_not_kept() -> None:
    inner = InMemoryExampleDatabase()
    part = Part(inner, ["it"])
    part.save(b"key", b"failed")
    part.save(b"key.pareto", b"passed")
    assert set(part.fetch(b"key")) == {b"failed"}
    assert not set(part.fetch(b"key.pareto"))
    assert not set(Part(inner, ["another"]).fetch(b"key"))
    part.move(b"key", b"key.secondary", b"failed")
    assert set(part.fetch(b"key.secondary")) == {b"failed"}
    part.delete(b"key.secondary", b"failed")
    assert not set(part.fetch(b"key.secondary"))


def test_workers_share_a_folder_and_the_report_says_how_to_find_it_again(tmp_path: Path, subjects: Path) -> None:
    location = str(tmp_path / "shared cases")
    chosen: dict[str, Any] = {"invariants": ["assignment.valid-pairs"], "database": [location]}
    check(f"{subjects}:GREEDY", examples=50, seed=3, workers=1, **chosen)
    report = check(f"{subjects}:GREEDY", examples=1, seed=4, **chosen)
    ((item, judgement),) = report.violated
    assert judgement.examples >= 1
    assert report.command(item, judgement).endswith(f"--examples 1 --database '{location}'")
    assert json.loads(report.to_json())["database"] == [location]


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://example.org/cases", "database is 'https://example.org/cases'; expected a folder"),
        ("taken/cases", "taken/cases cannot be used as a database: Not a directory"),
    ],
)
def test_what_is_no_database_is_refused_before_anything_runs(
    location: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError) as refused:
        check("detr-spec-solver", database=[location])
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
