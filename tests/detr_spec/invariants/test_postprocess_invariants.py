"""The invariants of post-processing: right implementations are never accused, and defects by their own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import hypothesis
import pytest
import torch
from judging import drawing, own_invariants, share_fired_where_it_applies
from torch import Tensor

from detr_conformance import torch_implementation
from detr_conformance.implementations.reference import IMPLEMENTATIONS
from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariant import Domain, Invariant
from detr_spec.profile import DetectionRules, Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.violation import PremiseFailed, Raised, Violation

INVARIANTS = own_invariants("postprocess")
EXAMPLES = 60

Picked = tuple[Tensor, Tensor, Tensor]
"""Scores, labels and queries of the detections, [B, n] each."""


def softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1)[..., :-1]


def corners(boxes: Tensor) -> Tensor:
    centre, side = boxes.split(2, dim=-1)
    return torch.cat([centre - side / 2, centre + side / 2], dim=-1)


def pixels(boxes: Tensor, sizes: Tensor) -> Tensor:
    return corners(boxes) * sizes.flip(-1).repeat(1, 2)[:, None]


def best_of_each_query(probabilities: Tensor, configuration: Configuration) -> Picked:
    scores, labels = probabilities.max(-1)
    return scores, labels, torch.arange(scores.shape[1]).expand_as(labels)


def best_pairs(probabilities: Tensor, configuration: Configuration) -> Picked:
    flat = probabilities.flatten(1)
    scores, places = flat.topk(min(configuration.top_k, flat.shape[1]), dim=1)
    return scores, places % probabilities.shape[2], places // probabilities.shape[2]


def everything(detections: dict[str, Tensor], size: Tensor, configuration: Configuration) -> dict[str, Tensor]:
    return detections


def above_threshold(detections: dict[str, Tensor], size: Tensor, configuration: Configuration) -> dict[str, Tensor]:
    keep = detections["scores"] > configuration.threshold
    return {name: values[keep] for name, values in detections.items()}


def inside(detections: dict[str, Tensor], size: Tensor, configuration: Configuration) -> dict[str, Tensor]:
    edge = size.flip(-1).repeat(2).to(detections["boxes"])
    return detections | {"boxes": detections["boxes"].clamp(min=0).minimum(edge)}


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Post-processing in steps, so that one can be exchanged for a wrong one, or for another right one."""

    profile: Profile
    probabilities: Callable[[Tensor], Tensor]
    pick: Callable[[Tensor, Configuration], Picked]
    boxes: Callable[[Tensor, Tensor], Tensor] = pixels
    finish: Callable[[dict[str, Tensor], Tensor, Configuration], dict[str, Tensor]] = everything
    gradient: bool = False
    limits: Limits = field(default_factory=Limits)

    def implementation(self) -> Implementation:
        return torch_implementation(
            name="steps",
            profile=self.profile,
            limits=self.limits,
            postprocess=self.module,
        )

    def module(self, configuration: Configuration) -> Callable[[dict[str, Tensor], Tensor], Any]:
        def call(outputs: dict[str, Tensor], sizes: Tensor) -> list[dict[str, Tensor]]:
            with torch.set_grad_enabled(self.gradient):
                scores, labels, queries = self.pick(self.probabilities(outputs["pred_logits"]), configuration)
                boxes = self.boxes(outputs["pred_boxes"], sizes)
                return [
                    self.finish(
                        {
                            "scores": scores[image],
                            "labels": labels[image],
                            "boxes": boxes[image][queries[image]],
                        },
                        size,
                        configuration,
                    )
                    for image, size in enumerate(sizes)
                ]

        return call


EACH_QUERY = Steps(profile=DETR, probabilities=softmax, pick=best_of_each_query)
TOP_K = Steps(profile=DEFORMABLE, probabilities=torch.sigmoid, pick=best_pairs)


def declared(profile: Profile, **rules: Any) -> Profile:
    return replace(profile, detection=replace(profile.detection, **rules))


def drawn(invariant: Invariant, domain: Domain) -> tuple[SetCase, ...]:
    cases: list[SetCase] = []

    @hypothesis.seed(3)
    @drawing(EXAMPLES)
    @hypothesis.given(invariant.cases(domain))
    def collect(case: SetCase) -> None:
        cases.append(case)

    collect()
    return tuple(cases)


DRAWN: dict[Any, tuple[SetCase, ...]] = {}
"""The cases of each strategy, profile and limits, drawn once for all implementations."""


