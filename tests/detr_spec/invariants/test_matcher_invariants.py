"""The matcher's invariants hold for right matchers, however written, and each finds its planted defects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from formulas import focal_cost
from judging import failure, judged, own_invariants, share_fired, share_fired_where_it_applies
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detr_conformance.base.verdict import Verdict
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import IMPLEMENTATIONS, deformable_matcher, detr_matcher
from detr_reference import HungarianMatcher, box_cxcywh_to_xyxy, generalized_box_iou
from detr_spec.configuration import Configuration
from detr_spec.implementation import Implementation, Limits
from detr_spec.invariants import find_invariants
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.tolerance import lift
from detr_spec.violation import Violation

Matcher = Callable[[Any, Any], Any]
Wrapper = Callable[[Matcher, Configuration], Matcher]

EXAMPLES = 30
SCOPED = "matcher.one-group-in-evaluation"
"""What test_scope_invariants asks, in dialects of groups."""
MATCHER_IDS = [item.id for item in own_invariants("matcher") if item.id != SCOPED]
RANKING_IDS = ["matcher.broken-queries-rank-last", "matcher.sound-queries-stay-optimal"]


def right_matcher(configuration: Configuration) -> HungarianMatcher:
    if configuration.profile.has_no_object:
        return detr_matcher(configuration)
    return deformable_matcher(configuration)


def implementation(
    factory: Callable[[Configuration], Matcher], profile: Profile = DETR, limits: Limits | None = None
) -> Implementation:
    return torch_implementation(name="subject", profile=profile, matcher=factory, limits=limits)


def own_cost(configuration: Configuration, logits: Tensor, boxes: Tensor, target: dict[str, Tensor]) -> Tensor:
    """The matching cost [Q, n], by the reference's formulas."""
    labels, target_boxes = target["labels"], target["boxes"]
    return right_matcher(configuration).cost_matrix(logits, boxes, labels, target_boxes)


def assigned(cost: Tensor) -> tuple[Tensor, Tensor]:
    queries, targets = linear_sum_assignment(cost.numpy())
    return torch.as_tensor(queries), torch.as_tensor(targets)


def by_cost(change: Callable[..., Tensor], profile: Profile = DETR) -> Implementation:
    """A matcher that assigns by changed costs: `change(cost, logits, boxes, target, configuration)`."""

    def factory(configuration: Configuration) -> Matcher:
        @torch.no_grad()
        def match(outputs: Any, targets: Any) -> Any:
            right_matcher(configuration)(outputs, targets)  # its refusals
            images = zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True)
            return [assigned(change(own_cost(configuration, *image), *image, configuration)) for image in images]

        return match

    return implementation(factory, profile)


def around(wrapper: Wrapper, profile: Profile = DETR, limits: Limits | None = None) -> Implementation:
    """The right matcher inside a wrapper."""
    return implementation(lambda configuration: wrapper(right_matcher(configuration), configuration), profile, limits)


def with_weights(change: Callable[[Configuration], dict[str, float]], profile: Profile = DETR) -> Implementation:
    """The right matcher, built with other weights."""
    return implementation(lambda configuration: right_matcher(replace(configuration, **change(configuration))), profile)


# Right matchers


@pytest.mark.parametrize("id", MATCHER_IDS)
@pytest.mark.parametrize("subject", IMPLEMENTATIONS, ids=lambda subject: subject.profile.name)
def test_holds_and_fires_on_the_reference(id: str, subject: Implementation) -> None:
    share = share_fired_where_it_applies(id, subject, EXAMPLES)
    assert share is None or share > 0.2


@pytest.mark.parametrize("id", MATCHER_IDS)
def test_every_invariant_applies_to_some_profile(id: str) -> None:
    (invariant,) = find_invariants(id)
    ranking = replace(DETR, non_finite_logits="rank-last")
    assert any(invariant.applies(profile) for profile in (DETR, DEFORMABLE, ranking))


