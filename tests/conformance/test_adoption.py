"""Adoption: what `init` finds in a project, what it writes there, and that the gate tells right from wrong."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from detr_conformance import check
from detr_conformance.adoption.findings import Findings, probe
from detr_conformance.adoption.sources import given_source
from detr_conformance.commands.command_line import run
from detr_spec.profile import MatcherRules

PROJECT = Path(__file__).parent / "projects" / "rf_like"
NUMBERS = count()

Made = Callable[..., tuple[Path, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Makes a copy of the project, with texts replaced, whose package has a name of its own."""

    def make(replaced: Mapping[str, str] | None = None) -> tuple[Path, str]:
        package = f"rf_like_{next(NUMBERS)}"
        folder = tmp_path / package
        shutil.copytree(PROJECT, folder)
        (folder / "rf_like").rename(folder / package)
        missing = set(replaced or {})
        for path in folder.rglob("*.py"):
            text = path.read_text()
            for old, new in (replaced or {}).items():
                missing -= {old} if old in text else set()
                text = text.replace(old, new)
            path.write_text(text.replace("rf_like", package))
        assert not missing
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.chdir(folder)
        return folder, package

    yield make
    forget()


def forget() -> None:
    """Lets the projects be imported anew, as in a process of its own."""
    for name in [name for name in sys.modules if "rf_like" in name or "detr_spec_adapter" in name]:
        del sys.modules[name]
    importlib.invalidate_caches()


def found(address: str) -> Findings:
    return probe(given_source(address))


def components(findings: Findings) -> dict[str, str]:
    return {part.role: part.construction.source.expression for part in findings.parts}


def test_a_criterion_is_found_with_its_matcher_post_processing_and_boxes(project: Made) -> None:
    _, package = project()
    findings = found(f"{package}.criterion:SetCriterion")
    assert components(findings) == {
        "matcher": f"{package}.matcher.HungarianMatcher",
        "criterion": f"{package}.criterion.SetCriterion",
        "postprocess": f"{package}.postprocess.PostProcess",
    }
    assert [function.operation for function in findings.boxes] == ["cxcywh_to_xyxy", "giou"]
    assert findings.profile is not None
    assert findings.profile.name == "deformable"
    assert findings.fits[0].failed == ()
    assert findings.parts[1].construction.unasked == ("group_detr",)