def outcome(invariant: Invariant, implementation: Implementation, step: int = 1) -> tuple[bool, int]:
    """Whether an invariant accuses an implementation, and in how many cases its premise held until then.

    step: 3 asks about every third case.
    """
    key = (invariant.cases, implementation.profile, tuple(implementation.limits.fixed.items()))
    if key not in DRAWN:
        DRAWN[key] = drawn(invariant, Domain(implementation.profile, implementation.limits))
    component, fired = implementation.component("postprocess"), 0
    for case in DRAWN[key][::step]:
        try:
            invariant.check(component, case)
        except PremiseFailed:
            continue
        except (Violation, Raised):
            return True, fired + 1
        fired += 1
    return False, fired


def accusers(steps: Steps, suspected: Collection[str] = ()) -> set[str]:
    """The names of the invariants that accuse an implementation, save those about broken numbers.

    These have tests of their own: whatever ties a detection to other queries fails them too. Those that are not
    suspected get a third of the cases.
    """
    implementation = steps.implementation()
    applicable = (item for item in INVARIANTS if item.number != "P12" and item.applies(implementation.profile))
    named = ((item.id.removeprefix("postprocess."), item) for item in applicable)
    return {name for name, item in named if outcome(item, implementation, 1 if name in suspected else 3)[0]}


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda item: item.id)
@pytest.mark.parametrize("reference", IMPLEMENTATIONS, ids=lambda item: item.profile.name)
def test_it_holds_for_the_reference_and_its_premise_fires(invariant: Invariant, reference: Implementation) -> None:
    share = share_fired_where_it_applies(invariant.id, reference, EXAMPLES)
    assert share is None or share > 0.2


def through_logarithm(logits: Tensor) -> Tensor:
    return (logits - logits.logsumexp(-1, keepdim=True)).exp()[..., :-1]


def scaled_first(boxes: Tensor, sizes: Tensor) -> Tensor:
    return corners(boxes * sizes.flip(-1).repeat(1, 2)[:, None])


def far_corner_from_near(boxes: Tensor, sizes: Tensor) -> Tensor:
    low, side = boxes[..., :2] - 0.5 * boxes[..., 2:], boxes[..., 2:]
    return torch.cat([low, low + side], -1) * sizes.flip(-1).repeat(1, 2)[:, None]


def last_among_ties(probabilities: Tensor, configuration: Configuration) -> Picked:
    turned = best_pairs(probabilities.flip(1, 2), configuration)
    return turned[0], probabilities.shape[2] - 1 - turned[1], probabilities.shape[1] - 1 - turned[2]


def last_class_among_ties(probabilities: Tensor, configuration: Configuration) -> Picked:
    scores, labels, queries = best_of_each_query(probabilities.flip(2), configuration)
    return scores, probabilities.shape[2] - 1 - labels, queries


def fully_sorted(probabilities: Tensor, configuration: Configuration) -> Picked:
    scores, places = probabilities.flatten(1).sort(dim=1, descending=True)
    kept = places[:, : configuration.top_k]
    return scores[:, : configuration.top_k], kept % probabilities.shape[2], kept // probabilities.shape[2]


def refusing(probabilities: Tensor, configuration: Configuration) -> Picked:
    scores, places = probabilities.flatten(1).topk(configuration.top_k, dim=1)
    return scores, places % probabilities.shape[2], places // probabilities.shape[2]


def clamped_before_scaling(boxes: Tensor, sizes: Tensor) -> Tensor:
    return corners(boxes).clamp(0, 1) * sizes.flip(-1).repeat(1, 2)[:, None]


def in_float64(logits: Tensor) -> Tensor:
    return logits.double().softmax(-1)[..., :-1].to(logits)


