"""Each value of each field of a profile is looked at: what departs from it is found by the invariant named here.

A departure is the reference that is built to another value of the field, judged under a profile that declares this one.
A value that leaves something open has none: both ways are right under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from judging import failure
from torch import Tensor
from torch.nn.functional import cross_entropy

import detr_reference as reference
from detr_conformance import torch_implementation
from detr_conformance.campaign.hunt import hunt
from detr_conformance.implementations.declared import matcher
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.implementations.declared.matcher import DeclaredMatcher
from detr_spec.configuration import Configuration, weights_of
from detr_spec.costs import L1Cost, OneMinusGiou
from detr_spec.declarable import declarable_values, parts
from detr_spec.implementation import Implementation
from detr_spec.invariants import find_invariants
from detr_spec.parts import Part
from detr_spec.profile import (
    PARTS,
    BoxRules,
    DetectionRules,
    Keys,
    MaskRules,
    MatcherRules,
    MatchingScope,
    Profile,
    TargetRules,
    replace,
)
from detr_spec.profiles import CO_DINO, DEFORMABLE, DETR
from detr_spec.terms import (
    BoxesNotJudged,
    ClassesNotJudged,
    CrossEntropy,
    Focal,
    MaskCrossEntropy,
    MasksNotJudged,
)

EXAMPLES = 100
FEW = 10
HOW = """

