"""The matrix of a tiny bank, whose hunts are written by hand; and the command, on a few mutants."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from detr_conformance.campaign.campaign import expected_tasks, hunts, survey_tasks
from detr_conformance.campaign.hunt import Hunt
from detr_conformance.campaign.matrix import Matrix, matrix_of
from detr_conformance.campaign.show import as_json, as_markdown
from detr_conformance.commands.command_line import run
from detr_conformance.mutants.bank import Edit, Mutant, bank, find_mutant

EDIT = Edit("detr_reference/boxes.py", "return iou - (", "return iou + (")


def mutant(id: str, expected: tuple[str, ...], equivalent: str | None = None) -> Mutant:
    return Mutant(
        id, "boxes", f"what {id} is", "constructed", (("activation", "softmax"),), expected, (EDIT,), equivalent
    )


FOUND = mutant("found", ("boxes.identical", "boxes.nested"))
SURVIVING = mutant("surviving", ("boxes.nested",))
EQUIVALENT = mutant("equivalent", (), "it changes nothing")


def told(mutant: Mutant, invariant: str, seed: int, examples: int, killed: bool = True, sound: bool = True) -> Hunt:
    return Hunt(mutant.id, "detr", invariant, seed, examples, killed, "Violation" if killed else "", sound)


def tiny(*more: Hunt) -> Matrix:
    outcomes = [
        told(FOUND, "boxes.nested", 0, 100, killed=False),
        told(FOUND, "boxes.nested", 1, 9),
        told(FOUND, "boxes.identical", 0, 4),
        told(FOUND, "boxes.identical", 1, 2),
        told(FOUND, "boxes.scaling", 0, 5, killed=False),
        told(SURVIVING, "boxes.nested", 0, 3),
        told(SURVIVING, "boxes.nested", 1, 100, killed=False),
        told(SURVIVING, "boxes.scaling", 0, 5, killed=False),
        told(EQUIVALENT, "boxes.nested", 0, 5, killed=False),
        *more,
    ]
    return matrix_of([FOUND, SURVIVING, EQUIVALENT], outcomes[::-1], [0, 1], examples=100, survey_examples=5)


def test_a_mutant_is_killed_by_the_first_of_its_expected_invariants() -> None:
    matrix = tiny()
    assert matrix.examples_to_kill(FOUND) == {("detr", 0): 4, ("detr", 1): 2}
    assert matrix.median_examples(FOUND) == 3
    assert matrix.killers(FOUND) == ("boxes.identical", "boxes.nested")
    assert matrix.silent == (("found", "boxes.nested"), ("surviving", "boxes.nested"))


def test_a_mutant_that_one_seed_misses_survives() -> None:
    matrix = tiny()
    assert matrix.survivors == ((SURVIVING, (("detr", 1),)),)
    assert matrix.exit_code == 1
    found = told(SURVIVING, "boxes.nested", 1, 100)
    others = [hunt for hunt in matrix.hunts if (hunt.mutant, hunt.seed) != ("surviving", 1)]
    repaired = matrix_of(matrix.mutants, [*others, found], [0, 1], 100, 5)
    assert repaired.survivors == ()
    assert repaired.exit_code == 0


def test_a_mutant_that_only_an_unexpected_invariant_finds_survives() -> None:
    matrix = tiny(told(SURVIVING, "boxes.swapped-axes", 0, 1))
    assert matrix.survivors == ((SURVIVING, (("detr", 1),)),)
    assert matrix.killers(SURVIVING) == ("boxes.swapped-axes", "boxes.nested")


def test_an_equivalent_mutant_is_no_survivor_and_its_kill_is_a_false_alarm() -> None:
    assert tiny().equivalents == (EQUIVALENT,)
    assert tiny().false_alarms == ()
    alarmed = tiny(told(EQUIVALENT, "boxes.scaling", 0, 1))
    assert alarmed.false_alarms == ((EQUIVALENT, ("boxes.scaling",)),)
    assert alarmed.exit_code == 1


def test_invariants_are_sorted_by_what_they_killed_alone() -> None:
    matrix = tiny()
    assert matrix.invariants == ("boxes.identical", "boxes.scaling", "boxes.nested")
    assert matrix.killed_nothing == ("boxes.scaling",)
    assert matrix.needed_alone == {"boxes.nested": ("surviving",)}


def test_a_check_that_raises_itself_is_told_apart() -> None:
    raised = told(FOUND, "boxes.scaling", 0, 1, sound=False)
    assert tiny().unsound == ()
    assert tiny(raised).unsound == (raised,)


def test_the_matrix_does_not_depend_on_the_order_of_hunts() -> None:
    matrix = tiny()
    assert matrix_of(matrix.mutants, matrix.hunts, [0, 1], 100, 5) == matrix


def test_the_files_say_what_the_matrix_says() -> None:
    document = json.loads(as_json(tiny()))
    assert document["survivors"] == {"surviving": [["detr", 1]]}
    assert document["mutants"][0]["killed_by"]["boxes.identical"] == {"detr 0": 4, "detr 1": 2}
    assert document["mutants"][0]["not_killed_by"] == ["boxes.scaling"]
    assert document["needed_alone"] == {"boxes.nested": ["surviving"]}
    text = as_markdown(tiny())
    assert "| `found` | what found is | constructed | `boxes.identical` `boxes.nested` | 3 |" in text
    assert "surviving: detr 1" in text
    assert "- `equivalent`: it changes nothing" in text


def test_what_was_not_surveyed_is_not_told_of() -> None:
    titles = ["Equivalent mutants that were killed", "Invariants that killed nothing"]
    assert all(title in as_markdown(tiny()) for title in titles)
    unsurveyed = as_markdown(replace(tiny(), survey_examples=0))
    assert not any(title in unsurveyed for title in titles)
    assert "no other ones" in unsurveyed


PAGE = Path(__file__).parents[2] / "docs" / "mutants.md"


def test_the_page_in_the_repository_lists_the_bank_and_no_survivors() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    shown = [tuple(cell.strip() for cell in row.strip("|").split(" | "))[:4] for row in rows]
    assert shown == [
        (
            f"`{item.id}`",
            item.description,
            item.provenance,
            " ".join(f"`{name}`" for name in item.expected) or "equivalent",
        )
        for item in bank()
    ], "run the command that the page names"
    assert "**Survivors, with the profiles and seeds on which no expected invariant found them:** none." in text
    assert "**Equivalent mutants that were killed:**" not in text.replace("killed:** none.", "")


def test_expected_invariants_have_every_seed_and_the_others_one() -> None:
    expected = expected_tasks([FOUND], [0, 1], 100)
    assert [(task.invariant, task.seeds, task.examples) for task in expected] == [
        ("boxes.identical", (0, 1), 100),
        ("boxes.nested", (0, 1), 100),
    ]
    several = find_mutant("giou-penalty-added")
    assert [task.profile for task in expected_tasks([several], [0], 1, own=True)] == ["detr"] * len(several.expected)
    assert len({task.profile for task in expected_tasks([several], [0], 1)}) == len(several.profiles) > 1
    survey = survey_tasks([FOUND], 0, 5)
    assert not {task.invariant for task in survey} & set(FOUND.expected)
    assert {task.seeds for task in survey} == {(0,)}
    assert {"boxes.scaling", "criterion.giou-value", "postprocess.scores"} <= {task.invariant for task in survey}
    assert survey_tasks([FOUND], 0, 0) == []


@pytest.mark.thorough
def test_workers_find_what_this_process_finds() -> None:
    chosen = find_mutant("giou-penalty-added")
    tasks = expected_tasks([chosen], range(2), 10)
    key = [hunt for found in hunts(tasks, 0) for hunt in found]
    assert [hunt for found in hunts(tasks, 1) for hunt in found] == key
    assert all(hunt.killed for hunt in key)


def test_the_command_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, table = (tmp_path / f"m.{kind}" for kind in ("json", "md"))
    arguments = ["giou-penalty-added", "--seeds", "2", "--survey-examples", "0", "-n", "0"]
    files = ["--json", str(report), "--markdown", str(table)]
    assert run(["mutants", *arguments, *files]) == 0
    assert "1 of 1 defects found on every one of 2 seeds" in capsys.readouterr().out
    assert json.loads(report.read_text())["survivors"] == {}
    assert "giou-penalty-added" in table.read_text()


def test_a_file_that_would_not_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    assert run(["mutants", "scores-are-logits", "--list", "--markdown", str(file)]) == 2
    assert "no matrix to write" in capsys.readouterr().err
    assert not file.exists()


def test_a_survivor_makes_the_command_fail(capsys: pytest.CaptureFixture[str]) -> None:
    rare = "cross-entropy-log-of-softmax"
    arguments = [rare, "--seeds", "1", "--examples", "1", "--survey-examples", "0", "-n", "0"]
    assert run(["mutants", *arguments, "--own"]) == 1
    assert f"{rare}: detr 0" in capsys.readouterr().out


def test_the_command_lists_the_bank_and_refuses_unknown_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["mutants", "--list", "model"]) == 0
    assert "model-images-sorted" in capsys.readouterr().out
    assert run(["mutants", "model-image-sorted"]) == 2
    assert "did you mean model-images-sorted" in capsys.readouterr().err