RIGHT = {
    "softmax through its logarithm": replace(EACH_QUERY, probabilities=through_logarithm),
    "softmax in float64": replace(EACH_QUERY, probabilities=in_float64),
    "scaled first": replace(EACH_QUERY, boxes=scaled_first),
    "far corner from the near one": replace(EACH_QUERY, boxes=far_corner_from_near),
    "another class among ties": replace(EACH_QUERY, pick=last_class_among_ties),
    "sigmoid from its complement": replace(TOP_K, probabilities=lambda logits: 1 - torch.sigmoid(-logits)),
    "sigmoid from tanh": replace(TOP_K, probabilities=lambda logits: 0.5 + 0.5 * torch.tanh(0.5 * logits)),
    "sigmoid in rows": replace(
        TOP_K, probabilities=lambda logits: logits.sigmoid().reshape(len(logits), -1).reshape(logits.shape)
    ),
    "top-k, scaled first": replace(TOP_K, boxes=scaled_first),
    "other pairs among ties": replace(TOP_K, pick=last_among_ties),
    "top-k by sorting": replace(TOP_K, pick=fully_sorted),
    "declared refusal": replace(TOP_K, pick=refusing, profile=declared(DEFORMABLE, top_k_overflow="refuse")),
    "fixed k, declared refusal": replace(
        TOP_K,
        pick=refusing,
        profile=declared(DEFORMABLE, top_k_overflow="refuse"),
        limits=Limits(fixed={"top_k": 3}),
    ),
    "declared threshold": replace(EACH_QUERY, finish=above_threshold, profile=declared(DETR, threshold=True)),
    "top-k, declared threshold": replace(TOP_K, finish=above_threshold, profile=declared(DEFORMABLE, threshold=True)),
    "declared clamp": replace(EACH_QUERY, finish=inside, profile=declared(DETR, clamp=True)),
    "declared clamp before scaling": replace(
        TOP_K, boxes=clamped_before_scaling, profile=declared(DEFORMABLE, clamp=True)
    ),
    "declared width first": replace(
        TOP_K,
        boxes=lambda boxes, sizes: pixels(boxes, sizes.flip(-1)),
        profile=declared(DEFORMABLE, size_order="width-height"),
    ),
    "sigmoid, one a query": replace(
        TOP_K, pick=best_of_each_query, profile=replace(DEFORMABLE, detection=DetectionRules())
    ),
    "softmax, top-k": replace(
        EACH_QUERY, pick=best_pairs, profile=replace(DETR, detection=DetectionRules(rule="top-k"))
    ),
}


@pytest.mark.parametrize("steps", RIGHT.values(), ids=RIGHT)
def test_no_right_implementation_is_accused(steps: Steps) -> None:
    implementation = steps.implementation()
    for invariant in INVARIANTS:
        if invariant.applies(implementation.profile):
            accused, fired = outcome(invariant, implementation)
            assert not accused, invariant.id
            assert fired > 0 or invariant.id == "postprocess.k-beyond-all-pairs", invariant.id


def wrong_labels(change: Callable[[Tensor], Tensor]) -> Callable[..., dict[str, Tensor]]:
    return lambda detections, size, configuration: detections | {"labels": change(detections["labels"])}


def wrong_boxes(change: Callable[[Tensor], Tensor]) -> Callable[..., dict[str, Tensor]]:
    return lambda detections, size, configuration: detections | {"boxes": change(detections["boxes"])}


def by_score(probabilities: Tensor, configuration: Configuration) -> Picked:
    parts = best_of_each_query(probabilities, configuration)
    order = parts[0].argsort(dim=1, descending=True, stable=True)
    return parts[0].gather(1, order), parts[1].gather(1, order), parts[2].gather(1, order)


def labels_of_the_next_query(probabilities: Tensor, configuration: Configuration) -> Picked:
    scores, labels, queries = best_of_each_query(probabilities, configuration)
    return scores, labels.roll(1, dims=1), queries


def boxes_of_the_next_query(probabilities: Tensor, configuration: Configuration) -> Picked:
    scores, labels, queries = best_of_each_query(probabilities, configuration)
    return scores, labels, queries.roll(1, dims=1)


def unequal_ranks(probabilities: Tensor, configuration: Configuration) -> Picked:
    ranks = torch.arange(probabilities.shape[1], dtype=probabilities.dtype)[:, None]
    return best_of_each_query(probabilities * (1 - 0.01 * ranks), configuration)


def exchanged_division(probabilities: Tensor, configuration: Configuration) -> Picked:
    flat = probabilities.transpose(1, 2).flatten(1)
    scores, places = flat.topk(min(configuration.top_k, flat.shape[1]), dim=1)
    return scores, places % probabilities.shape[2], places // probabilities.shape[2]


def first_boxes(probabilities: Tensor, configuration: Configuration) -> Picked:
    scores, labels, queries = best_pairs(probabilities, configuration)
    return (
        scores,
        labels,
        torch.arange(scores.shape[1]).clamp(max=probabilities.shape[1] - 1).expand_as(queries),
    )


def one_pair_repeated(probabilities: Tensor, configuration: Configuration) -> Picked:
    picked = best_pairs(probabilities, configuration)
    first, second = picked[0][:, :1], picked[0][:, 1:2]
    close = (first - second).abs() < 0.05 if second.numel() else torch.zeros_like(first, dtype=torch.bool)
    return tuple(
        torch.where(close, torch.cat([part[:, :1], part[:, :1], part[:, 2:]], 1)[:, : part.shape[1]], part)
        for part in picked
    )  # type: ignore[return-value]


