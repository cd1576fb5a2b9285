"""The mutant bank: every patch applies and imports, every known defect is there, and the right invariant finds it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import detr_reference
from detr_conformance.base.errors import UsageError
from detr_conformance.campaign.hunt import hunt, hunt_by_name
from detr_conformance.encoding.reports import plain
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_conformance.implementations.resolve import resolve
from detr_conformance.judging.judge import judge
from detr_conformance.mutants.bank import Mutant, bank, chosen_mutants, find_mutant, read_bank
from detr_conformance.mutants.definitions import definitions_used, outline
from detr_conformance.mutants.patch import built, mutant_implementations
from detr_conformance.mutants.sources import LATER, components_reached, provided_by, twins_reached
from detr_spec.invariant import Invariant
from detr_spec.invariants import all_invariants, find_invariants
from detr_spec.profiles import PROFILES

ENTRY = """
[[mutant]]
id = "{id}"
description = "what was planted"
provenance = "constructed"
needs = {{ activation = "softmax" }}
expected = ["boxes.giou-definition"]

[[mutant.edit]]
file = "detr_reference/boxes.py"
old = "return iou - (enclosure - union)"
new = "return iou + (enclosure - union)"
"""

THREADS = (
    "facebookresearch/detr#101, #509",
    "facebookresearch/detr#459",
    "facebookresearch/detr#28",
    "facebookresearch/detr#108",
    "facebookresearch/detr#32",
    "fundamentalvision/Deformable-DETR#102",
    "facebookresearch/detr#267, #299",
    "nickgkan/butd_detr#48",
    "huggingface/transformers PR 27990",
    "facebookresearch/detr#335",
    "hustvl/SparseInst#97",
    "Peterande/D-FINE#154",
    "open-mmlab/mmdetection PR 8362",
    "ultralytics/ultralytics PR 26012",
    "lyuwenyu/RT-DETR#527",
    "open-mmlab/mmdetection#4902",
    "huggingface/transformers#47000",
    "open-mmlab/mmdetection#11559",
    "facebookresearch/detr#330",
    "fundamentalvision/Deformable-DETR#24",
    "huggingface/transformers PR 43513",
    "huggingface/transformers PR 19644",
    "huggingface/transformers PR 20959",
    "huggingface/transformers PR 28354, #45593",
    "huggingface/transformers PR 48528",
    "huggingface/transformers PR 32658",
    "huggingface/transformers#32578",
    "lyuwenyu/RT-DETR#317, #429",
    "lyuwenyu/RT-DETR PR 661",
    "huggingface/transformers PR 22787",
    "Atten4Vis/ConditionalDETR#8",
    "facebookresearch/detr#70",
    "roboflow/rf-detr PR 140",
    "roboflow/rf-detr#961, #262",
    "roboflow/rf-detr#1503, #1117",
    "IDEA-Research/DAB-DETR#75",
    "xlliu7/TadTR#21",
    "roboflow/rf-detr#1147",
    "facebookresearch/detr#390",
    "PaddlePaddle/PaddleDetection PR 7724",
    "Visual-Behavior/detr-tensorflow#35",
    "huggingface/transformers 5.23",
    "IDEA-Research/DINO",
    "IDEA-Research/detrex",
)
"""The threads in which real projects met a defect, each of which the bank must hold."""


UNASKED = {
    "criterion.further-values",
    "criterion.surplus-columns",
    "gradients.further-losses",
    "postprocess.broken-boxes-refused",
    "postprocess.broken-scores-refused",
    "postprocess.no-object-dropped",
    "postprocess.no-score-passes",
    "postprocess.threshold",
}
"""What only profiles that declare it are held to, which the reference's are not."""

ONE_DEVICE = {"criterion.device"}
"""What no mutant can violate where there is one device."""

ONE_DTYPE = {"matcher.mixed-precision"}
"""What the reference's matcher does not declare, as it refuses narrow predictions; its criterion does."""


def test_every_invariant_has_a_mutant_that_it_must_find() -> None:
    must = {name for mutant in bank() for name in mutant.expected}
    assert {item.id for item in all_invariants()} - must == UNASKED | ONE_DEVICE | ONE_DTYPE
    assert not any(reference.limits.of("matcher").mixed_dtypes for reference in IMPLEMENTATIONS)
    twins = [profile for profile in PROFILES.values() if profile.name not in LATER]
    assert not any(item.applies(profile) for item in find_all(UNASKED) for profile in twins)


