"""A ledger is strict in both directions, every entry must mean something, and its vectors decide."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from detr_conformance import Report, Verdict, check
from detr_conformance.base.errors import UsageError
from detr_conformance.commands import accept as command
from detr_conformance.commands.command_line import run
from detr_conformance.ledger.reading import parsed_ledger, read_ledger
from detr_conformance.running.accepting import Accepted
from detr_conformance.vectors.reading import one_member_a_line
from detr_conformance.vectors.vector import to_document
from detr_spec.invariants import find_invariants

Write = Callable[..., Path]
VALID = "assignment.valid-pairs"
TOTAL = "assignment.optimal-total"

NARROW = '''
import numpy as np
from detr_conformance import numpy_implementation
from detr_spec.implementation import Limits
from scipy.optimize import linear_sum_assignment

def greedy(cost):
    return list(range(min(cost.shape))), [int(row.argmin()) for row in cost[: min(cost.shape)]]

def narrow(cost):
    """Wrong in float32 alone."""
    return greedy(cost) if cost.dtype == np.float32 else linear_sum_assignment(cost)

GREEDY = numpy_implementation(name="greedy", solver=greedy)
NARROW = numpy_implementation(name="greedy", solver=narrow)
RIGHT = numpy_implementation(name="greedy", solver=linear_sum_assignment)
IN_FLOAT64 = numpy_implementation(name="greedy", solver=greedy, limits=Limits(dtypes=("float64",)))
TWO = [GREEDY, numpy_implementation(name="greedy", profile="deformable", solver=greedy)]
'''


@pytest.fixture(scope="module")
def solvers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Solvers of one name, right and wrong."""
    path = tmp_path_factory.mktemp("solvers") / "solvers.py"
    path.write_text(NARROW)
    return path


@pytest.fixture(scope="module")
def accepted_text(solvers: Path) -> Callable[..., str]:
    """The ledger of a solver as it is accepted."""

    @cache
    def accept(attribute: str, invariants: tuple[str, ...]) -> str:
        path = solvers.parent / "ledger.toml"
        path.unlink(missing_ok=True)
        assert accepted(solvers, attribute, path, *invariants) == 0
        return path.read_text()

    return accept


@pytest.fixture
def ledger(accepted_text: Callable[..., str], tmp_path: Path) -> Write:
    """The accepted ledger of a solver, with the reasons filled in, and changed as a test wants it."""

    def write(attribute: str = "GREEDY", *invariants: str, changes: tuple[tuple[str, str], ...] = ()) -> Path:
        path = tmp_path / "ledger.toml"
        text = accepted_text(attribute, invariants or (VALID,)).replace('reason = ""', 'reason = "whoever\\n  has it"')
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)
        return path

    return write


def judged(solvers: Path, attribute: str, path: Path, *invariants: str) -> Report:
    return check(f"{solvers}:{attribute}", invariants=invariants or [VALID], examples=30, ledger=[path])


def verdicts(report: Report) -> list[Verdict]:
    return [judgement.verdict for _, judgement in report]


def accepted(solvers: Path, attribute: str, path: Path, *invariants: str) -> int:
    asked = [part for name in invariants or (VALID,) for part in ("--invariant", name)]
    how = ["--examples", "30", "-n", "0", *asked]
    return run(["check", f"{solvers}:{attribute}", "--ledger", str(path), "--accept", *how])


def test_a_listed_violation_is_expected_and_says_why(solvers: Path, ledger: Write) -> None:
    report = judged(solvers, "GREEDY", ledger())
    ((_, judgement),) = report.with_verdict(Verdict.EXPECTED_VIOLATION)
    assert judgement.why_expected == "whoever has it"
    assert judgement.examples == 1, "the vector alone was run"
    assert judgement.counterexample is not None
    assert report.exit_code == 0


def test_an_error_that_is_listed_is_expected(subjects: Path, tmp_path: Path) -> None:
    path = tmp_path / "ledger.toml"
    how = ["--invariant", VALID, "--examples", "5", "-n", "0", "--ledger", str(path)]
    assert run(["check", f"{subjects}:LEAVING", *how, "--accept"]) == 0
    path.write_text(path.read_text().replace('reason = ""', 'reason = "it leaves"'))
    report = check(f"{subjects}:LEAVING", invariants=[VALID], examples=5, ledger=[path])
    assert verdicts(report) == [Verdict.EXPECTED_VIOLATION]