The field {path!r} of a profile has no entry in LOOKED_AT, in {file}. Add one line: the invariant that finds a reference
that is built to another value of the field. If there is none, nothing looks at what is declared there: add or extend an
invariant. The reference obeys the field in detr_conformance/implementations/declared/."""


@dataclass(frozen=True)
class Look:
    """Which invariant looks at a field: by value where they differ, and "" where every value has the same.

    base: the profile in which the field is tried, and bases: those of values that need another. built_to: the value of
    the departure, where it is not the first other one. open: values that leave open what another value says. numbers:
    the fields of a configuration in which the departure has the numbers of its own profile, whatever it is asked for.
    """

    by: str | Mapping[Any, str]
    base: Profile = DETR
    built_to: Mapping[Any, Any] = field(default_factory=dict)
    open: tuple[Any, ...] = ()
    numbers: tuple[str, ...] = ()
    bases: Mapping[Any, Profile] = field(default_factory=dict)

    def base_of(self, value: Any) -> Profile:
        """The profile in which a value is tried."""
        return self.bases.get(value, self.base)


TOP_K = replace(DEFORMABLE, name="top-k")
LETTERBOXED = replace(DETR, detection=DetectionRules(geometry="letterboxed"))
ENCODER = replace(DETR, keys=Keys(encoder_loss="{loss}_enc"))
FURTHER = replace(DETR, keys=Keys(one_to_many_loss="{loss}_one2many"))
OF_EDGES = replace(DETR, further_losses=declarable_values(Profile)["further_losses"][-1])
PHRASED = replace(DEFORMABLE, labels="phrases")
DISTILLED = declarable_values(Profile)["further_losses"][-2]
INITIAL = replace(DETR, keys=Keys(initial_loss="{loss}_pre"))
DENOISING = replace(DETR, keys=Keys(denoising_loss="{loss}_dn"))
FIRST_DENOISING = replace(DENOISING, keys=replace(DENOISING.keys, initial_denoising_loss="{loss}_dn_pre"))
IN_PIXELS = replace(CO_DINO, boxes=replace(CO_DINO.boxes, least_divisor=1e-2))
ENCODERS = replace(
    DETR,
    keys=Keys(encoder_loss="{loss}_enc", encoder_auxiliary_loss="{loss}_enc_{number}"),
)
UNITED = replace(INITIAL, matching=MatchingScope(box_pairs="all-predictions"))
OF_ONE_LAYER = replace(DETR, keys=Keys(denoising_loss="dn_of_last.{loss}"))
PIXELS = replace(DETR, targets=TargetRules(box_format="xyxy", units="pixels"))
ARGUMENTS = declarable_values(MatcherRules)["arguments"]
PADDED = replace(DETR, targets=TargetRules(layout="padded"))
TOLD_BY_LABEL = replace(DETR, targets=TargetRules(layout="padded", first_label=1), label_beyond_range="unchecked")
COUNTED = replace(DETR, targets=TargetRules(layout="concatenated"))
ASSIGNED = replace(DETR, matcher=MatcherRules(answer="assignment"))
SHARED = replace(DETR, keys=Keys(auxiliary_loss="{loss}_aux"))
GROUPED = replace(DETR, matching=MatchingScope(groups=2))
EPSILONS = {0.0: 1e-3, 1e-7: 1e-3, 1e-6: 1e-3}
AT_POINTS = replace(DETR, mask_loss=MaskCrossEntropy(), masks=MaskRules(compared="points"))
OF_MASKS = declarable_values(Profile)["further_costs"][-1]
BY_PIXELS = replace(AT_POINTS, masks=MaskRules(compared="points", pixels_per_point=2))
COSTS, LOSSES = ("cost_class", "cost_bbox", "cost_giou"), ("loss_class", "loss_bbox", "loss_giou")

LOOKED_AT: dict[str, Look] = {
    "activation": Look("postprocess.scores"),
    "labels": Look("criterion.classification-value", DEFORMABLE),
    "class_cost": Look("matcher.close-call", DEFORMABLE, numbers=("class_cost",)),
    "class_loss": Look(
        "criterion.classification-value",
        numbers=("class_loss",),
        open=(ClassesNotJudged(),),
        bases={term: DEFORMABLE for term in declarable_values(Profile)["class_loss"] if term.activation == "sigmoid"},
        built_to={
            term: Focal()
            for term in declarable_values(Profile)["class_loss"]
            if term.is_judged and term.activation == "sigmoid" and term != Focal()
        },
    ),
    "box_cost": Look("matcher.close-call", numbers=("box_cost",)),
    "overlap_cost": Look("matcher.close-call", numbers=("overlap_cost",), built_to={OneMinusGiou(): L1Cost()}),
    "box_loss": Look("criterion.l1-value", numbers=("box_loss",), open=(BoxesNotJudged(),)),
    "overlap_loss": Look("criterion.giou-value", numbers=("overlap_loss",), open=(BoxesNotJudged(),)),
    "mask_loss": Look("masks.mask-value", numbers=("mask_loss",), open=(MasksNotJudged(),)),
    "dice_loss": Look("masks.dice-value", numbers=("dice_loss",), open=(MasksNotJudged(),)),
    "further_costs": Look("matcher.close-call", bases={OF_MASKS: AT_POINTS}),
    "further_losses": Look(
        {DISTILLED: "criterion.distribution-values", "": "criterion.keys"}, bases={DISTILLED: DEFORMABLE}
    ),
    "cost_weights": Look("matcher.close-call", numbers=COSTS, built_to={(1.0, 5.0, 2.0): (8.0, 0.25, 0.5)}),
    "loss_weights": Look("criterion.doubled-weight", numbers=LOSSES),
    "mask_weights": Look("masks.weights", numbers=("loss_mask", "loss_dice")),
    "masks.compared": Look("masks.mask-value", replace(DETR, mask_loss=MaskCrossEntropy())),
    "masks.layers": Look({"last": "masks.not-auxiliary", "every": "masks.layers"}),
    "masks.points": Look("masks.dice-value", AT_POINTS),
    "masks.pixels_per_point": Look("masks.dice-value", BY_PIXELS),
    "masks.oversampling": Look("masks.mask-value", AT_POINTS),
    "masks.uncertain": Look("masks.mask-value", AT_POINTS),
    "masks.labels": Look("masks.mask-value", AT_POINTS),
    "masks.outside": Look("masks.mask-value", AT_POINTS),
    "masks.padding": Look("masks.mask-value"),
    "ascending_queries": Look("matcher.ascending-queries", open=(False,)),
    "non_finite_logits": Look(
        {"refuse": "matcher.nan-logit-refused", "rank-last": "matcher.broken-queries-rank-last"}, open=("unchecked",)
    ),
    "non_finite_boxes": Look(
        {"refuse": "matcher.nan-box-refused", "rank-last": "matcher.broken-queries-rank-last"}, open=("unchecked",)
    ),
    "narrow_dtypes": Look("matcher.narrow-dtype-refused", open=("unchecked",)),
    "non_finite_costs": Look(
        {"refuse": "assignment.nan-refused", "forbid": "assignment.infinity-forbids"},
        built_to={"forbid": "unchecked"},
        open=("unchecked",),
    ),
    "label_beyond_range": Look("criterion.foreign-label-refused", open=("unchecked",)),
    "target_count": Look("criterion.target-count-refused", open=("unchecked",)),
    "surplus_columns": Look(
        {"refuse": "criterion.logit-columns-refused", "": "criterion.surplus-columns"},
        built_to={"negatives": "ignored", "ignored": "negatives"},
        open=("unchecked",),
    ),
    "denominator": Look("criterion.denominator"),
    "rank_reduction": Look("distributed.denominator"),
    "cardinality": Look("criterion.cardinality-value", DEFORMABLE),
    "coordinate_order": Look("postprocess.pixels-of-each-axis"),
    "encoder_labels": Look("auxiliary.encoder-losses", ENCODER),
    "keys.logits": Look("matcher.valid-pairs"),
    "keys.boxes": Look("matcher.valid-pairs"),
    "keys.masks": Look("masks.keys"),
    "keys.auxiliary": Look("auxiliary.keys"),
    "keys.encoder": Look("auxiliary.encoder-losses", ENCODER),
    "keys.initial": Look("auxiliary.initial-losses", INITIAL),
    "keys.initial_loss": Look({None: "auxiliary.initial-outputs-apart", "": "auxiliary.initial-losses"}),
    "keys.denoising": Look("auxiliary.denoising-losses", DENOISING),
    "keys.edges": Look("criterion.distribution-values", OF_EDGES),
    "keys.references": Look("criterion.distribution-values", OF_EDGES),
    "keys.phrases": Look("matcher.valid-pairs", PHRASED),
    "keys.tokens": Look("criterion.padding", PHRASED),
    "keys.labels": Look("matcher.valid-pairs"),
    "keys.target_boxes": Look("matcher.valid-pairs"),
    "keys.target_masks": Look("masks.keys"),
    "keys.classification": Look("criterion.keys"),
    "keys.box_l1": Look("criterion.keys"),
    "keys.box_giou": Look("criterion.keys"),
    "keys.mask": Look("masks.keys"),
    "keys.dice": Look("masks.keys"),
    "keys.class_error": Look("criterion.keys"),
    "keys.cardinality": Look("criterion.keys"),
    "keys.box_centre": Look("criterion.keys"),
    "keys.box_size": Look("criterion.keys"),
    "keys.auxiliary_loss": Look("auxiliary.keys"),
    "keys.encoder_loss": Look({None: "auxiliary.encoder-outputs-apart", "": "auxiliary.encoder-losses"}),
    "boxes.quality_units": Look("criterion.classification-value", IN_PIXELS),
    "keys.encoder_auxiliary": Look("auxiliary.encoder-losses", ENCODERS),
    "keys.encoder_auxiliary_loss": Look("auxiliary.encoder-losses", ENCODERS, open=(None,)),
    "keys.initial_denoising": Look("auxiliary.denoising-losses", FIRST_DENOISING),
    "keys.initial_denoising_loss": Look(
        {None: "auxiliary.denoising-outputs-apart", "": "auxiliary.denoising-losses"}, DENOISING
    ),
    "keys.one_to_many": Look("auxiliary.one-to-many-losses", FURTHER),
    "keys.one_to_many_loss": Look({None: "auxiliary.one-to-many-outputs-apart", "": "auxiliary.one-to-many-losses"}),
    "one_to_many_repeats": Look("auxiliary.one-to-many-losses", FURTHER),
    "one_to_many_weight": Look("auxiliary.one-to-many-losses", FURTHER, numbers=("one_to_many_weight",)),
    "one_to_many_evaluation": Look("auxiliary.one-to-many-in-evaluation", FURTHER),
    "keys.denoising_loss": Look({None: "auxiliary.denoising-outputs-apart", "": "auxiliary.denoising-losses"}),
    "keys.denoising_auxiliary_loss": Look("auxiliary.denoising-losses", OF_ONE_LAYER, open=(None,)),
    "keys.denoising_meta": Look("auxiliary.denoising-losses", DENOISING),
    "keys.denoising_groups": Look("auxiliary.denoising-losses", DENOISING),
    "keys.denoising_queries": Look("auxiliary.denoising-losses", DENOISING),
    "keys.denoising_positives": Look("auxiliary.denoising-losses", DENOISING),
    "denoising.layout": Look("auxiliary.denoising-losses", DENOISING),
    "denoising.absent": Look("auxiliary.absent-denoising", DENOISING),
    "denoising.evaluation": Look("auxiliary.denoising-in-evaluation", DENOISING),
    "denoising.denominator": Look(
        {"one-group": "auxiliary.denoising-losses", "": "distributed.denoising-losses"}, DENOISING
    ),
    "no_object": Look("criterion.classification-value"),
    "targets.box_format": Look("criterion.l1-value"),
    "targets.units": Look("criterion.l1-value"),
    "targets.first_label": Look("criterion.classification-value"),
    "keys.target_size": Look("criterion.l1-value", PIXELS),
    "targets.label_dtype": Look("matcher.valid-pairs"),
    "targets.layout": Look("matcher.valid-pairs"),
    "targets.padded_to": Look("matcher.valid-pairs", PADDED),
    "targets.padding_label": Look("matcher.valid-pairs", TOLD_BY_LABEL, {0: -1, -1: 0, 91: 0}),
    "keys.target_valid": Look("matcher.valid-pairs", PADDED),
    "keys.target_counts": Look("matcher.valid-pairs", COUNTED),
    "matcher.arguments": Look(
        "matcher.valid-pairs",
        built_to=dict.fromkeys(ARGUMENTS[1:], ()),
        bases=dict(zip(ARGUMENTS, (DETR, DETR, PIXELS, COUNTED, PADDED), strict=True)),
    ),
    "matcher.answer": Look("matcher.valid-pairs", built_to={"pairs": "assignment"}),
    "matcher.entry": Look("matcher.valid-pairs"),
    "matcher.first_target": Look("matcher.valid-pairs", ASSIGNED),
    "matcher.target_indices": Look("matcher.valid-pairs"),
    "matcher.padding": Look("matcher.valid-pairs", PADDED, open=("matched",)),
    "matcher.index_dtype": Look("matcher.int64-indices", open=("any",)),
    "keys.total": Look({None: "criterion.keys", "": "auxiliary.sums"}),
    "losses.weighted": Look("criterion.l1-value"),
    "losses.shared": Look("auxiliary.sums", SHARED),
    "matching.groups": Look("matcher.valid-pairs"),
    "matching.group_losses": Look("criterion.l1-value", GROUPED),
    "matching.repeats": Look("matcher.valid-pairs"),
    "matching.box_pairs": Look(
        {"": "auxiliary.many-layers", "all-predictions": "auxiliary.united-pairs"},
        built_to={"all-predictions": "all-layers"},
        bases={"all-predictions": UNITED},
    ),
    "losses.extra": Look("criterion.keys", open=(("extra_*",),)),
    "boxes.iou_epsilon": Look("boxes.iou-definition", built_to=EPSILONS),
    "boxes.giou_epsilon": Look("boxes.giou-definition", built_to=EPSILONS),
    "boxes.least_divisor": Look("boxes.giou-definition", built_to={None: 1e-2, 1e-7: 1e-2, 1e-6: 1e-2}),
    "boxes.adjusted": Look("boxes.giou-definition", replace(DETR, boxes=BoxRules(giou_epsilon=1e-3))),
    "boxes.units": Look("criterion.giou-value", replace(PIXELS, boxes=BoxRules(giou_epsilon=1e-3))),
    "boxes.invalid": Look("boxes.negative-size-refused", open=("unchecked",)),
    "boxes.zero_over_zero": Look("boxes.zero-over-zero", open=("unchecked",)),
    "detection.rule": Look({"": "postprocess.scores", "best-queries": "postprocess.descending-scores"}, TOP_K),
    "detection.top_k": Look(
        "postprocess.nothing-dropped", TOP_K, numbers=("top_k",), built_to={100: 1, 300: 1, 7: 1, None: 1}
    ),
    "detection.top_k_overflow": Look("postprocess.k-beyond-all-pairs", TOP_K),
    "detection.threshold": Look({False: "postprocess.nothing-dropped", True: "postprocess.threshold"}),
    "detection.drops_no_object": Look({False: "postprocess.nothing-dropped", True: "postprocess.no-object-dropped"}),
    "detection.size_order": Look("postprocess.pixels-of-each-axis"),
    "detection.geometry": Look("postprocess.pixels-of-each-axis"),
    "detection.input_side": Look("postprocess.pixels-of-each-axis", LETTERBOXED),
    "detection.clamp": Look("postprocess.clamping"),
    "detection.non_finite_scores": Look(
        {"": "postprocess.broken-scores", "refuse": "postprocess.broken-scores-refused"},
        TOP_K,
        {"keep": "drop"},
        open=("unchecked",),
    ),
    "detection.non_finite_boxes": Look(
        {"": "postprocess.broken-boxes", "refuse": "postprocess.broken-boxes-refused"},
        built_to={"keep": "drop"},
        open=("unchecked",),
    ),
}
"""How each field is looked at; by "" the other values."""

ACTIVATIONS = {"softmax": (DETR, DEFORMABLE), "sigmoid": (DEFORMABLE, DETR)}
"""Fields that no profile can change alone are tried between whole dialects, with one rule of detection."""


def declarations() -> list[tuple[str, Any]]:
    """Each field with each of its values."""
    inner = [(f"{name}.", kind) for name, kind in parts().items()]
    return [
        (f"{prefix}{name}", value)
        for prefix, kind in [("", Profile), *inner]
        for name, values in declarable_values(kind).items()
        for value in values
    ]


def with_value(base: Profile, path: str, value: Any) -> Profile:
    """The profile with another value of a field."""
    part, _, name = path.rpartition(".")
    changes = {part: replace(getattr(base, part), **{name: value})} if part else {name: value}
    profile: Profile = replace(base, **changes)
    return profile


def values_of(path: str) -> list[Any]:
    """The values of a field."""
    return [value for own, value in declarations() if own == path]


def departure(path: str, value: Any, look: Look) -> tuple[Profile, Profile]:
    """The profile that declares a value, and the other one that the implementation is built to."""
    if path == "activation" or value in (CrossEntropy(), Focal()):
        softmax = value in ("softmax", CrossEntropy())
        declared, built = ACTIVATIONS["softmax" if softmax else "sigmoid"]
        return (replace(declared, detection=DetectionRules()), replace(built, detection=DetectionRules()))
    if isinstance(value, Part) and value != type(value)():
        base = DETR if value.activation == "softmax" else DEFORMABLE
        return with_value(base, path, value), with_value(base, path, with_another_number(value))
    other = look.built_to.get(value, next(item for item in values_of(path) if item != value))
    if path == "cardinality" and other == "argmax-is-foreground":
        other = next(item for item in values_of(path) if item not in (value, other))
    base = look.base_of(value)
    return with_value(base, path, value), with_value(base, path, other)


def with_another_number(part: Part) -> Part:
    """A part of the same name that answers otherwise: with its own number in place of the other, or a visible one."""
    own = type(part)()
    (name,) = [name for name, number in part.numbers.items() if number != own.numbers[name]]
    visible = {"epsilon": 1e-3 if part.numbers[name] < 1e-8 else 1e-8}
    return replace(own, **{name: visible.get(name, own.numbers[name])})


def implementation(declared: Profile, built: Profile, numbers: tuple[str, ...]) -> Implementation:
    """The reference that is built to one profile and declares another one; `numbers` are always those of its own."""
    whole = declared_implementation(declared, built)
    own: dict[str, Any] = {
        **weights_of(built),
        **{part: getattr(built, part) for part in PARTS},
        "top_k": built.detection.top_k,
    }
    fixed = {name: own[name] for name in numbers}

    def stubborn(name: str) -> Any:
        factory = getattr(whole, name)

        def build(configuration: Configuration) -> Any:
            return factory(replace(configuration, **fixed))

        return build

    return (
        replace(whole, **{name: stubborn(name) for name in ("matcher", "criterion", "masks", "postprocess")})
        if fixed
        else whole
    )


@pytest.mark.parametrize(("path", "value"), declarations(), ids=lambda part: str(part).replace(" ", ""))
def test_a_departure_from_what_is_declared_is_found(path: str, value: Any) -> None:
    assert path in LOOKED_AT, HOW.format(path=path, file=__file__)
    look = LOOKED_AT[path]
    if (path, value) == ("cardinality", "argmax-is-foreground"):
        return  # as the next test says
    if value in look.open:
        _require_open(path, value, look)
        return
    name = look.by if isinstance(look.by, str) else look.by.get(value, look.by.get("", ""))
    declared, built = departure(path, value, look)
    (invariant,) = find_invariants(name)
    assert invariant.applies(declared), f"{name} does not apply where {path} is {value!r}"
    assert failure(name, declared_implementation(declared), FEW) is None
    assert failure(name, implementation(declared, built, look.numbers), EXAMPLES) is not None


def softmax_of_others(logits: Tensor, labels: Tensor) -> Tensor:
    return reference.focal_cost(0.25, 2.0, 1e-8)(logits.softmax(-1).logit(eps=1e-9), labels)


def focal_of_classes(logits: Tensor, classes: Tensor, num_boxes: float) -> Tensor:
    scores = logits[..., :-1]
    positive = classes[..., None] == torch.arange(scores.shape[-1])
    return reference.sigmoid_focal_loss(scores, positive, 0.25, 2.0).sum() / num_boxes


def cross_entropy_of_matched(logits: Tensor, classes: Tensor, num_boxes: float) -> Tensor:
    matched = classes < logits.shape[-1]
    return cross_entropy(logits[matched], classes[matched], reduction="sum") / num_boxes


CLASS_COSTS: list[tuple[Profile, Any]] = [
    (DETR, lambda logits, labels: -logits.sigmoid()[:, labels]),
    (DEFORMABLE, softmax_of_others),
]
CLASS_LOSSES: list[tuple[Profile, Any]] = [(DETR, focal_of_classes), (DEFORMABLE, cross_entropy_of_matched)]


@pytest.mark.parametrize(("profile", "planted"), CLASS_COSTS)
@pytest.mark.parametrize("seed", range(5))
def test_the_class_cost_of_the_other_dialect_is_found(
    monkeypatch: pytest.MonkeyPatch, profile: Profile, planted: Any, seed: int
) -> None:
    _require_right("matcher.close-call", profile, seed)
    cost = type(profile.class_cost)
    monkeypatch.setitem(matcher.COSTS, cost, lambda *_: lambda image: planted(image.logits, image.labels))
    _require_found("matcher.close-call", profile, {"matcher": DeclaredMatcher}, seed)


@pytest.mark.parametrize(("profile", "planted"), CLASS_LOSSES)
@pytest.mark.parametrize("seed", range(5))
def test_the_classification_loss_of_the_other_dialect_is_found(profile: Profile, planted: Any, seed: int) -> None:
    def build(configuration: Configuration) -> Any:
        built: Any = DeclaredCriterion(configuration)
        built.criterion.classification_loss = planted
        return built

    _require_right("criterion.classification-value", profile, seed)
    _require_found("criterion.classification-value", profile, {"criterion": build}, seed)


def _require_right(id: str, profile: Profile, seed: int) -> None:
    (invariant,) = find_invariants(id)
    assert not hunt(invariant, declared_implementation(profile), examples=FEW, seed=seed).killed


def _require_found(id: str, profile: Profile, component: Mapping[str, Any], seed: int) -> None:
    (invariant,) = find_invariants(id)
    planted_in: Any = torch_implementation(name="planted", profile=profile, **component)
    found = hunt(invariant, planted_in, examples=EXAMPLES, seed=seed)
    assert found.killed
    assert found.sound


@pytest.mark.parametrize(("declared", "built"), [(None, 1e-7), (1e-7, None), (1e-7, 1e-6), (1e-6, 1e-7)])
@pytest.mark.parametrize("seed", range(5))
def test_a_small_least_divisor_is_found(declared: float | None, built: float | None, seed: int) -> None:
    profiles = [with_value(DETR, "boxes.least_divisor", value) for value in (declared, built)]
    (invariant,) = find_invariants("boxes.identical")
    assert hunt(invariant, declared_implementation(*profiles), examples=EXAMPLES, seed=seed).killed


def test_a_departure_from_the_cardinality_of_a_softmax_is_found() -> None:
    """No profile has a softmax and another rule, so that the departure is planted."""

    def counting_sigmoids(configuration: Configuration) -> DeclaredCriterion:
        built = DeclaredCriterion(configuration)
        built.criterion.detected = lambda logits: (logits.sigmoid() > 0.5).any(dim=-1)  # type: ignore[method-assign]
        return built

    subject = torch_implementation(name="sigmoids", profile=DETR, criterion=counting_sigmoids)
    assert failure("criterion.cardinality-value", subject, EXAMPLES) is not None


def _require_open(path: str, value: Any, look: Look) -> None:
    """Under a value that leaves something open, whoever does either is right."""
    declared = with_value(look.base, path, value)
    names = {look.by} if isinstance(look.by, str) else set(look.by.values())
    for name in names:
        (invariant,) = find_invariants(name)
        for other in values_of(path):
            if invariant.applies(declared):
                subject = implementation(declared, with_value(look.base, path, other), look.numbers)
                assert failure(name, subject, FEW) is None


def test_no_entry_is_of_a_field_that_is_gone() -> None:
    assert set(LOOKED_AT) == {path for path, _ in declarations()}
