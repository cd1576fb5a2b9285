"""Implementations that the benchmark is given take part as those do that it knows, and are told when they cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detr_conformance.base.errors import UsageError
from detr_conformance.bench import timing
from detr_conformance.bench.batches import make_batch
from detr_conformance.bench.given import given_contestants
from detr_conformance.bench.memory import peak_in_this_process
from detr_conformance.bench.registry import contestant_at, finds_by_dialect, solvers_beside
from detr_conformance.bench.sizes import Size
from detr_conformance.bench.solvers import SOLVERS
from detr_conformance.commands.command_line import run
from detr_spec.profiles import DEFORMABLE, DETR

TINY = Size(2, 6, 5, 3, layers=3)

GIVEN = '''
from dataclasses import replace

from scipy.optimize import linear_sum_assignment
from torch import nn

from detr_conformance import numpy_implementation, torch_implementation
from detr_reference import FocalSetCriterion, HungarianMatcher, SetCriterion, focal_cost
from detr_spec import DEFORMABLE, DETR
from detr_spec.implementation import Implementation, Limits

KEYS = replace(
    DETR.keys,
    logits="logits",
    boxes="box_parameters",
    auxiliary="layers",
    labels="classes",
    target_boxes="truth",
    classification="entropy",
    auxiliary_loss="{loss}.{layer}",
)
USUAL = ("pred_logits", "pred_boxes")


def usual(layer):
    return dict(zip(USUAL, (layer["logits"], layer["box_parameters"])))


def usual_targets(targets):
    return [{"labels": target["classes"], "boxes": target["truth"]} for target in targets]


class Matcher(HungarianMatcher):
    def forward(self, outputs, targets):
        return super().forward(usual(outputs), usual_targets(targets))


class UsualMatcher(HungarianMatcher):
    pass


class Criterion(nn.Module):
    """DETR's losses in a dialect of names of its own, times a factor."""

    def __init__(self, c, factor=1.0):
        super().__init__()
        self.matcher = UsualMatcher(*c.cost_weights)
        self.losses = SetCriterion(c.num_classes, self.matcher, c.weight_dict, c.class_loss.eos_coef, c.losses)
        self.factor = factor

    def forward(self, outputs, targets):
        given = {**usual(outputs), "aux_outputs": [usual(layer) for layer in outputs["layers"]]}
        found = self.losses(given, usual_targets(targets))
        renamed = {}
        for key, value in found.items():
            name, _, layer = key.removeprefix("loss_").partition("_")
            main = {"ce": "entropy", "bbox": "loss_bbox", "giou": "loss_giou"}.get(name)
            if main is not None:
                renamed[f"{main}.{layer}" if layer else main] = value * self.factor
        return renamed


OWN = replace(DETR, name="own", keys=KEYS)
own = torch_implementation(
    name="own", profile=OWN, matcher=lambda c: Matcher(*c.cost_weights), criterion=Criterion
)
scaled = torch_implementation(
    name="scaled", profile=OWN, matcher=lambda c: Matcher(*c.cost_weights), criterion=lambda c: Criterion(c, 1.001)
)
unseen = torch_implementation(
    name="unseen", profile="detr", criterion=lambda c: lambda outputs, targets: {}
)
heavy = torch_implementation(
    name="heavy",
    profile=replace(DETR, cost_weights=(2.0, 1.0, 1.0)),
    limits=Limits(fixed={"class_loss.eos_coef": 0.5, "cost_giou": 4.0}),
    criterion=lambda c: SetCriterion(
        c.num_classes, HungarianMatcher(2.0, 1.0, 4.0), c.weight_dict, 0.5, c.losses
    ),
)
reference = torch_implementation(
    name="reference",
    profile="deformable",
    criterion=lambda c: FocalSetCriterion(
        c.num_classes, HungarianMatcher(*c.cost_weights, class_cost=focal_cost()), c.weight_dict, c.losses
    ),
)
double = torch_implementation(
    name="double", profile="detr", limits=Limits(dtypes=("float64",)), criterion=reference.criterion
)
matcher = torch_implementation(name="matcher", profile="detr", matcher=lambda c: Matcher(*c.cost_weights))
written = Implementation(name="written", profile=DETR, criterion=lambda c: lambda outputs, targets: None)