def find_all(names: set[str]) -> list[Invariant]:
    return [item for item in all_invariants() if item.id in names]


def test_the_bank_is_large_and_covers_both_profiles() -> None:
    assert len(bank()) >= 150
    assert len({(mutant.group, mutant.description) for mutant in bank()}) == len(bank())
    assert {profile for mutant in bank() for profile in mutant.profiles} == set(PROFILES)
    assert all(sum(name in mutant.profiles for mutant in bank()) >= 25 for name in LATER)
    assert {component for mutant in bank() for component in mutant.components} >= {"assignment", "masks", "model"}


@pytest.mark.parametrize("thread", THREADS)
def test_every_defect_of_a_real_project_is_in_the_bank(thread: str) -> None:
    assert any(thread in mutant.provenance for mutant in bank())


@pytest.mark.thorough
@pytest.mark.parametrize("group", sorted({mutant.group for mutant in bank()}))
def test_every_patch_applies_and_imports(group: str) -> None:
    for mutant in chosen_mutants([group]):
        implementations = built(mutant)
        assert [item.profile.name for item in implementations] == list(mutant.profiles)
        provided = {component for item in implementations for component in item.components}
        assert set(mutant.components) <= provided
        assert all(set(provided_by(item.profile.name)) >= set(item.components) for item in implementations)


def test_a_mutant_leaves_the_reference_as_it_is_and_has_modules_of_its_own() -> None:
    mutant_implementations("giou-penalty-added")
    patched: Any = sys.modules["detr_reference_mutant_giou_penalty_added"]
    assert patched.generalized_box_iou is not detr_reference.generalized_box_iou
    assert patched.HungarianMatcher is not detr_reference.HungarianMatcher
    assert not any(name.startswith("detr_reference_mutant") for name in vars(detr_reference))
    (giou,) = find_invariants("boxes.giou-definition")
    (reference, *_) = resolve("reference")
    assert not hunt(giou, reference, examples=20, seed=0).killed


@pytest.mark.parametrize(
    ("id", "profile", "invariant"),
    [
        ("epsilon-added-to-denominators", "detr", "boxes.identical"),
        ("first-image-for-all", "detr", "matcher.batch-is-its-images"),
        ("labels-one-based-in-cost", "deformable", "matcher.optimal-cost"),
        ("l1-cost-scaled-by-1e-2", "deformable", "matcher.close-call"),
        ("num-boxes-remembered", "detr", "criterion.repeatable"),
        ("solver-greedy", "detr", "assignment.optimal-total"),
        ("cross-entropy-scaled-by-1e-12", "detr", "criterion.classification-value"),
        ("auxiliary-shares-last-matching", "deformable", "auxiliary.own-matching"),
        ("empty-box-loss-outside-the-graph", "detr", "gradients.every-prediction-connected"),
        ("sizes-width-first", "deformable", "postprocess.pixels-of-each-axis"),
        ("box-head-relu-after-last", "detr", "heads.box-head"),
        ("first-layer-in-place-of-last", "detr", "decoder.stacked-last-is-last"),
        ("masks-padded-with-true", "detr", "masks.padding-counts"),
    ],
)
def test_the_expected_invariant_finds_the_defect(id: str, profile: str, invariant: str) -> None:
    (found,) = hunt_by_name(id, profile, invariant, [3], 100)
    assert found.killed
    assert found.sound
    assert found.how.startswith("Violation")
    assert 1 <= found.examples <= 100


@pytest.mark.parametrize("mutant", [mutant for mutant in bank() if mutant.equivalent], ids=lambda mutant: mutant.id)
def test_the_nearest_invariants_find_nothing_in_an_equivalent_mutant(mutant: Mutant) -> None:
    component = mutant.components[0]
    asked = [item for item in mutant.invariants(mutant.profiles[0]) if item.component == component]
    for item in asked:
        assert not hunt(item, mutant_implementations(mutant.id)[0], examples=3, seed=0).killed, item.id


