"""The set of vectors is whole and current, is exported as it is, and judges whoever it is put to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.base.verdict import Verdict
from detr_conformance.commands.command_line import run
from detr_conformance.implementations import dialects
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_conformance.judging.drawing import drawn_vectors, right_solver
from detr_conformance.judging.fitting import Unfit, fitted
from detr_conformance.judging.replaying import replays
from detr_conformance.vectors.exporting import export, set_texts
from detr_conformance.vectors.flags import EXPLANATIONS
from detr_conformance.vectors.reading import Placed, one_line, vectors_in
from detr_spec.implementation import COMPONENTS
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profiles import PROFILES
from detr_spec.strategies import BOX_REGIMES, COST_REGIMES, LOADS, REGIMES

MATRIX = '{"dtype": "float64", "shape": [2, 2], "values": [0.0, 0.0, 0.0, 0.0]}'


@pytest.fixture(scope="module")
def whole_set() -> tuple[Placed, ...]:
    return tuple(item for name, text in set_texts().items() for item in vectors_in(text, f"{name}.jsonl"))


def test_the_set_is_large_and_small_enough(whole_set: tuple[Placed, ...]) -> None:
    assert len(whole_set) >= 300
    lines = [one_line(placed.vector) for placed in whole_set]
    assert len(set(lines)) == len(lines)


def test_the_set_has_every_component_profile_invariant_and_regime(whole_set: tuple[Placed, ...]) -> None:
    vectors = [placed.vector for placed in whole_set]
    assert {vector.component for vector in vectors} == set(COMPONENTS)
    assert {vector.case.configuration.profile.name for vector in vectors} == set(PROFILES)
    applying = {item.id for item in all_invariants() if any(map(item.applies, PROFILES.values()))}
    # The reference's matcher refuses narrow predictions, so it has no case of them.
    assert {name for vector in vectors for name in vector.invariants} == applying - {"matcher.mixed-precision"}
    regimes = {vector.case.regime for vector in vectors}
    assert regimes >= {*REGIMES, *BOX_REGIMES, *COST_REGIMES, *LOADS}
    assert {flag for vector in vectors for flag in vector.flags} == set(EXPLANATIONS)


@pytest.mark.parametrize("step", [pytest.param(4, marks=pytest.mark.thorough), 31])
def test_right_implementations_pass_the_set_and_its_values_are_those_of_the_norm(
    whole_set: tuple[Placed, ...], step: int
) -> None:
    """One vector in so many: all of them are run by `detr-spec replay`."""
    implementations = [*IMPLEMENTATIONS, *dialects.IMPLEMENTATIONS, right_solver()]
    some = [placed for number, placed in enumerate(whole_set) if number % step == 0]
    judged = list(replays(some, implementations, "cpu"))
    assert not [item for item in judged if item.judgement.verdict.fails]
    holding = {item.place for item in judged if item.judgement.verdict is Verdict.HOLDS}
    assert holding == {str(placed.place) for placed in some}


def test_the_export_is_the_set_to_the_byte_and_may_be_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "vectors"
    count, files = export(folder)
    assert (count, files) == (sum(text.count("\n") for text in set_texts().values()), len(COMPONENTS) + 2)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    export(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert len(first) == files


@pytest.mark.parametrize("name", ["boxes.jsonl", "vector.schema.json", "README.txt"])
def test_the_export_leaves_a_strangers_file_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"{name} is not of an earlier export"):
        export(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}


def test_the_export_follows_no_link_out_of_its_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "vectors", tmp_path / "outside.jsonl"
    folder.mkdir()
    outside.write_text("mine")
    (folder / "boxes.jsonl").symlink_to(outside)
    with pytest.raises(UsageError, match=r"boxes\.jsonl is no file of an earlier export"):
        export(folder)
    assert outside.read_text() == "mine"


def test_the_same_draw_gives_the_same_vectors_and_no_two_alike() -> None:
    invariants = [*find_invariants("assignment.valid-pairs"), *find_invariants("assignment.optimal-total")]
    first, second = (drawn_vectors([right_solver()], invariants, draws=6) for _ in range(2))
    lines = [one_line(vector) for vector in first]
    assert lines == [one_line(vector) for vector in second]
    assert len(set(lines)) == len(lines)
    assert {name for vector in first for name in vector.invariants} == {item.id for item in invariants}


def solver_line(tmp_path: Path, **changes: object) -> Path:
    document = json.loads(set_texts()["assignment"].splitlines()[0])
    path = tmp_path / "vector.json"
    path.write_text(json.dumps(document | changes, indent=1))
    return path


def test_replaying_says_what_holds_and_what_does_not(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(tmp_path / "set")
    path = tmp_path / "set" / "assignment.jsonl"
    assert run(["replay", str(path), f"{subjects}:RIGHT"]) == 0
    assert "holds" in capsys.readouterr().out
    assert run(["replay", str(path), f"{subjects}:GREEDY"]) == 1
    out = capsys.readouterr().out
    assert "VIOLATED: assignment." in out
    assert "greedy (detr), by" in out
    assert "assignment.jsonl, line" in out
    assert run(["replay", str(tmp_path / "set" / "matcher.jsonl"), f"{subjects}:RIGHT"]) == 2
    told = capsys.readouterr()
    assert "not provided: right (detr): right provides no matcher" in told.out
    assert "says anything of" in told.err


def test_a_single_vector_is_replayed_and_its_expected_values_must_be_the_norms(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = solver_line(tmp_path)
    assert run(["replay", str(path), f"{subjects}:RIGHT"]) == 0
    document = json.loads(path.read_text())
    document["expected"]["optima"][0]["total"] += 1.0
    path.write_text(json.dumps(document))
    assert run(["replay", str(path), f"{subjects}:RIGHT"]) == 2
    assert "at /expected/optima/0/total: found" in capsys.readouterr().err


def test_a_case_that_an_invariant_cannot_cope_with_is_no_violation(
    subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = solver_line(tmp_path, invariants=["assignment.batch-one-by-one"])
    assert run(["replay", str(path), f"{subjects}:RIGHT"]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_vector_in_another_dtype_than_the_implementations_does_not_fit(
    python_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = python_file(
        "narrow.py",
        """
        from detr_conformance import numpy_implementation
        from detr_spec.implementation import Limits
        from scipy.optimize import linear_sum_assignment
        ONLY = numpy_implementation(name="only", solver=linear_sum_assignment, limits=Limits(dtypes=("float16",)))
        """,
    )
    assert run(["replay", str(solver_line(tmp_path)), f"{subject}:ONLY"]) == 2
    assert "not applicable: only (detr): the vector does not fit: it is in float" in capsys.readouterr().out


def test_a_run_leaves_its_failing_cases_as_vectors(
    python_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = python_file(
        "solvers.py",
        """
        from detr_conformance import numpy_implementation
        WRONG = numpy_implementation(name="../wrong", solver=lambda cost: 2 * ([0] * min(cost.shape),))
        """,
    )
    folder = tmp_path / "left"
    how = ["--examples", "20", "-n", "0", "--vectors", str(folder)]
    arguments = ["check", f"{subject}:WRONG", "--invariant", "assignment.valid-pairs", *how]
    assert run(arguments) == 1
    (path,) = folder.iterdir()
    assert path.name == "wrong-detr-assignment.valid-pairs.json"
    assert f"vector: {path}" in capsys.readouterr().out
    assert run(["replay", str(path), f"{subject}:WRONG"]) == 1
    assert run(arguments) == 1, "a vector of an earlier run is written anew"
    path.write_text("mine")
    assert run(arguments) == 2
    assert path.read_text() == "mine"
    assert "was not touched" in capsys.readouterr().err


DYING = """
import os

