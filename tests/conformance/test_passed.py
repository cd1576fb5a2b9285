"""The case shows what decides: the numbers that count, defaults included, and what else than the case was passed."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from detr_conformance import torch_implementation
from detr_conformance.base.verdict import Judgement
from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.judging.judge import judge
from detr_conformance.reports.failure_text import MADE_FROM, OTHER_CALL, failure_text
from detr_reference import HungarianMatcher, SetCriterion
from detr_spec.boxes import xyxy_to_cxcywh
from detr_spec.configuration import Configuration
from detr_spec.deciding import deciding_numbers
from detr_spec.implementation import COMPONENTS, Implementation
from detr_spec.invariants import find_invariants
from detr_spec.profile import Keys, Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.values import Outputs, Target


class ClampsLabels(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Any:
        clamped = [{**target, "labels": target["labels"].clamp(0, self.num_classes - 1)} for target in targets]
        return super().forward(outputs, clamped)


class ReplacesNan(HungarianMatcher):
    def forward(self, outputs: Any, targets: Any) -> Any:
        return super().forward({**outputs, "pred_logits": outputs["pred_logits"].nan_to_num(0.0)}, targets)


def forgets_infinity(cost: Any) -> Any:
    return linear_sum_assignment(np.where(np.isinf(cost), 0.5, cost))


class ZipsTargets(SetCriterion):
    """Takes the targets that there are, if any, and repeats the last one."""

    def forward(self, outputs: Any, targets: Any) -> Any:
        images = len(outputs["pred_logits"])
        if not 0 < len(targets) <= images:
            raise ValueError("no targets, or more than images")
        return super().forward(outputs, [*targets, *[targets[-1]] * (images - len(targets))])


class Doubled(SetCriterion):
    def forward(self, outputs: Any, targets: Any) -> Any:
        losses = super().forward(outputs, targets)
        return {**losses, "loss_bbox": 2 * losses["loss_bbox"]}


def doubled(configuration: Configuration) -> Doubled:
    given = configuration
    matcher = HungarianMatcher(*given.cost_weights)
    return Doubled(given.num_classes, matcher, given.weight_dict, given.class_loss.eos_coef, given.losses)


def doubled_unseen(configuration: Configuration) -> Any:
    """The same, with a matcher that nobody can look at."""

    def losses(outputs: Any, targets: Any) -> Any:
        return doubled(configuration)(outputs, targets)

    return losses


def keeps_sides(boxes: Any) -> Any:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


LAST = replace(DETR, name="last", non_finite_logits="rank-last")
WRONG: dict[str, Implementation] = {
    "criterion.label-k-refused": torch_implementation(
        name="clamps",
        profile=DETR,
        criterion=lambda c: ClampsLabels(
            c.num_classes, HungarianMatcher(*c.cost_weights), c.weight_dict, c.class_loss.eos_coef, c.losses
        ),
    ),
    "matcher.nan-logit-refused": torch_implementation(
        name="replaces", profile=DETR, matcher=lambda c: ReplacesNan(*c.cost_weights)
    ),
    "matcher.broken-queries-rank-last": torch_implementation(
        name="replaces", profile=LAST, matcher=lambda c: ReplacesNan(*c.cost_weights)
    ),
    "criterion.target-count-refused": torch_implementation(
        name="zips",
        profile=DETR,
        criterion=lambda c: ZipsTargets(
            c.num_classes, HungarianMatcher(*c.cost_weights), c.weight_dict, c.class_loss.eos_coef, c.losses
        ),
    ),
    "boxes.cxcywh-to-xyxy": numpy_implementation(name="sides", boxes={"cxcywh_to_xyxy": keeps_sides}),
    "assignment.infinity-forbids": numpy_implementation(name="forgets", solver=forgets_infinity),
}


def judged(name: str) -> Judgement:
    (invariant,) = find_invariants(name)
    return judge(invariant, WRONG[name], examples=30)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("criterion.label-k-refused", "target 0      1"),
        ("matcher.nan-logit-refused", "nan"),
        ("matcher.broken-queries-rank-last", ("nan", "inf")),
        ("assignment.infinity-forbids", "inf"),
    ],
)
def test_what_an_invariant_made_of_the_case_is_shown(name: str, shown: str | tuple[str, ...]) -> None:
    text = failure_text("subject", judged(name), "the command")
    other = text.partition(OTHER_CALL)[2]
    assert any(part in other for part in ([shown] if isinstance(shown, str) else shown)), text


def test_boxes_have_the_format_of_the_function_that_got_them() -> None:
    """The case has corners; the function was called with centres alone, and these are the numbers that it got."""
    judgement = judged("boxes.cxcywh-to-xyxy")
    text = failure_text("subject", judgement, "the command")
    case, _, other = text.partition(OTHER_CALL)
    assert MADE_FROM in case
    assert "also" not in case
    assert "first argument of cxcywh_to_xyxy (cx cy w h)" in other
    assert "x0" not in other
    found = judgement.counterexample
    assert found is not None
    assert found.passed is not None
    assert np.allclose(found.passed["first"], xyxy_to_cxcywh(np.array(found.case["first"])))


def test_of_the_images_those_are_shown_that_differ_from_the_case() -> None:
    text = failure_text("subject", judged("criterion.target-count-refused"), "the command")
    _, heading, other = text.partition(f"also {OTHER_CALL}")
    assert heading, text
    assert "image 1\n    targets: nothing was given for this image" in other
    assert "image 0" not in other


@pytest.mark.parametrize("criterion", [doubled, doubled_unseen])
def test_the_pairs_are_shown_under_which_a_loss_was_judged(criterion: Any) -> None:
    (invariant,) = find_invariants("criterion.l1-value")
    subject = torch_implementation(name="doubled", profile=DETR, criterion=criterion)
    judgement = judge(invariant, subject, examples=30)
    found = judgement.counterexample
    assert found is not None
    text = failure_text("subject", judgement, "the command")
    image, query, target = map(int, re.findall(r"image (\d+): query (\d+) → target (\d+)", text)[0])
    box = np.array(found.case["outputs"]["boxes"][image][query])
    of_target = np.array(found.case["targets"][image]["boxes"][target])
    assert np.isclose(np.abs(box - of_target).sum(), found.expected)


def test_the_numbers_that_decide_are_shown_though_they_are_defaults() -> None:
    text = failure_text("subject", judged("criterion.label-k-refused"), "the command")
    assert "cost_class = 1, cost_bbox = 5, cost_giou = 2, class_loss.eos_coef = 0.1" in text
    assert not any(name in text for name in ("alpha", "threshold", "top_k", "loss_bbox", "hidden_dim"))


NUMBERS = [field.name for field in fields(Configuration) if type(field.default) in (int, float)]
ASKED = ("matcher", "criterion", "postprocess")
BASES = {
    "detr": replace(DETR, detection=replace(DETR.detection, threshold=True)),
    "deformable": replace(DEFORMABLE, detection=replace(DEFORMABLE.detection, threshold=True)),
}
LISTED = replace(DETR, keys=Keys(encoder_loss="{loss}_enc_{number}"))
"""A profile with several predictions of the encoder."""
BRANCHED = replace(DETR, keys=Keys(one_to_many_loss="{loss}_one2many"))
"""A profile with further queries."""


def answer(component: str, profile: Profile, configuration: Configuration) -> Any:
    """What a right component says of a fixed batch."""
    columns = profile.columns(3)
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2, 6, columns)) * 2
    outputs = Outputs(logits, generator.uniform(0.2, 0.4, (2, 6, 4)))
    targets = tuple(Target(np.array([0, 2]), generator.uniform(0.2, 0.4, (2, 4))) for _ in range(2))
    built = declared_implementation(profile).component(component)(configuration)
    given = np.array([[48, 64]] * 2) if component == "postprocess" else targets
    value = built(outputs, given).value
    if component == "matcher":
        return [matching.pairs() for matching in value]
    if component == "criterion":
        return value.values
    return [image.scores.tolist() for image in value]


@pytest.mark.parametrize("component", ASKED)
@pytest.mark.parametrize("profile", BASES)
def test_a_number_that_is_not_shown_does_not_decide(component: str, profile: str) -> None:
    """Each numeric field is varied that is not among those shown, whichever it is: the answer stays."""
    base = BASES[profile]
    configuration = Configuration(profile=base, dtype="float64", num_classes=3, top_k=8)
    shown = deciding_numbers(component, configuration)
    expected = answer(component, base, configuration)
    for name in set(NUMBERS) - set(shown):
        other = replace(configuration, **{name: getattr(configuration, name) * 2})
        assert answer(component, base, other) == expected, name


def test_every_number_of_a_configuration_decides_somewhere() -> None:
    shown = {
        name
        for component in COMPONENTS
        for profile in (*BASES.values(), LISTED, BRANCHED)
        for name in deciding_numbers(component, Configuration(profile=profile, masks=True), weighted=True)
    }
    assert set(NUMBERS) <= shown