def best_queries_only(probabilities: Tensor, configuration: Configuration) -> Picked:
    scores, labels = probabilities.max(-1)
    kept, queries = scores.topk(min(configuration.top_k, scores.shape[1]), dim=1)
    return kept, labels.gather(1, queries), queries


def unsorted(probabilities: Tensor, configuration: Configuration) -> Picked:
    parts = best_pairs(probabilities, configuration)
    return parts[0].flip(1), parts[1].flip(1), parts[2].flip(1)


def always_hundred(probabilities: Tensor, configuration: Configuration) -> Picked:
    return best_pairs(probabilities, replace(configuration, top_k=100))


def one_too_few(probabilities: Tensor, configuration: Configuration) -> Picked:
    pairs = probabilities.shape[1] * probabilities.shape[2]
    return best_pairs(probabilities, replace(configuration, top_k=max(min(configuration.top_k, pairs) - 1, 1)))


def over_the_batch(probabilities: Tensor, configuration: Configuration) -> Picked:
    """The best k of the whole batch decide which scores count in every image."""
    cut = probabilities.flatten().sort(descending=True).values[: configuration.top_k].min()
    return best_pairs(torch.where(probabilities >= cut, probabilities, torch.zeros_like(probabilities)), configuration)


def without_overlaps(detections: dict[str, Tensor], size: Tensor, configuration: Configuration) -> dict[str, Tensor]:
    keep = torch.tensor(
        [not (detections["boxes"][:place] == box).all(-1).any() for place, box in enumerate(detections["boxes"])],
        dtype=torch.bool,
    )
    return {name: values[keep] for name, values in detections.items()}


def at_or_above(detections: dict[str, Tensor], size: Tensor, configuration: Configuration) -> dict[str, Tensor]:
    return {name: values[detections["scores"] >= configuration.threshold] for name, values in detections.items()}


def above_half(detections: dict[str, Tensor], size: Tensor, configuration: Configuration) -> dict[str, Tensor]:
    return {name: values[detections["scores"] > 0.5] for name, values in detections.items()}


def above_zero(detections: dict[str, Tensor], size: Tensor, configuration: Configuration) -> dict[str, Tensor]:
    return {name: values[detections["scores"] > 0.05] for name, values in detections.items()}


def inside_exchanged(detections: dict[str, Tensor], size: Tensor, configuration: Configuration) -> dict[str, Tensor]:
    return inside(detections, size.flip(-1), configuration)


def first_size(boxes: Tensor, sizes: Tensor) -> Tensor:
    return pixels(boxes, sizes[:1].expand_as(sizes))


def scaled_in_place(boxes: Tensor, sizes: Tensor) -> Tensor:
    scaled = pixels(boxes, sizes)
    boxes.mul_(2)
    return scaled


def exchanged_sizes(boxes: Tensor, sizes: Tensor) -> Tensor:
    return pixels(boxes, sizes.flip(-1))