from detr_conformance import numpy_implementation
from scipy.optimize import linear_sum_assignment


def solve(cost):
    return linear_sum_assignment(cost) if cost.shape[0] <= cost.shape[1] else os.abort()


implementation = numpy_implementation(name="dying", solver=solve)
"""


def test_a_vector_that_ends_the_process_of_an_implementation_costs_its_own_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dying.py").write_text(DYING, encoding="utf-8")
    lines = set_texts()["assignment"].splitlines(keepends=True)
    Path("some.jsonl").write_text("".join(lines[4:9]), encoding="utf-8")
    assert run(["replay", "some.jsonl", "isolated:dying.py:implementation"]) == 1
    told = capsys.readouterr().out
    assert "ended by signal SIGABRT" in told
    assert "holds" in told.splitlines()[-1]


def test_a_vector_with_another_constant_than_the_implementation_has_is_not_asked(whole_set: tuple[Placed, ...]) -> None:
    twin = next(item for item in dialects.IMPLEMENTATIONS if item.profile.name == "conditional")
    vectors = [item.vector for item in whole_set if item.vector.component == "matcher"]
    other = next(
        vector
        for vector in vectors
        if vector.case.configuration.profile.name == "mmdet-focal" and vector.case.configuration.dtype == "float32"
    )
    with pytest.raises(Unfit, match=r"class_cost\.epsilon is 1e-12 in it, and 1e-08 in dialects"):
        fitted(other, twin)
