"""A check spread over machines judges each task once, and its reports make up the report of one machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from detr_conformance import Report, check
from detr_conformance.base.errors import UsageError
from detr_conformance.reports.merging import merged
from detr_conformance.reports.reading import read_report
from detr_conformance.running.report import ImplementationReport
from detr_conformance.running.sharding import Shard, TaskName, dealt, parsed_shard, run_digest
from detr_spec.invariants import all_invariants

TASKS = [
    TaskName(invariant.component, name, profile, invariant.id)
    for name in ("first", "second")
    for profile in ("detr", "deformable")
    for invariant in all_invariants()
]


@pytest.mark.parametrize("count", [1, 2, 3, 7, len(TASKS), len(TASKS) + 3])
def test_every_task_is_in_exactly_one_shard(count: int) -> None:
    parts = dealt(TASKS, count)
    assert len(parts) == count
    assert sorted(place for part in parts for place in part) == list(range(len(TASKS)))
    assert all(part == sorted(part) for part in parts)


@pytest.mark.parametrize("count", [2, 5])
def test_each_shard_gets_its_part_of_every_component(count: int) -> None:
    for component in {task.component for task in TASKS}:
        numbers = [sum(TASKS[place].component == component for place in part) for part in dealt(TASKS, count)]
        assert max(numbers) - min(numbers) <= 1, component


def test_the_parts_do_not_depend_on_the_order_in_which_implementations_are_given() -> None:
    turned = TASKS[len(TASKS) // 2 :] + TASKS[: len(TASKS) // 2]
    here, there = dealt(TASKS, 3), dealt(turned, 3)
    assert [{TASKS[place] for place in part} for part in here] == [{turned[place] for place in part} for part in there]


def test_a_task_more_is_another_run() -> None:
    assert run_digest(TASKS) != run_digest(TASKS[:-1])
    assert run_digest(TASKS) == run_digest(list(TASKS))


def test_a_shard_is_read_and_written() -> None:
    assert parsed_shard("2/5") == Shard(2, 5)
    assert str(Shard(2, 5)) == "2/5"


@pytest.mark.parametrize("text", ["0/5", "6/5", "1/0", "1", "1/", "/2", "-1/2", "1/2/3", "one/two", "", "1/2\n"])
def test_what_is_no_shard_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match="such as 1/"):
        parsed_shard(text)


CHOSEN = ["S1", "S3", "S5", "B1", "M1", "C1"]


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a solver that is wrong."""
    path = tmp_path_factory.mktemp("shards") / "greedy.py"
    path.write_text(
        "from detr_conformance import numpy_implementation\n"
        "def greedy(cost):\n"
        "    return list(range(min(cost.shape))), [int(cost[row].argmin()) for row in range(min(cost.shape))]\n"
        "GREEDY = [numpy_implementation(name=name, solver=greedy) for name in ('a', 'b')]\n"
    )
    return f"{path}:GREEDY"


def shards_of(address: str, count: int) -> list[tuple[str, Report]]:
    return [
        (f"{number}.json", check(address, invariants=CHOSEN, examples=2, shard=f"{number}/{count}"))
        for number in range(1, count + 1)
    ]


@pytest.fixture(scope="module")
def shards(greedy: str) -> list[tuple[str, Report]]:
    """The reports of three shards of one run."""
    return shards_of(greedy, 3)


def without_times(report: Report) -> Report:
    items = [
        replace(item, judgements=tuple(replace(one, seconds=0, implementation_seconds=0) for one in item.judgements))
        for item in report.implementations
    ]
    return replace(report, implementations=tuple(items))


def test_the_reports_of_all_shards_make_up_the_report_of_the_whole_run(
    greedy: str, shards: Sequence[tuple[str, Report]]
) -> None:
    whole = check(greedy, invariants=CHOSEN, examples=2)
    for order in (shards, shards[::-1]):
        joined = merged(order)
        assert without_times(joined) == without_times(whole)
    assert joined.exit_code == 1
    assert joined.shard is None
    assert all(report.shard is not None and report.exit_code in (0, 1) for _, report in shards)


def test_a_shard_without_a_task_is_no_failure(greedy: str) -> None:
    report = check(greedy, invariants=["assignment.optimal-total"], examples=1, shard="3/3")
    assert [item.judgements for item in report.implementations] == [(), ()]
    assert report.exit_code == 0


def different(report: Report, **fields: object) -> Report:
    return replace(report, **fields)  # type: ignore[arg-type]