DEFECTS: dict[str, tuple[Steps, set[str]]] = {
    "labels as int32": (replace(EACH_QUERY, finish=wrong_labels(lambda labels: labels.int())), {"dtypes"}),
    "labels as float": (replace(TOP_K, finish=wrong_labels(lambda labels: labels.float())), {"dtypes"}),
    "height and width exchanged": (replace(EACH_QUERY, boxes=exchanged_sizes), {"pixels-of-each-axis"}),
    "top-k, height and width exchanged": (replace(TOP_K, boxes=exchanged_sizes), {"pixels-of-each-axis"}),
    "unscaled boxes": (
        replace(EACH_QUERY, boxes=lambda boxes, sizes: corners(boxes)),
        {"pixels-of-each-axis", "doubled-sizes"},
    ),
    "one pixel less": (
        replace(EACH_QUERY, boxes=lambda boxes, sizes: pixels(boxes, sizes - 1)),
        {"pixels-of-each-axis", "doubled-sizes", "boxes-of-queries", "clamping"},
    ),
    "the first image's size for all": (
        replace(EACH_QUERY, boxes=first_size),
        {"pixels-of-each-axis", "own-size"},
    ),
    "sizes in reverse": (
        replace(TOP_K, boxes=lambda boxes, sizes: pixels(boxes, sizes.flip(0))),
        {"pixels-of-each-axis", "own-size"},
    ),
    "no-object as a class": (
        replace(EACH_QUERY, probabilities=lambda logits: logits.softmax(-1)),
        {"foreground-labels", "scores"},
    ),
    "labels from 1": (
        replace(EACH_QUERY, finish=wrong_labels(lambda labels: labels + 1)),
        {"foreground-labels", "labels"},
    ),
    "top-k, labels from 1": (
        replace(TOP_K, finish=wrong_labels(lambda labels: labels + 1)),
        {"foreground-labels", "distinct-pairs"},
    ),
    "the first column dropped": (
        replace(EACH_QUERY, probabilities=lambda logits: logits.softmax(-1)[..., 1:]),
        {"scores", "labels"},
    ),
    "softmax over the queries": (
        replace(EACH_QUERY, probabilities=lambda logits: logits.softmax(1)[..., :-1]),
        {"scores", "labels"},
    ),
    "softmax without no-object": (
        replace(EACH_QUERY, probabilities=lambda logits: logits[..., :-1].softmax(-1)),
        {"scores"},
    ),
    "sigmoid for softmax": (
        replace(EACH_QUERY, probabilities=lambda logits: logits.sigmoid()[..., :-1]),
        {"scores"},
    ),
    "softmax for sigmoid": (
        replace(TOP_K, probabilities=lambda logits: logits.softmax(-1)),
        {"scores", "distinct-pairs", "k-beyond-all-pairs"},
    ),
    "logits as scores": (replace(EACH_QUERY, probabilities=lambda logits: logits[..., :-1]), {"scores"}),
    "labels of the next query": (
        replace(EACH_QUERY, pick=labels_of_the_next_query),
        {"labels", "permuted-queries"},
    ),
    "boxes of the next query": (
        replace(EACH_QUERY, pick=boxes_of_the_next_query),
        {"boxes-of-queries", "permuted-queries"},
    ),
    "sorted by score": (
        replace(EACH_QUERY, pick=by_score),
        {"scores", "labels", "boxes-of-queries", "permuted-queries"},
    ),
    "boxes left as cxcywh": (
        replace(EACH_QUERY, boxes=lambda boxes, sizes: boxes * sizes.flip(-1).repeat(1, 2)[:, None]),
        {"boxes-of-queries", "clamping"},
    ),
    "boxes as xywh": (
        replace(
            TOP_K,
            finish=wrong_boxes(lambda boxes: torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], -1)),
        ),
        {"distinct-pairs", "clamping"},
    ),
    "query and class exchanged": (
        replace(TOP_K, pick=exchanged_division),
        {"distinct-pairs", "permuted-queries"},
    ),
    "boxes of the first queries": (replace(TOP_K, pick=first_boxes), {"distinct-pairs", "permuted-queries"}),
    "a pair twice": (
        replace(TOP_K, pick=one_pair_repeated),
        {"scores", "distinct-pairs", "k-beyond-all-pairs"},
    ),
    "one class a query": (
        replace(TOP_K, pick=best_queries_only),
        {"scores", "k-beyond-all-pairs"},
    ),
    "scores by place": (replace(EACH_QUERY, pick=unequal_ranks), {"scores", "permuted-queries"}),
    "the batch's best k": (
        replace(TOP_K, pick=over_the_batch),
        {"scores", "distinct-pairs", "images-one-by-one", "permuted-queries", "k-beyond-all-pairs"},
    ),
    "an undeclared threshold": (replace(EACH_QUERY, finish=above_half), {"nothing-dropped"}),
    "top-k, an undeclared threshold": (
        replace(TOP_K, finish=above_zero),
        {"nothing-dropped", "k-beyond-all-pairs"},
    ),
    "an undeclared suppression": (replace(EACH_QUERY, finish=without_overlaps), {"nothing-dropped"}),
    "an undeclared clamp": (replace(EACH_QUERY, finish=inside), {"clamping"}),
    "top-k, an undeclared clamp": (replace(TOP_K, finish=inside), {"clamping"}),
    "a declared clamp missing": (replace(TOP_K, profile=declared(DEFORMABLE, clamp=True)), {"clamping"}),
    "a declared clamp, height and width exchanged": (
        replace(EACH_QUERY, finish=inside_exchanged, profile=declared(DETR, clamp=True)),
        {"clamping", "pixels-of-each-axis"},
    ),
    "a declared threshold missing": (
        replace(EACH_QUERY, profile=declared(DETR, threshold=True)),
        {"threshold"},
    ),
    "at the threshold, too": (
        replace(EACH_QUERY, finish=at_or_above, profile=declared(DETR, threshold=True)),
        {"threshold"},
    ),
    "a threshold that is ignored": (
        replace(
            TOP_K,
            finish=above_half,
            profile=declared(DEFORMABLE, threshold=True),
            limits=Limits(fixed={"threshold": 0.25}),
        ),
        {"threshold", "k-beyond-all-pairs"},
    ),
    "ascending scores": (replace(TOP_K, pick=unsorted), {"descending-scores"}),
    "always a hundred": (replace(TOP_K, pick=always_hundred), {"nothing-dropped"}),
    "one too few": (replace(TOP_K, pick=one_too_few), {"nothing-dropped", "k-beyond-all-pairs"}),
    "an undeclared refusal": (replace(TOP_K, pick=refusing), {"k-beyond-all-pairs"}),
    "a declared refusal missing": (
        replace(TOP_K, profile=declared(DEFORMABLE, top_k_overflow="refuse")),
        {"k-beyond-all-pairs"},
    ),
    "a gradient": (replace(EACH_QUERY, gradient=True), {"no-gradient"}),
    "outputs changed in place": (replace(EACH_QUERY, boxes=scaled_in_place), {"inputs-unchanged"}),
}