def test_a_hunt_runs_the_cases_that_a_check_runs() -> None:
    (optimal,) = find_invariants("matcher.optimal-cost")
    (reference, *_) = resolve("reference")
    seen: list[list[Any]] = [[], []]

    def watched(place: int) -> Invariant:
        def check(component: Any, case: Any) -> None:
            seen[place].append(plain(case))
            optimal.check(component, case)

        return replace(optimal, check=check, rarity=1)

    hunted = hunt(watched(0), reference, examples=40, seed=5)
    judged = judge(watched(1), reference, examples=40, seed=5)
    assert seen[0] == seen[1]
    assert hunted.examples == judged.examples == len(seen[0]) == 40


def test_a_hunt_ends_with_the_first_case_that_fails() -> None:
    (found,) = hunt_by_name("float32-costs-beyond-8-queries", "detr", "matcher.close-call", [1], 100)
    assert found.killed
    assert 1 < found.examples < 100
    assert hunt_by_name("float32-costs-beyond-8-queries", "detr", "matcher.close-call", [1], 100) == (found,)
    (survived,) = hunt_by_name("float32-costs-beyond-8-queries", "detr", "matcher.close-call", [1], 1)
    assert not survived.killed
    assert survived.examples == find_invariants("matcher.close-call")[0].case_count(1)


def test_a_change_reaches_the_components_that_import_it() -> None:
    assert components_reached("detr_reference/transformer.py") == ("decoder", "model")
    assert components_reached("detr_reference/masks.py") == ("criterion", "masks", "gradients", "distributed")
    assert "heads" not in components_reached("detr_reference/boxes.py")
    assert components_reached("detr_conformance/implementations/solver.py") == ("assignment",)


def test_a_change_reaches_the_twins_that_use_its_definition() -> None:
    """Not all that import something else from the same module."""
    reached = twins_reached("detr_reference/losses.py", "class_weights[classes]")
    assert {"detr", "mmdet"} - set(reached) == {"mmdet"}
    assert "paddle" in reached
    assert "scenic" not in twins_reached("detr_reference/matcher.py", "(1 - alpha) * p**gamma")
    assert "ultralytics" in twins_reached("detr_reference/matcher.py", "(1 - alpha) * p**gamma")


SOURCES = {
    "cost.py": "from .box import area as size\n\nLEAST = 1\n\n\ndef cost():\n    return size(LEAST)\n",
    "box.py": "import torch\n\n\n@torch.no_grad()\ndef area():\n    return 1\n\n\ndef side():\n    return area()\n",
}


def test_a_definition_uses_what_it_names_near_and_far() -> None:
    outlines = {path: outline(path, source) for path, source in SOURCES.items()}
    assert outlines["box.py"].at(4) == "area"
    assert outlines["box.py"].at(1) is None
    assert definitions_used("cost.py", outlines) == {("cost.py", "LEAST"), ("cost.py", "cost"), ("box.py", "area")}


def test_a_mutant_is_found_by_name_like_any_implementation() -> None:
    implementations = resolve("mutant:focal-cost-without-no")
    assert {item.name for item in implementations} == {"mutant:focal-cost-without-no"}
    assert [item.profile.name for item in implementations][:1] == ["deformable"]
    with pytest.raises(UsageError, match=r"no mutant is called 'focal-cost'; did you mean focal-cost-"):
        resolve("mutant:focal-cost")


def test_mutants_are_chosen_by_id_and_by_group() -> None:
    assert {mutant.group for mutant in chosen_mutants(["masks"])} == {"masks"}
    chosen = chosen_mutants(["index-vectors-exchanged", "model"])
    assert {mutant.group for mutant in chosen} == {"matcher", "model"}
    assert chosen_mutants([]) == bank()
    with pytest.raises(UsageError, match="no mutant is called 'mask'"):
        find_mutant("mask")