def test_reports_of_different_runs_are_refused(shards: Sequence[tuple[str, Report]], greedy: str) -> None:
    first, second, third = shards
    other = check(greedy, invariants=["S1"], examples=2, shard="2/3")
    assert second[1].shard is not None
    cases = {
        "2.json was judged with detr-spec 9, 1.json with detr-spec": different(second[1], version="9"),
        "2.json was judged with seed 4, 1.json with seed 0": different(second[1], seed=4),
        "2.json was judged with 7 examples, 1.json with 2 examples": different(second[1], examples=7),
        "2.json was judged with device cuda, 1.json with device cpu": different(second[1], device="cuda"),
        "2.json is shard 2/4, 1.json is shard 1/3": different(second[1], shard=replace(second[1].shard, count=4)),
        "2.json was asked for other implementations or invariants than 1.json": other,
        "2.json is the report of a whole run": different(second[1], shard=None),
        "1.json and 2.json are both shard 1/3": first[1],
    }
    for told, report in cases.items():
        with pytest.raises(UsageError) as refused:
            merged([first, ("2.json", report), third])
        assert str(refused.value).startswith(told)


def test_missing_shards_are_named(shards: Sequence[tuple[str, Report]]) -> None:
    with pytest.raises(UsageError, match=r"^of 3 shards, 1, 3 are missing$"):
        merged(shards[1:2])
    with pytest.raises(UsageError, match=r"^of 3 shards, 2 is missing$"):
        merged([shards[0], shards[2]])


def test_an_interrupted_shard_makes_the_whole_interrupted(shards: Sequence[tuple[str, Report]]) -> None:
    first, second, third = shards
    assert merged([first, (second[0], replace(second[1], interrupted=True)), third]).exit_code == 130


def test_what_the_norm_does_not_have_is_merged_last(shards: Sequence[tuple[str, Report]]) -> None:
    strange = []
    for name, report in shards:
        items = tuple(
            replace(item, judgements=tuple(replace(one, id=f"no.{one.id}") for one in item.judgements[:1]))
            for item in report.implementations
        )
        strange.append((name, replace(report, implementations=items)))
    found = [[one.id for one in item.judgements] for item in merged([strange[0], *shards[1:]]).implementations]
    assert any(name.startswith("no.") for ids in found for name in ids)
    for ids in found:
        assert ids == sorted(ids, key=lambda name: name.startswith("no."))


def test_a_passing_run_passes_when_merged() -> None:
    parts = [
        (
            f"{number}.json",
            Report("1", 0, 1, (ImplementationReport("it", "detr", (), ()),), shard=Shard(number, 2, "x")),
        )
        for number in (1, 2)
    ]
    assert merged(parts).exit_code == 0


def saved(shards: Sequence[tuple[str, Report]], folder: Path) -> list[str]:
    for name, report in shards:
        (folder / name).write_text(report.to_json(), encoding="utf-8")
    return [str(folder / name) for name, _ in shards]


def test_files_are_merged_into_one_that_is_no_shard(
    shards: Sequence[tuple[str, Report]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from detr_conformance.commands.command_line import run

    files = saved(shards, tmp_path)
    whole = tmp_path / "whole.json"
    assert run(["merge", *files, "--json", str(whole), "--html", str(tmp_path / "whole.html")]) == 1
    assert "VIOLATED: assignment." in capsys.readouterr().out
    assert (tmp_path / "whole.html").stat().st_size > 1000
    assert read_report(whole) == merged(shards)
    assert run(["merge", str(whole)]) == 2
    assert "is the report of a whole run, not of a shard" in capsys.readouterr().err


def test_every_form_of_a_report_says_which_shard_it_is(
    shards: Sequence[tuple[str, Report]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from detr_conformance.commands.command_line import run

    (file,) = saved(shards[1:2], tmp_path)
    forms = {"markdown": "shard 2/3", "html": "shard 2/3", "junit": 'name="shard" value="2/3"'}
    assert run(["report", file, *(part for form in forms for part in (f"--{form}", str(tmp_path / form)))]) == 0
    for form, told in forms.items():
        assert told in (tmp_path / form).read_text(encoding="utf-8")
    assert run(["report", file]) == 0
    assert ", shard 2/3" in capsys.readouterr().out


def test_a_missing_shard_is_one_line_and_nothing_is_written(
    shards: Sequence[tuple[str, Report]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from detr_conformance.commands.command_line import run

    files = saved(shards, tmp_path)
    assert run(["merge", *files[:2], "--json", str(tmp_path / "whole.json")]) == 2
    assert capsys.readouterr().err == "detr-spec: of 3 shards, 3 is missing\n"
    assert not (tmp_path / "whole.json").exists()


def test_the_file_says_which_shard_it_is(shards: Sequence[tuple[str, Report]], tmp_path: Path) -> None:
    document = json.loads(shards[1][1].to_json())
    assert (document["shard"]["number"], document["shard"]["count"]) == (2, 3)
    assert document["shard"]["run"] == json.loads(shards[0][1].to_json())["shard"]["run"]