def other_ties(matcher: Matcher, configuration: Configuration) -> Matcher:
    """Prefers the last of equal queries and targets."""

    def match(outputs: Any, targets: Any) -> Any:
        flipped = dict(outputs, **{name: outputs[name].flip(1) for name in ("pred_logits", "pred_boxes")})
        reversed_targets = [{name: part.flip(0) for name, part in target.items()} for target in targets]
        last = outputs["pred_logits"].shape[1] - 1
        answers = zip(matcher(flipped, reversed_targets), targets, strict=True)
        return [
            ((last - queries).flip(0), (len(target["labels"]) - 1 - columns).flip(0))
            for (queries, columns), target in answers
        ]

    return match


def in_double_precision(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        wide = {name: part.double() for name, part in outputs.items()}
        return matcher(wide, [dict(target, boxes=target["boxes"].double()) for target in targets])

    return match


def by_batched_costs(matcher: Matcher, configuration: Configuration) -> Matcher:
    """One cost matrix for the whole batch, cut up; L1 by cdist, the terms added in another order."""

    @torch.no_grad()
    def match(outputs: Any, targets: Any) -> Any:
        matcher(outputs, targets)  # its refusals
        logits, boxes = outputs["pred_logits"].flatten(0, 1), outputs["pred_boxes"].flatten(0, 1)
        labels = torch.cat([target["labels"] for target in targets])
        target_boxes = torch.cat([target["boxes"] for target in targets])
        if configuration.profile.has_no_object:
            class_cost = -torch.exp(logits.log_softmax(-1))[:, labels]
        else:
            alpha, gamma, _ = configuration.class_cost.numbers.values()
            p, q = logits.sigmoid()[:, labels], (-logits).sigmoid()[:, labels]
            class_cost = alpha * q**gamma * -(p + 1e-8).log() - (1 - alpha) * p**gamma * -(q + 1e-8).log()
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))
        distance = torch.cdist(boxes, target_boxes, p=1)
        cost = configuration.cost_giou * -giou + configuration.cost_class * class_cost
        cost = (cost + configuration.cost_bbox * distance).view(*outputs["pred_logits"].shape[:2], -1)
        blocks = cost.split([len(target["labels"]) for target in targets], dim=-1)
        return [assigned(block[image]) for image, block in enumerate(blocks)]

    return match


def by_target(matcher: Matcher, configuration: Configuration) -> Matcher:
    """Lists the pairs by ascending target."""

    def match(outputs: Any, targets: Any) -> Any:
        pairs = matcher(outputs, targets)
        orders = [columns.argsort() for _, columns in pairs]
        return [(queries[order], columns[order]) for (queries, columns), order in zip(pairs, orders, strict=True)]

    return match


def looking_at_what_counts(matcher: Matcher, configuration: Configuration) -> Matcher:
    """Leaves out the terms without weight, and so what is broken there."""

    def match(outputs: Any, targets: Any) -> Any:
        outputs = dict(outputs)
        if not configuration.cost_class:
            outputs["pred_logits"] = torch.zeros_like(outputs["pred_logits"])
            targets = [dict(target, labels=torch.zeros_like(target["labels"])) for target in targets]
        if not configuration.cost_bbox and not configuration.cost_giou:
            outputs["pred_boxes"] = torch.full_like(outputs["pred_boxes"], 0.5)
            targets = [dict(target, boxes=torch.full_like(target["boxes"], 0.5)) for target in targets]
        return matcher(outputs, targets)

    return match


def name_of(part: Any) -> str:
    return part.name if isinstance(part, Profile) else part.__name__


RIGHT_WAYS = [
    *((way, profile) for way in (other_ties, by_batched_costs) for profile in (DETR, DEFORMABLE)),
    *((in_double_precision, replace(profile, narrow_dtypes="unchecked")) for profile in (DETR, DEFORMABLE)),
    (by_target, replace(DETR, ascending_queries=False)),
    (looking_at_what_counts, replace(DETR, name="boxes alone", cost_weights=(0.0, 5.0, 2.0))),
    (looking_at_what_counts, replace(DETR, name="classes alone", cost_weights=(1.0, 0.0, 0.0))),
]


