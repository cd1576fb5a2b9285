"""What cannot be called at all is one finding, wherever it is told; what raises in some cases alone is as many."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import jsonschema

from detr_conformance import check
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.commands.command_line import run
from detr_conformance.judging.judge import judge
from detr_conformance.judging.uncallable import CASES, FACTORY, uncallable
from detr_conformance.reports.junit import as_junit
from detr_conformance.reports.markdown import as_markdown
from detr_conformance.reports.page import as_html
from detr_conformance.reports.reading import read_report
from detr_conformance.running.report import Report
from detr_spec.configuration import Configuration
from detr_spec.implementation import PARTED, Implementation
from detr_spec.invariants import all_invariants, find_invariants

SUBJECTS = """
from detr_conformance import torch_implementation
from detr_reference import HungarianMatcher, PostProcess, SetCriterion, box_iou, generalized_box_iou

class More(HungarianMatcher):
    def forward(self, outputs, targets, indices):
        return super().forward(outputs, targets)

class Misread(HungarianMatcher):
    def forward(self, outputs, targets):
        return super().forward({"pred_logits": outputs["scores"], **outputs}, targets)

class Wide(HungarianMatcher):
    def forward(self, outputs, targets):
        return super().forward(outputs, [{**target, "labels": target["labels"].double()} for target in targets])

class ForOne(HungarianMatcher):
    def forward(self, outputs, targets):
        if len(targets) > 1:
            raise ValueError("one image alone")
        return super().forward(outputs, targets)

class ForSingle(HungarianMatcher):
    def forward(self, outputs, targets):
        if outputs["pred_boxes"].element_size() > 4:
            raise TypeError("float32 alone")
        return super().forward(outputs, targets)

class Losses(SetCriterion):
    def forward(self, outputs, targets):
        return super().forward(outputs, targets["labels"])

def criterion(configuration):
    c = configuration
    return Losses(c.num_classes, HungarianMatcher(*c.cost_weights), c.weight_dict, c.class_loss.eos_coef, c.losses)

def refusing(configuration):
    raise RuntimeError("no such configuration")

def made(name, **parts):
    return torch_implementation(name=name, profile="detr", **parts)