solver = numpy_implementation(name="a solver", solver=linear_sum_assignment)
batch = numpy_implementation(
    name="a batch",
    solver=linear_sum_assignment,
    batch_solver=lambda costs: [linear_sum_assignment(cost) for cost in costs],
)
greedy = numpy_implementation(name="greedy", solver=lambda cost: (range(len(cost)), range(len(cost))))
'''

SMALL = ["--size", "2,6,5,3", "--regime", "trained", "--repeats", "2"]


@pytest.fixture(autouse=True)
def garbage_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """To collect all that a whole suite has left takes longer than these tests."""
    monkeypatch.setattr(timing.gc, "collect", lambda: 0)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given.py"
    path.write_text(GIVEN, encoding="utf-8")
    return path


def found(folder: Path, *names: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]], set[tuple[str, str]]]:
    """The exit code; by kind and name, the entries of contestants; and the kinds and dialects that were timed."""
    document_path = folder / "found.json"
    code = run(["bench", *names, *SMALL, f"--json={document_path}"])
    settings = json.loads(document_path.read_text())["settings"]
    entries = {(setting["kind"], entry["name"]): entry for setting in settings for entry in setting["contestants"]}
    return code, entries, {(setting["kind"], setting["profile"]) for setting in settings}


def test_a_criterion_with_names_of_its_own_is_timed(given: Path, tmp_path: Path) -> None:
    code, entries, settings = found(tmp_path, f"{given}:own")
    assert code == 0
    assert settings == {("criterion", "detr")}
    own = entries["criterion", "own"]
    assert own["status"] == "timed"
    assert own["ratio"] > 0
    assert own["median_seconds"]["step"] > 0
    assert entries["criterion", "reference"]["status"] == "timed"


def test_a_criterion_that_computes_something_else_is_accused(given: Path, tmp_path: Path) -> None:
    code, entries, _ = found(tmp_path, f"{given}:own", f"{given}:scaled")
    assert code == 1
    assert entries["criterion", "own"]["status"] == "timed"
    assert entries["criterion", "scaled"]["status"] == "disagrees"
    assert entries["criterion", "scaled"]["note"].startswith("classification is")


def test_declared_weights_and_numbers_that_cannot_be_varied_are_heeded(given: Path) -> None:
    (heavy,) = given_contestants((f"{given}:heavy",))
    batch = make_batch(TINY, "untrained", DETR)
    configuration = batch.configuration(heavy.profile, heavy.fixed)
    assert configuration.cost_weights == (2.0, 1.0, 4.0)
    assert (configuration.class_loss.eos_coef, configuration.fixed) == (0.5, ("class_loss.eos_coef", "cost_giou"))
    code, entries, _ = found(given.parent, f"{given}:heavy")
    assert (code, entries["criterion", "heavy"]["status"]) == (0, "timed")


def test_each_takes_part_in_its_dialect_under_a_name_of_its_own(given: Path, tmp_path: Path) -> None:
    code, entries, settings = found(tmp_path, f"{given}:reference", f"{given}:solver")
    assert code == 0
    assert settings == {("criterion", "deformable"), ("assignment", "detr")}
    assert entries["criterion", "reference (given)"]["status"] == "timed"
    assert entries["criterion", "reference"]["status"] == "timed"
    finds = finds_by_dialect((), (f"{given}:reference", f"{given}:own"))
    assert {dialect: contestants[-1]().name for dialect, contestants in finds.items()} == {
        "detr": "own",
        "deformable": "reference (given)",
    }
    assert finds_by_dialect(("detr",), (f"{given}:reference",)) == {}
    assert contestant_at(0, ()).name == "reference"


def test_solvers_are_timed_one_problem_or_all_at_a_time(given: Path, tmp_path: Path) -> None:
    code, entries, settings = found(tmp_path, *(f"{given}:{name}" for name in ("solver", "batch", "greedy")))
    assert code == 1
    assert settings == {("assignment", "detr")}
    statuses = {name: entries["assignment", name]["status"] for name in ("a solver", "a batch", "greedy")}
    assert statuses == {"a solver": "timed", "a batch": "timed", "greedy": "disagrees"}
    assert solvers_beside() == SOLVERS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unseen", "TypeError: its matchings cannot be seen; give its matcher, too"),
        ("written", "TypeError: its criterion is not built by torch_implementation"),
    ],
)
def test_what_cannot_be_held_to_the_definitions_fails_in_one_line(
    name: str, words: str, given: Path, tmp_path: Path
) -> None:
    code, entries, _ = found(tmp_path, f"{given}:{name}")
    assert code == 1
    assert entries["criterion", name]["status"] == "failed"
    assert entries["criterion", name]["note"].startswith(words)


def test_a_loss_that_is_not_there_is_named(given: Path) -> None:
    (own,) = given_contestants((f"{given}:own",))
    step = own.build(make_batch(TINY, "trained", DETR))
    losses = dict(step.losses())
    del losses["entropy.1"]
    with pytest.raises(LookupError, match=r"there is no 'entropy\.1' among the losses, which are entropy, loss_bbox"):
        step.terms(losses)


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["matcher"], [], "has nothing to time; expected a criterion that computes in float32, or a solver"),
        (["double"], [], "has nothing to time"),
        (["own", "own"], [], "two implementations of detr are called 'own'; give one another name"),
        (["own"], ["--profile", "deformable"], "given.py:own has no criterion of deformable"),
        (["gone"], [], "has no attribute 'gone'"),
    ],
)
def test_what_cannot_take_part_is_told_in_one_line(
    names: list[str], options: list[str], words: str, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", *(f"{given}:{name}" for name in names), *SMALL, *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["process:python testee.py", "isolated:reference"])
def test_a_process_of_its_own_cannot_be_timed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", name, *SMALL]) == 2
    assert "answers from a process of its own, which cannot be timed" in capsys.readouterr().err


def test_its_memory_is_measured_like_that_of_others(given: Path) -> None:
    find = finds_by_dialect((), (f"{given}:own",))["detr"][-1]
    assert peak_in_this_process(find, TINY, "trained", 1) >= 0


def test_a_profile_is_of_the_dialect_with_the_same_columns(given: Path) -> None:
    names = (f"{given}:own", f"{given}:reference")
    profiles = {contestant.name: contestant.profile for contestant in given_contestants(names)}
    assert {name: profile.name for name, profile in profiles.items()} == {
        "own": DETR.name,
        "reference (given)": DEFORMABLE.name,
    }
    assert profiles["own"] == replace(DETR, keys=profiles["own"].keys)
    with pytest.raises(UsageError):
        given_contestants(("no such name",))