def test_a_violation_that_is_not_listed_stays_one(solvers: Path, ledger: Write) -> None:
    report = judged(solvers, "GREEDY", ledger(), VALID, TOTAL)
    assert verdicts(report) == [Verdict.EXPECTED_VIOLATION, Verdict.VIOLATED]
    assert report.exit_code == 1


def test_a_vector_that_no_longer_fails_fails_the_run_with_its_line(solvers: Path, ledger: Write) -> None:
    report = judged(solvers, "RIGHT", ledger())
    ((_, judgement),) = report.with_verdict(Verdict.UNEXPECTEDLY_HOLDS)
    assert "ledger.toml, line 4: the vector of this entry is violated no longer" in judgement.message
    assert report.exit_code == 1


def test_a_vector_decides_even_where_the_search_would_find_another(solvers: Path, ledger: Write) -> None:
    path = ledger("NARROW", changes=(('dtypes = ["float32"]\n', ""), ('"dtype": "float32"', '"dtype": "float64"')))
    assert verdicts(judged(solvers, "NARROW", path)) == [Verdict.UNEXPECTEDLY_HOLDS]


def test_what_an_entry_is_restricted_to_is_expected_and_the_rest_is_judged(solvers: Path, ledger: Write) -> None:
    path = ledger("NARROW")
    assert 'dtypes = ["float32"]' in path.read_text()
    report = judged(solvers, "NARROW", path)
    ((_, judgement),) = report
    assert judgement.verdict is Verdict.EXPECTED_VIOLATION
    (asked,) = find_invariants(VALID)
    assert judgement.dtypes == {"float32": 1, "float64": asked.case_count(30)}
    ((_, judgement),) = judged(solvers, "GREEDY", path)
    assert judgement.verdict is Verdict.VIOLATED
    assert "line 4, which lists float32 alone" in judgement.message


def test_an_entry_for_another_device_is_not_of_this_run(solvers: Path, ledger: Write) -> None:
    path = ledger(changes=(('reason = "', 'devices = ["cuda"]\nreason = "'),))
    assert verdicts(judged(solvers, "GREEDY", path)) == [Verdict.VIOLATED]


def test_a_vector_that_does_not_fit_any_more_holds_unexpectedly(solvers: Path, ledger: Write) -> None:
    ((_, judgement),) = judged(solvers, "IN_FLOAT64", ledger())
    assert judgement.verdict is Verdict.UNEXPECTEDLY_HOLDS
    assert "it is in float32, and greedy computes in float64" in judgement.message


def test_an_empty_ledger_expects_nothing(subjects: Path, tmp_path: Path) -> None:
    path = tmp_path / "ledger.toml"
    path.write_text("# nothing\n")
    assert check(f"{subjects}:RIGHT", invariants=[VALID], examples=5, ledger=[path]).exit_code == 0