SOMETIMES = {
    "one class a query": {"nothing-dropped"},
    "sigmoid for softmax": {"labels"},
    "softmax for sigmoid": {"permuted-queries"},
    "a pair twice": {"permuted-queries"},
    "outputs changed in place": {"ways-of-calling"},
    "always a hundred": {"k-beyond-all-pairs"},
}
"""Invariants that a defect fails too where its wrong scores tie, k lies between Q and Q·K, or Q·K is more than 100,
which few cases have."""


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_accused_by_its_own_invariants_alone(name: str) -> None:
    steps, expected = DEFECTS[name]
    assert accusers(steps, expected) - SOMETIMES.get(name, set()) == expected


GARBAGE: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "no scores": lambda found: {"labels": found["labels"], "boxes": found["boxes"]},
    "NaN scores": lambda found: found | {"scores": found["scores"] * torch.nan},
    "NaN boxes": lambda found: found | {"boxes": found["boxes"] * torch.nan},
    "infinite boxes": lambda found: found | {"boxes": found["boxes"] / 0},
    "labels far away": lambda found: found | {"labels": found["labels"] + 10**12},
    "negative labels": lambda found: found | {"labels": -1 - found["labels"]},
    "fractions as labels": lambda found: found | {"labels": found["labels"] + 0.5},
    "an axis too many": lambda found: {name: values[None] for name, values in found.items()},
    "a label missing": lambda found: found | {"labels": found["labels"][1:]},
    "boxes of three numbers": lambda found: found | {"boxes": found["boxes"][:, :3]},
    "nothing": lambda found: {name: values[:0] for name, values in found.items()},
    "everything twice": lambda found: {name: torch.cat([values, values]) for name, values in found.items()},
}


@pytest.mark.parametrize("spoil", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("steps", [EACH_QUERY, TOP_K], ids=lambda steps: steps.profile.name)
def test_a_senseless_answer_is_a_violation_and_no_error_of_the_check(steps: Steps, spoil: Callable[..., Any]) -> None:
    assert accusers(replace(steps, finish=lambda found, size, configuration: spoil(found)))


class Forgetful:
    """Keeps what it was asked first, or draws lots."""

    def __init__(self, steps: Steps, configuration: Configuration) -> None:
        self.module, self.sizes = steps.module(configuration), None

    def with_first_sizes(self, outputs: dict[str, Tensor], sizes: Tensor) -> Any:
        self.sizes = sizes if self.sizes is None else self.sizes
        return self.module(outputs, self.sizes)

    def with_noise(self, outputs: dict[str, Tensor], sizes: Tensor) -> Any:
        return [found | {"boxes": found["boxes"] + torch.rand(1) * 1e-9} for found in self.module(outputs, sizes)]


@pytest.mark.parametrize("method", ["with_first_sizes", "with_noise"])
def test_state_and_chance_are_noticed(method: str) -> None:
    implementation = torch_implementation(
        name="forgetful",
        profile=DETR,
        postprocess=lambda configuration: getattr(Forgetful(EACH_QUERY, configuration), method),
    )
    [repeatable] = [item for item in INVARIANTS if item.id == "postprocess.repeatable"]
    assert outcome(repeatable, implementation)[0]