@pytest.mark.parametrize("id", MATCHER_IDS)
@pytest.mark.parametrize(("way", "profile"), RIGHT_WAYS, ids=name_of)
def test_right_matchers_of_other_kinds_are_not_accused(id: str, way: Wrapper, profile: Profile) -> None:
    (invariant,) = find_invariants(id)
    if invariant.applies(profile):
        assert failure(id, around(way, profile), examples=10) is None


def test_weights_that_cannot_be_varied_are_no_violation() -> None:
    fixed = Limits(fixed={"cost_class": 1.0, "cost_bbox": 5.0, "cost_giou": 2.0})

    def built_in(configuration: Configuration) -> Matcher:
        return HungarianMatcher(1, 5, 2)

    subject = implementation(built_in, DETR, fixed)
    varying = [
        "weight-scale",
        "constant-for-one-target",
        "zero-class-weight",
        "zero-l1-weight",
        "zero-giou-weight",
    ]
    for name in [*varying, "zero-weight-keeps-the-rest", "no-weight-refused"]:
        assert judged(f"matcher.{name}", subject, EXAMPLES).verdict is Verdict.NOT_PROVIDED
    assert judged("matcher.optimal-cost", subject, EXAMPLES).verdict is Verdict.HOLDS


def test_who_declares_every_narrow_dtype_is_not_asked_to_refuse_one() -> None:
    narrow = around(widening, limits=Limits(dtypes=("float16", "bfloat16")))
    assert judged("matcher.narrow-dtype-refused", narrow, EXAMPLES).verdict is Verdict.VACUOUS


@pytest.mark.parametrize("alpha_gamma", [(0.25, 2.0), (0.75, 1.0), (0.5, 3.0)])
def test_float32_evaluations_of_the_focal_cost_lie_in_the_range(alpha_gamma: tuple[float, float]) -> None:
    alpha, gamma = alpha_gamma
    logits = torch.cat([torch.linspace(10, 20, 5001), torch.linspace(-20, 10, 5001), torch.tensor([-120.0, 120.0])])
    expected = focal_cost(lift(logits[:, None].numpy(), "float32"), np.array([0]), alpha, gamma, 1e-8)

    def cost(p: Tensor, q: Tensor) -> Tensor:
        return alpha * q**gamma * -(p + 1e-8).log() - (1 - alpha) * p**gamma * -(q + 1e-8).log()

    p, by_definition = logits.sigmoid(), 1 / (1 + (-logits).exp())
    ways = [cost(p, 1 - p), cost(p, (-logits).sigmoid()), cost(by_definition, 1 - by_definition)]
    wide = logits.double().sigmoid()
    ways += [cost(wide, 1 - wide).float(), cost(wide.float(), 1 - wide.float())]
    for way in ways:
        numbers = way.double().numpy()
        assert (numbers >= expected.lower[:, 0]).all()
        assert (numbers <= expected.upper[:, 0]).all()
    apart = [float((way.double() - torch.as_tensor(expected.value[:, 0])).abs().max()) for way in ways]
    assert max(apart) > 0.4, "1 − p in float32 against ε is meant to be among the ways"


# Planted defects


def mapped(change: Callable[[Tensor, Tensor], Any]) -> Wrapper:
    """A wrapper that changes each image's pair of index vectors."""

    def wrapper(matcher: Matcher, configuration: Configuration) -> Matcher:
        return lambda outputs, targets: [change(*pair) for pair in matcher(outputs, targets)]

    return wrapper