def test_what_init_writes_runs_as_it_is(project: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder, package = project()
    (folder / "tests").mkdir()
    assert run(["init", f"{package}.criterion:SetCriterion"]) == 0
    told = capsys.readouterr().out
    written = ["detr_spec_adapter.py", "detr-spec.toml", "tests/test_detr_spec.py", ".github/workflows/detr-spec.yml"]
    assert [line for line in told.splitlines() if line.startswith("Written")] == [
        f"Written: {name}" for name in written
    ]
    assert "Profile deformable fits best" in told
    assert "Left to fill in" not in told
    report = check(
        "detr_spec_adapter.py:implementation",
        invariants=["criterion.giou-value", "auxiliary.keys", "matcher.optimal-cost", "P2", "boxes.symmetric"],
        examples=4,
        ledger=[folder / "detr-spec.toml"],
    )
    assert report.exit_code == 0
    assert {str(judgement.verdict) for _, judgement in report} == {"holds"}
    workflow = (folder / ".github/workflows/detr-spec.yml").read_text()
    assert "detr-spec check detr_spec_adapter.py:implementation\n" in workflow
    assert 'pip install . "detr-spec[torch]' in workflow
    test = (folder / "tests/test_detr_spec.py").read_text()
    assert "parent.parent\n" in test
    assert not (folder / ".hypothesis").exists()


def test_a_file_that_is_there_is_never_written_over(project: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder, package = project()
    for name in ("detr_spec_adapter.py", "detr-spec.toml"):
        (folder / name).write_text("mine\n")
    (folder / "test_detr_spec.py").symlink_to(folder / "nowhere")
    assert run(["init", f"{package}.matcher:HungarianMatcher"]) == 0
    told = capsys.readouterr().out
    for name in ("detr_spec_adapter.py", "detr-spec.toml", "test_detr_spec.py"):
        assert f"Kept as it is: {name}" in told
    assert (folder / "detr_spec_adapter.py").read_text() == "mine\n"
    assert (folder / "detr-spec.toml").read_text() == "mine\n"
    assert not (folder / "nowhere").exists()
    assert "Written: .github/workflows/detr-spec.yml" in told


OTHER_SPELLINGS = {
    '"pred_logits"': '"logits"',
    '"labels"]': '"class_labels"]',
    '"aux_outputs"': '"auxiliary_outputs"',
    '"loss_ce": loss, "class_error": self.class_error(logits, targets, pairs)': '"loss_class": loss',
    "{name}_{place}": "{name}_aux_{place}",
}


def test_other_spellings_are_found_and_declared(project: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder, package = project(OTHER_SPELLINGS)
    assert run(["init", f"{package}.criterion:SetCriterion"]) == 0
    told = capsys.readouterr().out
    assert "outputs are read as logits, pred_boxes and auxiliary_outputs, targets as class_labels and boxes" in told
    assert "no class error is reported" in told
    keys = (
        'keys=replace(DEFORMABLE.keys, logits="logits", auxiliary="auxiliary_outputs", labels="class_labels", '
        'classification="loss_class", class_error=None, auxiliary_loss="{loss}_aux_{layer}")'
    )
    assert keys in (folder / "detr_spec_adapter.py").read_text()
    report = check(
        "detr_spec_adapter.py:implementation",
        invariants=["criterion.keys", "criterion.classification-value", "auxiliary.keys", "postprocess.lengths"],
        examples=4,
    )
    assert report.exit_code == 0


BOXES = "box_cxcywh_to_xyxy(box[place // classes])"
RULES = {
    "size_order": ("[target_sizes[:, 1], target_sizes[:, 0]]", "[target_sizes[:, 0], target_sizes[:, 1]]"),
    "threshold": (
        "for score, place, box, factor in zip(",
        "for score, place, box, factor in ((s[s > 0.5], p[s > 0.5], b, f) for s, p, b, f in zip(",
    ),
    "clamp": (f"{BOXES} * factor", f"{BOXES}.clamp(0, 1) * factor"),
}


ANSWER = "        return torch.as_tensor(rows), torch.as_tensor(columns)"
FORWARD = "    def forward(self, outputs, targets):\n"
FORMS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "rows of int32": (
        {ANSWER: "        return torch.as_tensor(list(zip(rows, columns)), dtype=torch.int32).reshape(-1, 2)"},
        {"answer": "rows", "index_dtype": "int32"},
    ),
    "one-based assignment": (
        {ANSWER: (
            "        assigned = torch.zeros(len(logits), dtype=torch.int64)\n"
            "        assigned[rows] = torch.as_tensor(columns) + 1\n"
            "        return assigned"
        )},
        {"answer": "assignment", "first_target": 1},
    ),
    "tensors": (
        {FORWARD: (
            "    def forward(self, boxes, logits, target_boxes, labels):\n"
            "        outputs = {'pred_logits': logits, 'pred_boxes': boxes}\n"
            "        targets = [dict(labels=own, boxes=box) for own, box in zip(labels, target_boxes, strict=True)]\n"
        )},
        {"arguments": ("boxes", "logits", "target_boxes", "labels")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", list(FORMS))
def test_the_call_and_the_answer_of_a_matcher_are_found(project: Made, form: str) -> None:
    replaced, declared = FORMS[form]
    folder, package = project(replaced)
    assert run(["init", f"{package}.matcher:HungarianMatcher", "--directory", str(folder)]) == 0
    adapter = importlib.import_module("detr_spec_adapter").implementation
    assert adapter.profile.matcher == MatcherRules(**declared)
    report = check(adapter, components=["matcher"], examples=5)
    found = {one.id for one in report.implementations[0].judgements if one.verdict.fails}
    assert found <= {"matcher.no-weight-refused"}


@pytest.mark.parametrize("rule", [None, *RULES])
def test_the_rules_of_post_processing_are_seen(project: Made, rule: str | None) -> None:
    replaced = {} if rule is None else {RULES[rule][0]: RULES[rule][1]}
    if rule == "threshold":
        replaced["boxes, scale, strict=True)\n        ]"] = "boxes, scale, strict=True))\n        ]"
    _, package = project(replaced)
    findings = found(f"{package}.postprocess:PostProcess")
    assert components(findings) == {"postprocess": f"{package}.postprocess.PostProcess"}
    assert findings.profile is not None
    seen = findings.profile.detection
    assert (seen.size_order, seen.threshold, seen.clamp) == (
        "width-height" if rule == "size_order" else "height-width",
        rule == "threshold",
        rule == "clamp",
    )


def test_an_unknown_argument_is_left_marked_and_told_until_it_is_filled_in(
    project: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, package = project({"focal_gamma=2.0, group_detr=1": "group_detr, focal_gamma=2.0"})
    assert run(["init", f"{package}.criterion:SetCriterion"]) == 0
    told = capsys.readouterr().out
    argument = f"GROUP_DETR: the argument group_detr of {package}.criterion.SetCriterion"
    assert argument in told
    assert "PROFILE: the profile that the project follows" in told
    assert run(["check", "detr_spec_adapter.py:implementation", "-n", "0"]) == 2
    assert f"NotImplementedError: fill in {argument}" in capsys.readouterr().err
    adapter = folder / "detr_spec_adapter.py"
    filled = {"GROUP_DETR: Any =": "GROUP_DETR = 13", "PROFILE: Any =": "from detr_spec import DEFORMABLE as PROFILE"}
    lines = [
        next((text for start, text in filled.items() if line.startswith(start)), line)
        for line in adapter.read_text().splitlines()
    ]
    (folder / "filled.py").write_text("\n".join(lines) + "\n")
    assert check("filled.py:implementation", invariants=["criterion.l1-value"], examples=4).exit_code == 0


def test_an_unknown_loss_is_left_marked(project: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder, package = project({'"loss_giou"': '"overlap"'})
    assert run(["init", f"{package}.criterion:SetCriterion"]) == 0
    assert "BOX_GIOU: the key of the box giou loss" in capsys.readouterr().out
    assert "box_giou=BOX_GIOU" in (folder / "detr_spec_adapter.py").read_text()


def test_dtypes_in_which_it_cannot_be_called_are_left_out(project: Made) -> None:
    single = 'assert outputs["pred_boxes"].dtype == torch.float32\n        num_boxes = self.num_boxes(targets, '
    folder, package = project({"num_boxes = self.num_boxes(targets, ": single})
    assert run(["init", f"{package}.criterion:SetCriterion"]) == 0
    assert 'limits=Limits(dtypes=("float32",)),' in (folder / "detr_spec_adapter.py").read_text()
    assert check("detr_spec_adapter.py:implementation", invariants=["criterion.l1-value"], examples=4).exit_code == 0


def test_what_cannot_be_varied_is_declared(project: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder, package = project(
        {"focal_alpha=0.25, focal_gamma=2.0)": "focal_alpha=0.25)", "= focal_alpha, focal_gamma": "= focal_alpha, 2.0"}
    )
    assert run(["init", f"{package}.criterion:SetCriterion"]) == 0
    told = "class_cost.gamma cannot be varied, as there is no argument for it: it is taken to be 2"
    assert told in capsys.readouterr().out
    adapter = (folder / "detr_spec_adapter.py").read_text()
    assert 'limits=Limits(fixed={"class_cost.gamma": 2.0}),' in adapter
    assert "    It keeps the defaults of group_detr.\n" in adapter
    assert check("detr_spec_adapter.py:implementation", invariants=["matcher.optimal-cost"], examples=20).exit_code == 0


def test_what_an_instance_knows_is_taken_from_it(project: Made) -> None:
    folder, package = project({"focal_gamma=2.0, group_detr=1": "group_detr, focal_gamma=2.0"})
    (folder / package / "made.py").write_text(
        f"from {package}.criterion import HungarianMatcher, SetCriterion\n"
        "CRITERION = SetCriterion(3, HungarianMatcher(), {'loss_ce': 1}, 0.25, ['labels', 'boxes'], 13)\n"
    )
    assert run(["init", f"{package}.made:CRITERION"]) == 0
    adapter = (folder / "detr_spec_adapter.py").read_text()
    assert f"group_detr={package}.made.CRITERION.group_detr," in adapter
    assert f"import {package}.made\n" in adapter
    assert check("detr_spec_adapter.py:implementation", invariants=["criterion.l1-value"], examples=4).exit_code == 0


def test_a_function_is_a_component_as_it_is(project: Made) -> None:
    folder, package = project()
    (folder / package / "functions.py").write_text(
        f"from {package}.postprocess import PostProcess\n"
        "def detections(outputs, target_sizes):\n    return PostProcess(100)(outputs, target_sizes)\n"
    )
    assert run(["init", f"{package}.functions:detections"]) == 0
    assert f"    return {package}.functions.detections\n" in (folder / "detr_spec_adapter.py").read_text()
    report = check("detr_spec_adapter.py:implementation", invariants=["postprocess.own-size"], examples=4)
    assert report.exit_code == 0


def test_a_module_gives_what_it_has(project: Made) -> None:
    _, package = project()
    findings = found(f"{package}.criterion")
    assert set(components(findings)) == {"matcher", "criterion", "postprocess"}


def test_the_softmax_dialect_is_told_from_the_other() -> None:
    findings = found("detr_reference:SetCriterion")
    assert findings.profile is not None
    assert findings.profile.name == "detr"
    assert components(findings)["matcher"] == "detr_reference.matcher.HungarianMatcher"
    assert findings.fits[0].failed == ()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("math:pi", "math.pi is nothing that detr-spec knows how to call"),
        ("no_such_module:X", "no module is called 'no_such_module'"),
        ("math:pie", "math has no attribute 'pie'; did you mean pi"),
        ("losses.py:SetCriterion", "names a file; expected package.module:object"),
        ("collections:OrderedDict", "is nothing that detr-spec knows how to call"),
    ],
)
def test_what_cannot_be_adopted_is_told_and_nothing_is_written(
    address: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", address, "--directory", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


NEVER = {'outputs["pred_logits"].shape[-1] != self.num_classes': "True"}
MORE = {"targets):\n        if outputs[": "targets, epoch):\n        if outputs["}


@pytest.mark.parametrize(
    ("replaced", "raised"),
    [(NEVER, "ValueError: expected 3 columns of logits"), (MORE, "missing 1 required positional argument: 'epoch'")],
)
def test_a_criterion_that_raises_is_left_to_call_with_what_it_raised(
    project: Made, capsys: pytest.CaptureFixture[str], replaced: dict[str, str], raised: str
) -> None:
    folder, package = project(replaced)
    assert run(["init", f"{package}.criterion:SetCriterion"]) == 0
    told = capsys.readouterr().out
    assert raised in told
    assert "CRITERION_CALL: how build_criterion calls it" in told
    assert "fits best" not in told
    adapter = (folder / "detr_spec_adapter.py").read_text()
    assert "    def call(outputs: Any, targets: Any) -> Any:\n        return built(outputs, targets)\n" in adapter
    assert run(["check", "detr_spec_adapter.py:implementation", "-n", "0"]) == 2
    assert "NotImplementedError: fill in " in capsys.readouterr().err


def test_a_matcher_of_more_inputs_runs_once_its_call_is_filled_in(project: Made) -> None:
    start = "targets):\n        if not len("
    folder, package = project({start: start.replace("targets)", "targets, epoch)")})
    assert run(["init", f"{package}.matcher:HungarianMatcher"]) == 0
    text = (folder / "detr_spec_adapter.py").read_text()
    filled = {
        "MATCHER_CALL: Any =": "MATCHER_CALL = True",
        "PROFILE: Any =": "from detr_spec import DEFORMABLE as PROFILE",
    }
    lines = [
        next((new for start, new in filled.items() if line.startswith(start)), line)
        for line in text.replace("return built(outputs, targets)", "return built(outputs, targets, 1)").splitlines()
    ]
    (folder / "filled.py").write_text("\n".join(lines) + "\n")
    assert check("filled.py:implementation", invariants=["matcher.optimal-cost"], examples=4).exit_code == 0


def test_the_losses_are_found_beside_a_total(project: Made, capsys: pytest.CaptureFixture[str]) -> None:
    folder, package = project({"        return losses\n\n    def num_boxes": (
        "        return sum(losses[name] * self.weight_dict[name] for name in losses if name in self.weight_dict), "
        "losses\n\n    def num_boxes"
    )})  # fmt: skip
    assert run(["init", f"{package}.criterion:SetCriterion"]) == 0
    assert "Left to fill in" not in capsys.readouterr().out
    adapter = (folder / "detr_spec_adapter.py").read_text()
    assert "from detr_conformance.adoption.losses import LossesAt\n" in adapter
    assert "    return LossesAt(built, 1)\n" in adapter
    chosen = ["criterion.l1-value", "criterion.keys", "gradients.box-l1"]
    assert check("detr_spec_adapter.py:implementation", invariants=chosen, examples=4).exit_code == 0


FROM_PADDED = """
class FromPadded(SetCriterion):
    def forward(self, outputs, targets):
        listed = []
        for labels, boxes in zip(targets["labels"], targets["boxes"], strict=True):
            there = labels >= 0 if targets.get("valid") is None or MARKED else targets["valid"][len(listed)]
            listed.append({"labels": labels[there], "boxes": boxes[there]})
        return super().forward(outputs, listed)
"""


@pytest.mark.parametrize("marked", [True, False])
def test_padded_targets_are_found_with_the_label_of_padding(
    project: Made, capsys: pytest.CaptureFixture[str], marked: bool
) -> None:
    folder, package = project()
    source = f"from {package}.criterion import SetCriterion\n{FROM_PADDED.replace('MARKED', str(marked))}"
    (folder / package / "padded_loss.py").write_text(source)
    assert run(["init", f"{package}.padded_loss:FromPadded"]) == 0
    label = ", padding_label=-1" if marked else ""
    adapter = (folder / "detr_spec_adapter.py").read_text()
    assert f'targets=replace(DEFORMABLE.targets, layout="padded"{label})' in adapter
    told = capsys.readouterr().out
    assert "targets are padded" in told
    assert check("detr_spec_adapter.py:implementation", invariants=["criterion.l1-value"], examples=4).exit_code == 0


def test_own_classes_go_before_those_that_are_imported(project: Made) -> None:
    folder, package = project()
    (folder / package / "mine.py").write_text(
        f"from {package}.criterion import SetCriterion\n\nclass MyCriterion(SetCriterion):\n    pass\n"
    )
    assert components(found(f"{package}.mine"))["criterion"] == f"{package}.mine.MyCriterion"
    (folder / package / "other.py").write_text(
        f"from {package}.criterion import SetCriterion\n\nclass MyCriterion(SetCriterion):\n"
        "    def forward(self, outputs, targets):\n        raise KeyError('tokens')\n"
    )
    findings = found(f"{package}.other")
    assert components(findings)["criterion"] == f"{package}.other.MyCriterion"
    assert findings.parts[1].uncalled == "KeyError: 'tokens'"
    assert findings.fits == ()


def test_weights_of_the_cost_in_a_table_are_given(project: Made, capsys: pytest.CaptureFixture[str]) -> None:
    init = "def __init__(self, cost_class=2, cost_bbox=5, cost_giou=2, focal_alpha=0.25, focal_gamma=2.0):\n"
    folder, package = project({init: (
        "def __init__(self, weight_dict, use_focal_loss=False, alpha=0.25, gamma=2.0):\n"
        "        focal_alpha, focal_gamma = alpha, gamma\n"
        "        assert use_focal_loss\n"
        "        cost_class, cost_bbox = weight_dict['cost_class'], weight_dict['cost_bbox']\n"
        "        cost_giou = weight_dict['cost_giou']\n"
    )})  # fmt: skip
    assert run(["init", f"{package}.matcher:HungarianMatcher"]) == 0
    adapter = (folder / "detr_spec_adapter.py").read_text()
    assert 'weight_dict={"cost_class": configuration.cost_class, ' in adapter
    assert "use_focal_loss=not configuration.profile.has_no_object," in adapter
    assert "alpha=configuration.class_cost.alpha," in adapter
    assert "cannot be varied" not in capsys.readouterr().out
    assert check("detr_spec_adapter.py:implementation", invariants=["matcher.optimal-cost"], examples=9).exit_code == 0


SOUND = '"loss_bbox": (predicted - wanted).abs().sum() / num_boxes'
REGRESSION = '"loss_bbox": (predicted - wanted).abs().mean()'


def test_the_gate_is_green_then_red_for_a_planted_regression_and_green_again(
    project: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, package = project()
    assert run(["init", f"{package}.criterion:SetCriterion", "--directory", str(folder)]) == 0

    def gate() -> int:
        forget()
        arguments = ["detr_spec_adapter.py:implementation", "--ledger", "detr-spec.toml", "--html", "report.html"]
        chosen = [part for number in ("M2", "C1", "C2", "C17", "A1", "P2") for part in ("--invariant", number)]
        return run(["check", *arguments, *chosen, "--examples", "2", "--workers", "0"])

    assert gate() == 0
    source = folder / package / "criterion.py"
    sound = source.read_text()
    assert SOUND in sound
    source.write_text(sound.replace(SOUND, REGRESSION))
    capsys.readouterr()
    assert gate() == 1
    told = capsys.readouterr().out
    assert f"VIOLATED: criterion.l1-value (C2, MUST), {package} (deformable)" in told
    assert "VIOLATED: criterion.giou-value" not in told
    assert "criterion.l1-value" in (folder / "report.html").read_text()
    source.write_text(sound)
    assert gate() == 0


def test_the_project_itself_knows_nothing_of_detr_spec() -> None:
    text: Any = "".join(path.read_text() for path in (PROJECT / "rf_like").glob("*.py"))
    assert "import detr_" not in text
    assert "from detr_" not in text