def written(folder: Path, text: str, name: str = "boxes.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_bank_is_read_file_by_file(tmp_path: Path) -> None:
    written(tmp_path, ENTRY.format(id="second"), "b.toml")
    written(tmp_path, ENTRY.format(id="first"), "a.toml")
    assert [(mutant.id, mutant.group) for mutant in read_bank(tmp_path)] == [("first", "a"), ("second", "b")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('description = "', 'descripton = "', "the field 'descripton'|without the field 'description'"),
        (
            'provenance = "constructed"\n',
            "",
            "boxes.toml, at /mutant/0: found an object without",
        ),
        ('id = "one"', 'id = "One"', "/id: found 'One'; expected lower-case words joined by hyphens"),
        (
            'needs = { activation = "softmax" }',
            'needs = { activation = "sofmax" }',
            "no profile has 'sofmax' as its activation",
        ),
        ('needs = { activation = "softmax" }', 'needs = ["softmax"]', "/needs: found a list of 1; expected an object"),
        (
            "boxes.giou-definition",
            "boxes.giou-defintion",
            "/expected/0: found 'boxes.giou-defintion'; did you mean",
        ),
        ("boxes.giou-definition", "matcher.logit-level", "none of its expected invariants applies to profile detr"),
        ("boxes.giou-definition", "heads.shapes", "heads.shapes is not asked of it; its edits reach boxes, matcher"),
        ('["boxes.giou-definition"]', "[]", "expected either `expected`, or `equivalent` with a proof"),
        ('expected = ["boxes.giou-definition"]', "", "expected either `expected`, or `equivalent` with a proof"),
        ('file = "', 'flie = "', "/edit/0: found an object without the field 'file'"),
        ("detr_reference/boxes.py", "detr_reference/box.py", "/edit/0/file: found 'detr_reference/box.py'; did you"),
        ("return iou - (", "return iou * (", "its old text occurs 0 times in detr_reference/boxes.py"),
        ('old = "return iou - (enclosure - union)"', 'old = "upper_left"', "its old text occurs [2-9] times"),
        ("return iou + (", "return iou - (", "old and new are the same"),
        ("[[mutant]]", "[[mutants]]", "found an object with the field 'mutants'; did you mean mutant"),
        ('id = "one"', "id = one", "boxes.toml: no TOML that can be read"),
    ],
)
def test_what_is_wrong_in_a_bank_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = ENTRY.format(id="one")
    assert old in text
    with pytest.raises(UsageError, match=message):
        read_bank(written(tmp_path, text.replace(old, new)))


LADDER = (
    ENTRY.replace('id = "{id}"', 'id = "scaled-by-{{delta}}"\nladder = ["1e-2", "1e-5"]')
    .replace("what was planted", "GIoU is 1 + {{delta}} times too large")
    .replace("return iou + (enclosure - union)", "return (1 + {{delta}}) * iou - (enclosure - union)")
    .format()
)


def test_a_ladder_is_a_mutant_for_each_rung(tmp_path: Path) -> None:
    mutants = read_bank(written(tmp_path, LADDER))
    assert [mutant.id for mutant in mutants] == ["scaled-by-1e-2", "scaled-by-1e-5"]
    assert [mutant.description for mutant in mutants] == [
        f"GIoU is 1 + {rung} times too large" for rung in ("1e-2", "1e-5")
    ]
    assert [mutant.edits[0].new for mutant in mutants] == [
        f"return (1 + {rung}) * iou - (enclosure - union)" for rung in ("1e-2", "1e-5")
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["1e-2", "1e-5"]', "[]", r"/id: found 'scaled-by-\{delta\}'; expected lower-case words"),
        ('["1e-2", "1e-5"]', "[0.01]", "/mutant/0/ladder/0: found 0.01; expected a string"),
        ("scaled-by-{delta}", "scaled", "/id: found 'scaled'; expected {delta} in it, as it has a ladder"),
        ('"1e-5"]', '"1e-2"]', "mutant 'scaled-by-1e-2' is there already"),
    ],
)
def test_a_ladder_that_means_nothing_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in LADDER
    with pytest.raises(UsageError, match=message):
        read_bank(written(tmp_path, LADDER.replace(old, new)))


def test_an_id_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    written(tmp_path, ENTRY.format(id="one"), "a.toml")
    with pytest.raises(UsageError, match=r"b.toml: mutant 'one' is there already, in a.toml"):
        read_bank(written(tmp_path, ENTRY.format(id="one"), "b.toml"))


def test_a_patch_that_cannot_be_imported_says_so(tmp_path: Path) -> None:
    broken = ENTRY.format(id="one").replace("return iou + (enclosure - union)", "return iou + (")
    (mutant,) = read_bank(written(tmp_path, broken))
    with pytest.raises(UsageError, match="mutant one cannot be imported: SyntaxError"):
        built(mutant)