@pytest.mark.parametrize(
    ("changes", "line", "told"),
    [
        ((('valid-pairs"\nreason', 'valid-pair"\nreason'),), 7, "no invariant is called 'assignment.valid-pair'; did"),
        ((("reason = ", "raison = "),), 8, "no field is called 'raison'; did you mean reason?"),
        ((('reason = "whoever\\n  has it"\n', ""),), 4, "reason is missing"),
        ((('"whoever\\n  has it"', '" "'),), 8, "the reason is not filled in"),
        ((('"whoever\\n  has it"', "3"),), 8, "reason is 3; expected text"),
        ((('implementation = "greedy"', 'implementation = ""'),), 5, "implementation is ''; expected text"),
        ((('implementation = "greedy"', 'implementation = "gredy"'),), 4, "not among those checked, which are greedy"),
        ((('profile = "detr"', 'profile = "deformable"'),), 9, "found detr; expected the entry's profile, deformable"),
        ((("reason = ", "dtypes = []\nreason = "),), 8, "dtypes is []; expected a list of different names"),
        ((("reason = ", 'dtypes = ["float8"]\nreason = '),), 8, "no dtype is called 'float8'; they are float64"),
        ((("reason = ", 'dtypes = ["float64"]\nreason = '),), 10, "found float32; expected one of the entry's dtypes"),
        ((("vector = '''", "link = '''"),), 4, "vector is missing; `detr-spec check"),
        ((('"seed": 0, "costs"', '"seed": 0, "cost"'),), 9, "at /case: found an object without the field 'costs'"),
        ((('"invariants": ["assignment.valid-pairs"]', '"invariants": ["assignment.optimal-total"]'),), 9, "alone"),
        ((("assignment", "matcher"),), 9, "found a CostCase; expected a SetCase"),
        ((("vector", "[violation.vector]\nvector"),), 9, "vector is {"),
    ],
)  # fmt: skip
def test_an_entry_that_means_nothing_is_refused_with_its_line(
    solvers: Path, ledger: Write, changes: tuple[tuple[str, str], ...], line: int, told: str
) -> None:
    path = ledger(changes=changes)
    with pytest.raises(UsageError) as caught:
        judged(solvers, "GREEDY", path)
    assert str(caught.value).startswith(f"{path}, line {line}"), caught.value
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_entry_that_means_nothing_is_told_at_once(
    solvers: Path, ledger: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ledger("NARROW", VALID, TOTAL, changes=(('"whoever\\n  has it"', '""'),))
    assert run(["check", f"{solvers}:NARROW", "-n", "0", "--ledger", str(path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    for line in (first, second):
        assert line.startswith(f"detr-spec: {path}, line ")
        assert line.endswith("the reason is not filled in; expected why this violation is accepted")
    assert first != second


def test_an_entry_that_is_not_asked_or_in_no_dtype_of_these_is_refused(solvers: Path, ledger: Write) -> None:
    path = ledger(changes=(("reason = ", 'dtypes = ["float32", "float16"]\nreason = '),))
    with pytest.raises(UsageError, match="line 4: greedy does not compute its assignment in float16; it does in"):
        judged(solvers, "GREEDY", path)


def test_an_entry_that_repeats_another_is_refused(solvers: Path, ledger: Write) -> None:
    path = ledger()
    text = path.read_text()
    path.write_text(text + text[text.index("[[violation]]") :])
    with pytest.raises(UsageError, match=r"line 2\d: .* is listed already, in .*, line 4"):
        judged(solvers, "GREEDY", path)


def test_an_entry_for_several_profiles_is_refused(solvers: Path, ledger: Write) -> None:
    path = ledger(changes=(('profile = "detr"\n', ""),))
    assert verdicts(judged(solvers, "GREEDY", path)) == [Verdict.EXPECTED_VIOLATION]
    with pytest.raises(UsageError, match="line 4: greedy is checked in several profiles, detr, deformable; expected a"):
        judged(solvers, "TWO", path)


def test_a_file_need_not_end_with_the_end_of_a_line(solvers: Path, ledger: Write) -> None:
    path = ledger()
    text = path.read_text()
    path.write_text(text.rstrip("\n"))
    assert accepted(solvers, "GREEDY", path) == 0
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("violation = 3", "expected only \\[\\[violation\\]\\] tables"),
        ("violation = [{}]", "holds tables that are not written as such"),
        ("[violations]\nx = 1", "holds 'violations'; expected only"),
        ("[[violation", "no TOML that can be read"),
        ("x = " + "[" * 5000, "no TOML that can be read"),
    ],
)
def test_a_file_that_is_something_else_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parsed_ledger(text, Path("ledger.toml"))


def test_accepting_twice_changes_nothing(solvers: Path, ledger: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = ledger("NARROW", VALID, TOTAL)
    text = path.read_text()
    capsys.readouterr()
    assert accepted(solvers, "NARROW", path, VALID, TOTAL) == 0
    assert path.read_text() == text
    assert "0 added, 0 with a new vector, 0 removed, 2 kept" in capsys.readouterr().out


def test_accepting_leaves_reasons_to_fill_in_and_keeps_what_a_person_wrote(
    solvers: Path, ledger: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ledger(changes=(("[[violation]]", "# The first.\n[[violation]]  # here"), ("\nreason", "\n# Why?\nreason")))
    path.write_text("# Ours.\n\n" + path.read_text() + "# the end")  # without the end of a line
    capsys.readouterr()
    assert accepted(solvers, "GREEDY", path, TOTAL) == 0
    text = path.read_text()
    assert text.startswith("# Ours.\n\n# Expected")
    assert '# Why?\nreason = "whoever\\n  has it"' in text
    assert "# The first.\n[[violation]]  # here" in text
    assert "# the end" in text
    entries = read_ledger(path, draft=True).entries
    assert [(entry.invariant, entry.reason) for entry in entries] == [(VALID, "whoever has it"), (TOTAL, "")]
    assert f"{entries[1].place}: fill in the reason of {TOTAL}" in capsys.readouterr().out
    with pytest.raises(UsageError, match="the reason is not filled in"):
        read_ledger(path)


def test_accepting_removes_what_no_longer_fails_and_says_so(
    solvers: Path, ledger: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ledger("GREEDY", VALID, TOTAL)
    assert accepted(solvers, "RIGHT", path, VALID) == 0
    assert [entry.invariant for entry in read_ledger(path).entries] == [TOTAL]
    assert f"removed, as it no longer fails: {VALID} of greedy" in capsys.readouterr().out


def test_accepting_gives_a_new_vector_to_an_entry_without_one_or_with_one_that_holds(
    solvers: Path, ledger: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ledger()
    (entry,) = read_ledger(path).entries
    assert entry.vector is not None
    holding = to_document(entry.vector)
    holding["case"]["costs"] = [{"dtype": "float64", "shape": [1, 1], "values": [1.0]}]
    start, end = path.read_text().index("{\n"), path.read_text().rindex("'''")
    whole = path.read_text()
    for vector in (f"vector = '''\n{one_member_a_line(holding)}\n'''", ""):
        path.write_text(whole[:start].replace("vector = '''\n", vector) + whole[end + 3 :])
        assert accepted(solvers, "GREEDY", path) == 0
        assert path.read_text() == whole
        assert "0 added, 1 with a new vector, 0 removed" in capsys.readouterr().out


def test_accepting_adds_what_fails_beyond_the_conditions_of_an_entry(solvers: Path, ledger: Write) -> None:
    path = ledger("NARROW")
    assert accepted(solvers, "GREEDY", path) == 0
    first, second = read_ledger(path, draft=True).entries
    assert (first.dtypes, first.reason) == (("float32",), "whoever has it")
    assert (second.dtypes, second.reason) == (("float64",), "")


def test_accepting_splits_an_entry_that_concerns_several_profiles(solvers: Path, ledger: Write) -> None:
    path = ledger(changes=(('profile = "detr"\n', ""),))
    assert accepted(solvers, "TWO", path) == 0
    entries = read_ledger(path).entries
    assert [(entry.profile, entry.reason) for entry in entries] == [
        ("deformable", "whoever has it"),
        ("detr", "whoever has it"),
    ]
    assert verdicts(judged(solvers, "TWO", path)) == [Verdict.EXPECTED_VIOLATION] * 2


def test_what_fails_without_a_case_is_not_accepted(
    solvers: Path, tmp_path: Path, python_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    flaky = python_file(
        "flaky.py",
        """
        from itertools import count
        from detr_conformance import numpy_implementation
        from scipy.optimize import linear_sum_assignment
        calls = count()
        def solver(cost):
            return (list(range(99)), list(range(99))) if next(calls) % 7 == 0 else linear_sum_assignment(cost)
        FLAKY = numpy_implementation(name="flaky", solver=solver)
        """,
    )
    path = tmp_path / "ledger.toml"
    assert accepted(flaky, "FLAKY", path) == 1
    out = capsys.readouterr().out
    assert out.startswith("not accepted, ")
    assert f"{VALID}, flaky (detr)" in out
    assert read_ledger(path).entries == ()


def test_two_that_accept_at_once_lose_no_entry(
    solvers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the first judges, the second is done; the first sees it, and judges again."""
    path = tmp_path / "ledger.toml"
    asked = ["check", f"{solvers}:GREEDY", "--examples", "10", "-n", "0", "--accept", "--ledger", str(path)]
    once = command.accept
    done: list[int] = []

    def slowly(*arguments: Any, **how: Any) -> Accepted:
        found = once(*arguments, **how)
        monkeypatch.setattr(command, "accept", once)
        done.append(run([*asked, "--invariant", VALID]))
        return found

    monkeypatch.setattr(command, "accept", slowly)
    assert (run([*asked, "--invariant", TOTAL]), done) == (0, [0])
    assert [entry.invariant for entry in read_ledger(path, draft=True).entries] == [VALID, TOTAL]
    assert "was changed meanwhile; judging again" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--json", "report.json"], ["--ledger", "other.toml"]])
def test_accepting_writes_one_ledger_and_nothing_else(
    solvers: Path, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", f"{solvers}:GREEDY", "--accept", "--ledger", str(tmp_path / "ledger.toml"), *more]
    assert run(arguments) == 2
    assert "--accept writes one ledger and nothing else" in capsys.readouterr().err
    assert not (tmp_path / "ledger.toml").exists()


def test_workers_replay_vectors_too(solvers: Path, ledger: Write) -> None:
    path = ledger("NARROW", VALID, TOTAL)
    here, there = (
        check(f"{solvers}:NARROW", invariants=[VALID, TOTAL], examples=30, ledger=[path], workers=workers)
        for workers in (0, 1)
    )
    assert verdicts(here) == verdicts(there) == [Verdict.EXPECTED_VIOLATION] * 2