def offset_targets(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        ends = np.cumsum([len(target["labels"]) for target in targets])
        pairs = zip(matcher(outputs, targets), targets, ends, strict=True)
        return [(queries, columns + int(end) - len(target["labels"])) for (queries, columns), target, end in pairs]

    return match


def float_for_empty_images(queries: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    return (queries, columns) if len(queries) else (torch.zeros(0), torch.zeros(0))


def first_image_for_all(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        first = {name: part[:1].expand_as(part) for name, part in outputs.items()}
        return matcher(first, targets)

    return match


def centred_over_the_batch(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        logits = outputs["pred_logits"]
        return matcher(dict(outputs, pred_logits=logits - logits.mean(dim=0)), targets)

    return match


def fails_on_empty_images(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        for target in targets:
            target["labels"].max()
        return matcher(outputs, targets)

    return match


def padded(matcher: Matcher, configuration: Configuration) -> Matcher:
    """Matches every image with as many targets as the longest has."""

    def match(outputs: Any, targets: Any) -> Any:
        longest = max(len(target["labels"]) for target in targets)

        def pad(target: dict[str, Tensor]) -> dict[str, Tensor]:
            missing = longest - len(target["labels"])
            boxes = torch.full((missing, 4), 0.5, dtype=target["boxes"].dtype)
            labels = torch.zeros(missing, dtype=torch.int64)
            return {
                "labels": torch.cat([target["labels"], labels]),
                "boxes": torch.cat([target["boxes"], boxes]),
            }

        return matcher(outputs, [pad(target) for target in targets])

    return match


def labels_sorted(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        return matcher(outputs, [dict(target, labels=target["labels"].sort().values) for target in targets])

    return match


def labels_clamped(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        last = configuration.columns - 1
        return matcher(outputs, [dict(target, labels=target["labels"].clamp(max=last)) for target in targets])

    return match


def labels_from_the_end(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        def counted(labels: Tensor) -> Tensor:
            return labels + configuration.columns * (labels < 0)

        return matcher(outputs, [dict(target, labels=counted(target["labels"])) for target in targets])

    return match


def next_label(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        classes = configuration.num_classes
        return matcher(outputs, [dict(target, labels=(target["labels"] + 1) % classes) for target in targets])

    return match


def sizes_exchanged(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        return matcher(dict(outputs, pred_boxes=outputs["pred_boxes"][..., [0, 1, 3, 2]]), targets)

    return match


def cheapest_first(cost: Tensor, *_: Any) -> Tensor:
    """Costs that leave no choice but the greedy assignment, the cheapest pair first."""
    chosen, left = torch.full_like(cost, 1e4), cost.clone()
    for _ in range(min(cost.shape)):
        query, target = divmod(int(left.argmin()), cost.shape[1])
        chosen[query, target] = 0
        left[query], left[:, target] = torch.inf, torch.inf
    return chosen


def greedy(cost: Tensor, *_: Any) -> Tensor:
    """Costs that leave no choice but the greedy assignment, target by target."""
    chosen = torch.full_like(cost, 1e4)
    left = list(range(len(cost)))
    for target in range(min(cost.shape)):
        best = left.pop(int(cost[left, target].argmin()))
        chosen[best, target] = 0
    return chosen


def with_graph(queries: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    return queries.double().requires_grad_(), columns


def in_place(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        with torch.no_grad():
            outputs["pred_logits"].sub_(outputs["pred_logits"].amax(-1, keepdim=True))
        return matcher(outputs, targets)

    return match


def cached(matcher: Matcher, configuration: Configuration) -> Matcher:
    answers: dict[Any, Any] = {}

    def match(outputs: Any, targets: Any) -> Any:
        shape = (*outputs["pred_logits"].shape, *(len(target["labels"]) for target in targets))
        return answers.setdefault(shape, matcher(outputs, targets))

    return match


def alternating(matcher: Matcher, configuration: Configuration) -> Matcher:
    """Breaks ties by another rule at every second call."""
    calls: list[int] = []
    other = other_ties(matcher, configuration)

    def match(outputs: Any, targets: Any) -> Any:
        calls.append(1)
        return matcher(outputs, targets) if len(calls) % 2 else other(outputs, targets)

    return match


def replacing_nan(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        sound = {name: part.nan_to_num(0.0, 50.0, -50.0) for name, part in outputs.items()}
        return matcher(sound, [dict(target, boxes=target["boxes"].nan_to_num(0.0)) for target in targets])

    return match


def widening(matcher: Matcher, configuration: Configuration) -> Matcher:
    """Computes in float32, whatever it is given, and does not say so."""

    def match(outputs: Any, targets: Any) -> Any:
        wide = {name: part.float() for name, part in outputs.items()}
        return matcher(wide, [dict(target, boxes=target["boxes"].float()) for target in targets])

    return match


def refusing_infinities(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        if not outputs["pred_logits"].isfinite().all():
            raise ValueError("logits are not finite")
        return matcher(outputs, targets)

    return match


def only_first_coordinate_checked(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        boxes = outputs["pred_boxes"]
        return matcher(
            dict(outputs, pred_boxes=torch.where(boxes[..., :1].isnan(), boxes, boxes.nan_to_num(0.5))),
            targets,
        )

    return match


def raw_logits(cost: Tensor, logits: Tensor, boxes: Tensor, target: Any, configuration: Configuration) -> Tensor:
    return cost - own_class_cost(logits, target, configuration) - configuration.cost_class * logits[:, target["labels"]]


def softmax_cost(cost: Tensor, logits: Tensor, boxes: Tensor, target: Any, configuration: Configuration) -> Tensor:
    probabilities = logits.softmax(-1)[:, target["labels"]]
    return cost - own_class_cost(logits, target, configuration) - configuration.cost_class * probabilities


def own_class_cost(logits: Tensor, target: Any, configuration: Configuration) -> Tensor:
    return configuration.cost_class * right_matcher(configuration).class_cost(logits, target["labels"])


def squared_distance(cost: Tensor, logits: Tensor, boxes: Tensor, target: Any, configuration: Configuration) -> Tensor:
    differences = (boxes[:, None] - target["boxes"][None]).abs()
    return cost + configuration.cost_bbox * (differences**2 - differences).sum(-1)


def xyxy_distance(cost: Tensor, logits: Tensor, boxes: Tensor, target: Any, configuration: Configuration) -> Tensor:
    other = (box_cxcywh_to_xyxy(boxes)[:, None] - box_cxcywh_to_xyxy(target["boxes"])[None]).abs().sum(-1)
    return cost + configuration.cost_bbox * (other - (boxes[:, None] - target["boxes"][None]).abs().sum(-1))


def by_query_index(cost: Tensor, *_: Any) -> Tensor:
    return cost + torch.arange(len(cost))[:, None]


def by_stride(matcher: Matcher, configuration: Configuration) -> Matcher:
    def match(outputs: Any, targets: Any) -> Any:
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        return matcher({"pred_logits": logits, "pred_boxes": boxes if boxes.is_contiguous() else 1 - boxes}, targets)

    return match


DEFECTS: dict[str, tuple[Implementation, list[str]]] = {
    "by the layout in memory": (around(by_stride), ["ways-of-calling"]),
    "index vectors swapped": (
        around(mapped(lambda queries, columns: (columns, queries))),
        ["valid-pairs", "optimal-cost", "recovers-shuffle", "query-order"],
    ),
    "target indices offset": (around(offset_targets), ["valid-pairs", "batch-is-its-images"]),
    "one pair dropped": (
        around(mapped(lambda queries, columns: (queries[1:], columns[1:]))),
        ["valid-pairs"],
    ),
    "padding matched": (around(padded), ["valid-pairs", "batch-is-its-images"]),
    "int32": (around(mapped(lambda queries, columns: (queries.int(), columns.int()))), ["int64-indices"]),
    "empty float": (around(mapped(float_for_empty_images)), ["int64-indices"]),
    "no negative GIoU": (
        by_cost(
            lambda cost, logits, boxes, target, configuration: cost + 2 * configuration.cost_giou * giou(boxes, target)
        ),
        ["optimal-cost"],
    ),
    "weights exchanged": (
        with_weights(lambda c: {"cost_bbox": c.cost_giou, "cost_giou": c.cost_bbox}),
        ["optimal-cost", "zero-l1-weight", "zero-giou-weight"],
    ),
    "width and height exchanged": (around(sizes_exchanged), ["optimal-cost"]),
    "greedy": (by_cost(greedy), ["optimal-cost", "target-order", "any-optimum-under-ties"]),
    "cheapest pair first": (
        by_cost(cheapest_first),
        ["optimal-cost", "constant-for-one-target"],
    ),
    "costs by query index": (by_cost(by_query_index), ["query-order", "optimal-cost"]),
    "pairs by target": (around(by_target), ["ascending-queries"]),
    "GIoU a fiftieth too heavy": (with_weights(lambda c: {"cost_giou": 1.02 * c.cost_giou}), ["close-call"]),
    "weights of zero accepted": (
        with_weights(lambda c: {} if any(c.cost_weights) else {"cost_class": 1.0}),
        ["no-weight-refused"],
    ),
    "labels clamped": (around(labels_clamped, DEFORMABLE), ["foreign-label-refused"]),
    "labels from the end": (around(labels_from_the_end), ["negative-label-refused"]),
    "labels sorted": (around(labels_sorted), ["target-order", "optimal-cost"]),
    "image 0 for all": (
        around(first_image_for_all),
        ["batch-is-its-images", "other-images-do-not-matter", "optimal-cost"],
    ),
    "logits centred over the batch": (
        around(centred_over_the_batch),
        ["batch-is-its-images", "other-images-do-not-matter", "appended-empty-image"],
    ),
    "fails on empty images": (around(fails_on_empty_images), ["appended-empty-image", "valid-pairs"]),
    "costs rounded": (
        by_cost(lambda cost, *_: cost.round()),
        ["weight-scale", "optimal-cost"],
    ),
    "absolute resolution": (by_cost(lambda cost, *_: (cost * 1e5).round()), ["weight-scale"]),
    "squared distance": (by_cost(squared_distance), ["constant-for-one-target", "optimal-cost"]),
    "costs clipped": (
        by_cost(lambda cost, *_: cost.clamp(max=1.0)),
        ["constant-for-one-target", "optimal-cost"],
    ),
    "xyxy distance": (by_cost(xyxy_distance), ["zero-giou-weight", "optimal-cost"]),
    "class weight or 1": (with_weights(lambda c: {"cost_class": c.cost_class or 1.0}), ["zero-class-weight"]),
    "L1 weight or 5": (
        with_weights(lambda c: {"cost_bbox": c.cost_bbox or 5.0}),
        ["zero-l1-weight", "zero-weight-keeps-the-rest"],
    ),
    "GIoU weight or 2": (
        with_weights(lambda c: {"cost_giou": c.cost_giou or 2.0}),
        ["zero-giou-weight", "zero-weight-keeps-the-rest"],
    ),
    "boxes off together": (
        with_weights(lambda c: {"cost_giou": c.cost_giou * bool(c.cost_bbox), "cost_class": c.cost_class or 1e-6}),
        ["zero-weight-keeps-the-rest"],
    ),
    "raw logits": (by_cost(raw_logits), ["logit-shift", "optimal-cost"]),
    "maximised": (
        by_cost(lambda cost, *_: -cost),
        ["dominated-query-unmatched", "recovers-shuffle", "optimal-cost"],
    ),
    "indices with a graph": (around(mapped(with_graph)), ["no-gradient"]),
    "logits changed in place": (around(in_place), ["inputs-unchanged"]),
    "cached by shape": (around(cached), ["repeatable"]),
    "ties at random": (around(alternating), ["repeatable"]),
    "NaN replaced": (
        around(replacing_nan),
        ["nan-logit-refused", "infinite-logit-refused", "nan-box-refused"],
    ),
    "narrow dtypes converted": (around(widening, limits=Limits(dtypes=("float32",))), ["narrow-dtype-refused"]),
    "-inf refused": (around(refusing_infinities), ["minus-infinite-logit"]),
    "NaN in cx alone refused": (around(only_first_coordinate_checked), ["nan-box-refused"]),
    "softmax for sigmoid": (
        by_cost(softmax_cost, DEFORMABLE),
        ["logit-level", "absent-classes", "optimal-cost"],
    ),
    "labels off by one": (around(next_label, DEFORMABLE), ["absent-classes", "optimal-cost"]),
    "focal cost with the wrong sign": (
        by_cost(lambda cost, logits, boxes, target, c: cost - 2 * own_class_cost(logits, target, c), DEFORMABLE),
        ["logit-level", "recovers-shuffle", "optimal-cost"],
    ),
    "sigmoid NaN replaced": (around(replacing_nan, DEFORMABLE), ["nan-logit-refused", "nan-box-refused"]),
}


def giou(boxes: Tensor, target: Any) -> Tensor:
    return generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target["boxes"]))


@pytest.mark.parametrize(
    ("defect", "id"),
    [(defect, f"matcher.{name}") for defect, (_, names) in DEFECTS.items() for name in names],
)
def test_planted_defect_is_found(defect: str, id: str) -> None:
    assert failure(id, DEFECTS[defect][0], examples=60) is not None


def test_every_invariant_finds_a_defect() -> None:
    found = {f"matcher.{name}" for _, names in DEFECTS.values() for name in names}
    assert found | set(RANKING_IDS) == set(MATCHER_IDS)


# Broken predictions, ranked last


def ranking(replaced: Callable[[Tensor], float], profile: Profile) -> Implementation:
    """A matcher that replaces costs that are not finite, by a number made of the finite ones."""

    def factory(configuration: Configuration) -> Matcher:
        weights, class_cost = configuration.cost_weights, right_matcher(configuration).class_cost

        @torch.no_grad()
        def match(outputs: Any, targets: Any) -> Any:
            answers = []
            for logits, boxes, target in zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True):
                distance = (boxes[:, None] - target["boxes"][None]).abs().sum(-1)
                cost = weights[0] * class_cost(logits, target["labels"]) + weights[1] * distance
                sound = boxes.nan_to_num(0.5)
                cost = cost - weights[2] * giou(sound, target)
                cost[~cost.isfinite()] = replaced(cost[cost.isfinite()])
                answers.append(assigned(cost))
            return answers

        return match

    return implementation(factory, profile)


def far_above(costs: Tensor) -> float:
    return float(costs.abs().sum()) * 4 + 1


RANKING = [
    replace(profile, non_finite_logits="rank-last", non_finite_boxes=boxes)
    for profile in (DETR, DEFORMABLE)
    for boxes in ("rank-last", "unchecked")
]


@pytest.mark.parametrize("id", RANKING_IDS)
@pytest.mark.parametrize("profile", RANKING, ids=lambda profile: f"{profile.name}-{profile.non_finite_boxes}")
def test_ranking_broken_queries_last_is_right_where_declared(id: str, profile: Profile) -> None:
    subject = ranking(far_above, profile)
    assert share_fired(id, subject, EXAMPLES) > 0.2
    for refusal in ("nan-logit-refused", "infinite-logit-refused", "nan-box-refused"):
        assert judged(f"matcher.{refusal}", subject, EXAMPLES).verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize("profile", RANKING[::2], ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    ("replaced", "id"),
    [
        (lambda costs: 0.0, "matcher.broken-queries-rank-last"),
        (lambda costs: float(costs.mean()), "matcher.broken-queries-rank-last"),
        (lambda costs: torch.finfo(costs.dtype).max, "matcher.sound-queries-stay-optimal"),
    ],
    ids=["zero", "mean", "largest number"],
)
def test_ranking_by_the_wrong_number_is_found(replaced: Any, id: str, profile: Profile) -> None:
    assert isinstance(failure(id, ranking(replaced, profile), examples=100), Violation)
