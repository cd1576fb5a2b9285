"""Known violations are strict in both directions, and every entry must mean something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from detr_conformance import Report, Verdict, check
from detr_conformance.errors import UsageError

ENTRY = '''
[[violation]]
implementation = "greedy"
invariant = "assignment.valid-pairs"
why = """
it takes the cheapest column of each row,
whoever has it"""
evidence = "two rows that are cheapest in the same column get the same column"
'''

Write = Callable[[str], Path]


@pytest.fixture
def listed(tmp_path: Path) -> Write:
    """Writes a file of known violations."""

    def write(text: str) -> Path:
        path = tmp_path / "known.toml"
        path.write_text(text)
        return path

    return write


def run(subjects: Path, attribute: str, known: Path, *invariants: str) -> Report:
    return check(
        f"{subjects}:{attribute}",
        invariants=invariants or ["assignment.valid-pairs"],
        examples=30,
        expected=[known],
    )


def test_a_listed_violation_is_expected_and_says_why(subjects: Path, listed: Write) -> None:
    report = run(subjects, "GREEDY", listed(ENTRY))
    ((_, judgement),) = report.with_verdict(Verdict.EXPECTED_VIOLATION)
    assert judgement.why_expected == "it takes the cheapest column of each row, whoever has it"
    assert judgement.counterexample is not None
    assert report.exit_code == 0


def test_an_error_that_is_listed_is_expected(subjects: Path, listed: Write) -> None:
    report = run(subjects, "LEAVING", listed(ENTRY.replace("greedy", "leaving")))
    assert [judgement.verdict for _, judgement in report] == [Verdict.EXPECTED_VIOLATION]


def test_a_violation_that_is_not_listed_stays_one(subjects: Path, listed: Write) -> None:
    report = run(subjects, "GREEDY", listed(ENTRY), "assignment.valid-pairs", "assignment.optimal-total")
    assert [judgement.verdict for _, judgement in report] == [Verdict.EXPECTED_VIOLATION, Verdict.VIOLATED]
    assert report.exit_code == 1


def test_a_listed_invariant_that_holds_fails_the_run(subjects: Path, listed: Write) -> None:
    report = run(subjects, "RIGHT", listed(ENTRY.replace("greedy", "right")))
    ((_, judgement),) = report.with_verdict(Verdict.UNEXPECTEDLY_HOLDS)
    assert "known.toml, violation 1" in judgement.message
    assert report.exit_code == 1


def test_an_entry_for_one_profile_is_for_that_one(subjects: Path, listed: Write) -> None:
    entry = ENTRY.replace("greedy", "right") + 'profile = "deformable"\n'
    detr, deformable = (judgement.verdict for _, judgement in run(subjects, "BOTH", listed(entry)))
    assert detr is Verdict.HOLDS
    assert deformable is Verdict.UNEXPECTEDLY_HOLDS


def test_an_empty_file_expects_nothing(subjects: Path, listed: Write) -> None:
    assert run(subjects, "RIGHT", listed("")).exit_code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            ENTRY.replace("valid-pairs", "valid-pair"),
            "no invariant is called 'assignment.valid-pair'; did you mean",
        ),
        (ENTRY.replace("why", "wy"), "no field is called 'wy'; did you mean why?"),
        (ENTRY[: ENTRY.index("why")] + ENTRY[ENTRY.index("evidence") :], "why is missing"),
        ("\n".join(line for line in ENTRY.splitlines() if "evidence" not in line), "evidence is missing"),
        (ENTRY.replace('"greedy"', '""'), "implementation is ''; expected text"),
        (ENTRY.replace('"greedy"', "3"), "implementation is 3; expected text"),
        (ENTRY.replace("greedy", "gredy"), "gredy is not among those checked, which are greedy (detr)"),
        (ENTRY + 'profile = "deformable"', "greedy in profile deformable is not among those checked"),
        (ENTRY.replace("assignment.valid-pairs", "matcher.valid-pairs"), "greedy provides no matcher"),
    ],
)
def test_an_entry_that_means_nothing_is_refused_with_its_place(
    subjects: Path, listed: Write, text: str, told: str
) -> None:
    path = listed(text)
    with pytest.raises(UsageError) as caught:
        run(subjects, "GREEDY", path)
    assert str(caught.value).startswith(f"{path}, violation 1: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_entry_that_repeats_another_is_refused(subjects: Path, listed: Write) -> None:
    path = listed(ENTRY + ENTRY)
    with pytest.raises(UsageError, match=r"violation 2: .* is listed already, in .*, violation 1"):
        run(subjects, "GREEDY", path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("violation = 3", "expected only \\[\\[violation\\]\\] tables"),
        ("[violations]\nx = 1", "holds violations; expected only"),
        ("[[violation", "is no TOML"),
    ],
)
def test_a_file_that_is_something_else_is_refused(subjects: Path, listed: Write, text: str, told: str) -> None:
    path = listed(text)
    with pytest.raises(UsageError, match=told):
        run(subjects, "GREEDY", path)