MORE = made("more", matcher=lambda c: More(*c.cost_weights))
MISREAD = made("misread", matcher=lambda c: Misread(*c.cost_weights))
REFUSING = made("refusing", matcher=refusing)
DETECTIONS = made("detections", postprocess=lambda c: lambda outputs: PostProcess()(outputs, None))
FOR_ONE = made("for one", matcher=lambda c: ForOne(*c.cost_weights))
FOR_SINGLE = made("for single", matcher=lambda c: ForSingle(*c.cost_weights))
RIGHT = made("right", matcher=lambda c: HungarianMatcher(*c.cost_weights))
LOSSES = made("losses", criterion=criterion, postprocess=lambda c: PostProcess())
BOXES = made("boxes", boxes={"iou": lambda *both: box_iou(*both)[0], "giou": lambda one: generalized_box_iou(one, one)})
"""

TOLD = {
    "MORE": (
        "the matcher cannot be called. Called with outputs (pred_logits, pred_boxes) and targets (a dictionary an "
        "image: labels, boxes), it raised TypeError: More.forward() missing 1 required positional argument: "
        "'indices', and raised in each of 20 cases"
    ),
    "MISREAD": "it raised KeyError: 'scores' (",
    "REFUSING": (
        "the matcher cannot be built. Built from a configuration, it raised RuntimeError: no such configuration ("
    ),
    "DETECTIONS": (
        "the post-processing cannot be called. Called with outputs (pred_logits, pred_boxes) and target_sizes [B, 2], "
        "it raised TypeError: "
    ),
    "LOSSES": "the criterion cannot be called. Called with outputs (pred_logits, pred_boxes) and targets (",
}
"""What is told of each subject of which something cannot be called."""

EITHER = {Verdict.CANNOT_BE_CALLED, Verdict.NOT_JUDGED}
UNASKED = {Verdict.NOT_PROVIDED, Verdict.NOT_APPLICABLE}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uncallable") / "uncallable_subjects.py"
    path.write_text(SUBJECTS)
    return path


def verdicts(report: Report, *components: str) -> dict[str, Verdict]:
    return {
        judgement.id: judgement.verdict
        for _, judgement in report
        if not components or judgement.component in components
    }


def timeless(report: Report) -> list[Judgement]:
    return [replace(judgement, seconds=0.0, implementation_seconds=0.0) for _, judgement in report]


@pytest.mark.parametrize("name", TOLD)
def test_what_cannot_be_called_is_one_finding_that_says_why(subjects: Path, name: str) -> None:
    report = check(f"{subjects}:{name}", examples=3)
    ((_, finding),) = report.failing
    assert finding.verdict is Verdict.CANNOT_BE_CALLED
    assert TOLD[name] in finding.message
    assert finding.message.endswith(f"raised in each of {CASES} cases")
    assert finding.counterexample is not None
    assert finding.counterexample.vector is not None
    assert "Traceback" in finding.counterexample.details["traceback"]
    assert report.exit_code == 1
    components = [finding.component, *(["gradients", "distributed"] if name == "LOSSES" else [])]
    found = verdicts(report, *components)
    assert set(found.values()) <= EITHER | UNASKED
    assert list(found.values()).count(Verdict.CANNOT_BE_CALLED) == 1
    for _, judgement in report:
        if judgement.verdict is Verdict.NOT_JUDGED:
            assert judgement.message == finding.message.partition(". ")[0]
            assert judgement.counterexample is None


def test_where_it_raised_is_told(subjects: Path) -> None:
    (invariant,) = find_invariants("matcher.valid-pairs")
    judgement = judge(invariant, named(subjects, "MISREAD"), examples=3)
    line = 1 + SUBJECTS.splitlines().index(
        '        return super().forward({"pred_logits": outputs["scores"], **outputs}, targets)'
    )
    assert f"({subjects}, line {line}, in forward)" in judgement.message


def test_what_beside_it_can_be_called_is_judged(subjects: Path) -> None:
    report = check(f"{subjects}:LOSSES", examples=3, invariants=["postprocess.lengths", "criterion.keys"])
    assert verdicts(report) == {
        "criterion.keys": Verdict.CANNOT_BE_CALLED,
        "postprocess.lengths": Verdict.HOLDS,
    }


def test_of_several_functions_the_one_that_cannot_be_called_is_named(subjects: Path) -> None:
    report = check(f"{subjects}:BOXES", examples=5, components=["boxes"])
    found = verdicts(report)
    ((_, finding),) = report.failing
    assert finding.message.startswith("giou of the boxes cannot be called. Called with boxes [n, 4], it raised TypeErr")
    assert found["boxes.iou-definition"] is Verdict.HOLDS
    assert found["boxes.giou-definition"] in EITHER


@pytest.mark.parametrize("name", ["FOR_ONE", "FOR_SINGLE"])
def test_what_raises_in_some_cases_alone_stays_a_finding_of_each_invariant(subjects: Path, name: str) -> None:
    report = check(f"{subjects}:{name}", examples=20, invariants=["M1", "M2", "M3", "matcher.batch-is-its-images"])
    assert not EITHER & set(verdicts(report).values())
    assert {"matcher.valid-pairs", "matcher.optimal-cost"} <= {judgement.id for _, judgement in report.failing}
    for _, judgement in report.failing:
        assert judgement.verdict is Verdict.ERROR


def test_what_fails_at_first_alone_is_not_repeatable(subjects: Path) -> None:
    calls = []
    given = named(subjects, "RIGHT")

    def first_raises(configuration: Configuration) -> Any:
        calls.append(None)
        if len(calls) == 1:
            raise ValueError("not yet")
        assert given.matcher is not None
        return given.matcher(configuration)

    (invariant,) = find_invariants("matcher.valid-pairs")
    judgement = judge(invariant, replace(given, matcher=first_raises), examples=5)
    assert judgement.verdict is Verdict.ERROR
    assert judgement.message.startswith("not repeatable")


@cache
def named(path: Path, name: str) -> Implementation:
    from detr_conformance.implementations.resolve import resolve

    (found,) = resolve(f"{path}:{name}")
    return found


def test_a_report_says_it_in_every_form(subjects: Path, tmp_path: Path, schema: Mapping[str, Any]) -> None:
    report = check(f"{subjects}:MORE", examples=3, invariants=["M1", "M2"])
    (tmp_path / "report.json").write_text(report.to_json())
    jsonschema.validate(json.loads(report.to_json()), schema)
    assert timeless(read_report(tmp_path / "report.json")) == timeless(report)
    junit = as_junit(report)
    assert 'type="cannot be called"' in junit
    assert 'errors="1"' in junit
    assert "not judged: the matcher cannot be called" in junit
    markdown = as_markdown(report)
    assert "1 of 4 judgements fails" in markdown
    assert "❌ cannot be called" in markdown
    assert "1 cannot be called, 3 not judged" in markdown
    page = as_html(report)
    assert page.count('data-v="cannot be called"') == 1
    assert page.count('data-v="not judged"') == 0


@pytest.fixture
def schema() -> Mapping[str, Any]:
    import detr_conformance

    path = Path(detr_conformance.__file__).parent / "schemas" / "report.schema.json"
    read: Mapping[str, Any] = json.loads(path.read_text())
    return read


def test_the_terminal_shows_it_once(subjects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["check", f"{subjects}:MORE", "--invariant", "M1", "--invariant", "M2", "--examples", "3", "-n", "0"]) == 1
    )
    shown = capsys.readouterr()
    assert shown.out.count("CANNOT BE CALLED: matcher.valid-pairs (M1, MUST), more (detr)") == 1
    assert shown.out.count("Traceback") == 1
    assert "1 cannot be called, 3 not judged" in shown.out
    assert "more (detr) judged, 1 failing" in shown.err


@pytest.mark.parametrize("how", [{"workers": 1}, {"isolate": True}])
def test_every_door_says_the_same(subjects: Path, how: Mapping[str, Any]) -> None:
    chosen: Mapping[str, Any] = {"examples": 3, "invariants": ["M1", "M2", "M15"]}
    here = check(f"{subjects}:MISREAD", **chosen)
    elsewhere = check(f"{subjects}:MISREAD", **chosen, **how)
    assert verdicts(elsewhere) == verdicts(here)
    assert [judgement.message for _, judgement in elsewhere] == [judgement.message for _, judgement in here]
    assert set(verdicts(here).values()) >= EITHER


def test_shards_merge_to_the_whole(subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["check", f"{subjects}:MORE", "--invariant", "M1", "--invariant", "M2", "--examples", "3", "-n", "0"]
    files = [tmp_path / name for name in ("1.json", "2.json", "whole.json", "merged.json")]
    for shard, file in zip((["--shard", "1/2"], ["--shard", "2/2"], []), files, strict=False):
        assert run([*how, *shard, "--json", str(file)]) == 1
    assert run(["merge", *map(str, files[:2]), "--json", str(files[3])]) == 1
    capsys.readouterr()
    assert timeless(read_report(files[3])) == timeless(read_report(files[2]))


def test_it_cannot_be_accepted(subjects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = tmp_path / "ledger.toml"
    how = ["--invariant", "M1", "--examples", "3", "-n", "0", "--ledger", str(ledger), "--accept"]
    assert run(["check", f"{subjects}:MORE", *how]) == 1
    told = capsys.readouterr().out
    assert told.count("not accepted, cannot be called: matcher.valid-pairs, more (detr): the matcher cannot be") == 1
    assert "matcher.int64-indices" not in told


def test_in_pytest_the_first_test_fails_and_the_others_are_skipped(subjects: Path) -> None:
    (subjects.parent / "test_mine.py").write_text(
        "from detr_conformance import conformance_tests\n"
        "from uncallable_subjects import MORE\n"
        "test_conformance = conformance_tests(MORE, invariants=['M1', 'M2'])\n"
    )

    def shown(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--detr-spec-examples=3", *options],
            cwd=subjects.parent,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 1
        return done.stdout

    whole = shown()
    assert "1 failed, 3 skipped" in whole
    assert whole.count("CANNOT BE CALLED: matcher.valid-pairs (M1, MUST), more (detr)") == 1
    assert "not judged: the matcher cannot be called" in whole
    assert "1 failed, 3 deselected" in shown("-k", "optimal-cost")


@cache
def reference() -> tuple[Implementation, ...]:
    from detr_conformance.implementations.resolve import resolve

    return (*resolve("reference"), *resolve("detr-spec-solver"))


COMPONENTS = tuple(dict.fromkeys(item.component for item in all_invariants()))


def provided(component: str) -> Implementation:
    """One of the reference that has the component, and an invariant that asks for it."""
    items = [item for item in all_invariants() if item.component == component and not item.undeclared_dtypes]
    return next(
        one for one in reference() if component in one.components and any(item.applies(one.profile) for item in items)
    )


@pytest.mark.parametrize("component", [name for name in COMPONENTS if name != "distributed"])
def test_of_each_component_it_is_seen_whether_it_can_be_called(component: str) -> None:
    right = provided(component)
    assert uncallable(right, component, FACTORY, "cpu") is None

    def unbuilt(configuration: Configuration) -> Any:
        raise ValueError("unbuilt")

    def raising(*_: Any) -> Any:
        raise ValueError("raised")

    def built(configuration: Configuration) -> Any:
        made = getattr(right, component)(configuration)
        if not isinstance(made, PARTED):
            return raising
        return replace(made, **{part.name: raising for part in fields(made) if getattr(made, part.name) is not None})

    found = uncallable(replace(right, **{component: unbuilt}), component, FACTORY, "cpu")
    assert found is not None
    assert "cannot be built" in found.message
    configuration = Configuration(profile=right.profile)
    made = getattr(right, component)(configuration)
    functions = [part.name for part in fields(made)] if isinstance(made, PARTED) else [""]
    called = 0
    for function in functions:
        assert uncallable(right, component, function, "cpu") is None
        called += uncallable(replace(right, **{component: built}), component, function, "cpu") is not None
    assert called


def test_refusals_do_not_hold_for_what_refuses_everything(subjects: Path, tmp_path: Path) -> None:
    refusing = [item.id for item in all_invariants() if item.id.endswith("-refused") and item.component == "matcher"]
    assert len(refusing) > 4
    found = verdicts(check(f"{subjects}:MORE", examples=3, invariants=refusing))
    assert set(found.values()) <= EITHER | UNASKED
    assert Verdict.NOT_JUDGED in found.values()
