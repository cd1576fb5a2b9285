"""Invariants of what changes the criterion's losses, in which direction, and what does not. norm §4, C5–C8, C12."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.invariant import invariant, judging, with_boxes, with_no_object, without_no_object
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    Build,
    Judged,
    Term,
    judged,
    premise_same_matchings,
    renamed,
    require_agreement,
    require_same_terms,
)
from detr_spec.invariants.shared import query_order_of
from detr_spec.strategies import mask_cases, set_cases, with_edges
from detr_spec.strategies.regimes import SMALLEST_SIDE
from detr_spec.values import Floats, Targets, round_to
from detr_spec.violation import premise, require

MATCHED_AND_UNMATCHED = set_cases(regimes=DISTINCT_ORDINARY_REGIMES, queries=(3, 6), targets=(1, 3))
SEVERAL_CLASSES = set_cases(
    regimes=tuple(name for name in DISTINCT_ORDINARY_REGIMES if name != "one-class"),
    queries=(2, 6),
    targets=(2, 5),
    least_classes=2,
)
SEVERAL_TARGETS = set_cases(regimes=DISTINCT_ORDINARY_REGIMES, queries=(2, 6), targets=(2, 5))


def _require_move(was: Term, now: Term, rises: bool, why: str) -> None:
    """Raises `Violation` unless the loss moved the way that its definition moves."""
    premise(bool(np.isfinite(was.value) and np.isfinite(now.value)), f"{was.key} is not finite")
    require(
        now.value > was.value if rises else now.value < was.value,
        f"{was.key} does not {'rise' if rises else 'fall'} {why}",
        expected="above the loss before" if rises else "below the loss before",
        got=now.value,
        before=was.value,
        by_definition=[float(was.definition.value), float(now.definition.value)],
    )


def _with_logits(component: Build, before: Judged, logits: Floats) -> Judged:
    """The answer to other logits of the last layer, where that leaves the matching."""
    outputs = replace(before.outputs, logits=round_to(logits, before.configuration.dtype))
    after = judged(component, before.configuration, outputs, before.targets)
    premise_same_matchings(before.last, after.last)
    return after


def _with_targets(component: Build, before: Judged, targets: Targets) -> Judged:
    """The answer to other targets, where that leaves the matching."""
    after = judged(component, before.configuration, before.outputs, targets)
    premise_same_matchings(before.last, after.last)
    return after


def _one_unmatched(answer: Judged, case: SetCase) -> tuple[int, int]:
    """The (image, query) of some unmatched query; ends the check where there is none."""
    unmatched = answer.unmatched()
    premise(bool(unmatched), "every query is matched")
    return unmatched[int(case.generator("unmatched query").integers(len(unmatched)))]


def _one_pair(answer: Judged, case: SetCase) -> tuple[int, int, int]:
    """Some (image, query, target) match; ends the check where nothing is matched."""
    pairs = answer.pairs()
    premise(bool(pairs), "nothing is matched")
    return pairs[int(case.generator("pair").integers(len(pairs)))]


@invariant(
    "criterion.unmatched-query-no-object",
    number="C5",
    formula="z_iK rises for an unmatched query i ⇒ loss_ce falls",
    source="norm §4; Carion et al. 2020, equation 2: the class of an unmatched query is no object",
    breaks="no object at index K − 1 or 0; unmatched queries without any target; a loss of the wrong sign",
    cases=MATCHED_AND_UNMATCHED,
    applies=judging("classification", with_no_object),
)
def unmatched_query_no_object(component: Build, case: SetCase) -> None:
    """A higher no-object logit of an unmatched query lowers the classification loss.

    Nothing else keeps the other ninety queries silent: without it every query claims an object.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    image, query = _one_unmatched(before, case)
    logits = case.outputs.logits.copy()
    logits[image, query, -1] += 2.0
    after = _with_logits(component, before, logits)
    was, now = before.term("classification"), after.term("classification")
    premise(now.rises_to(was), "the loss falls by no more than rounding")
    _require_move(was, now, False, "when an unmatched query says no object more firmly")


@invariant(
    "criterion.unmatched-query-any-class",
    number="C5",
    formula="z_ik rises for an unmatched query i and any class k ⇒ loss_ce rises",
    source="norm §8; Lin et al. 2017: every class of an unmatched query is a negative",
    breaks="only matched queries enter the loss; a label of 0 for unmatched queries; α and 1 − α as signs",
    cases=MATCHED_AND_UNMATCHED,
    applies=judging("classification", without_no_object),
)
def unmatched_query_any_class(component: Build, case: SetCase) -> None:
    """A higher logit of an unmatched query, for any class, raises the classification loss.

    Without a no-object class, this is all that teaches a query to claim nothing.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    image, query = _one_unmatched(before, case)
    columns = case.columns(image, np.arange(case.classes(image)))
    label = int(case.generator("class").choice(columns))
    logits = case.outputs.logits.copy()
    logits[image, query, label] += 2.0
    after = _with_logits(component, before, logits)
    was, now = before.term("classification"), after.term("classification")
    premise(was.rises_to(now), "the loss rises by no more than rounding")
    _require_move(was, now, True, f"when an unmatched query claims class {label} more firmly")


@invariant(
    "criterion.query-order",
    number="C6",
    formula="L(x_π, y) = L(x, y) for every loss and metric and every permutation π of the queries",
    source="norm §4; Carion et al. 2020, section 3.1: the loss is invariant to a permutation of predictions",
    breaks="query i compared with target i; matched queries assumed to come first",
    cases=with_edges(set_cases(regimes=DISTINCT_ORDINARY_REGIMES, queries=(2, 6), targets=(1, 5))),
)
@invariant(
    "masks.query-order",
    number="C6",
    formula="L(x_π, y) = L(x, y) for both mask losses and every permutation π of the queries",
    source="norm §4; Carion et al. 2020, section 3.1: the loss is invariant to a permutation of predictions",
    breaks="masks of the first queries in place of the matched ones; masks gathered by target index",
    cases=mask_cases(regimes=DISTINCT_ORDINARY_REGIMES, queries=(2, 6), targets=(1, 5)),
    cost=2,
)
def query_order(component: Build, case: SetCase) -> None:
    """Permuting the queries, with what they predict, leaves every loss and metric unchanged.

    Predictions are a set: a loss that knows their order trains some queries and starves others.
    """
    order = query_order_of(case, case.outputs.queries)
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, case.configuration, case.outputs.take(queries=order), case.targets)
    premise_same_matchings(before.last, [renamed(matching, queries=order) for matching in after.last])
    require_same_terms(after.terms(), before.terms(), "when the queries are permuted")


@invariant(
    "criterion.target-order",
    number="C6",
    formula="L(x, y_π) = L(x, y) for every loss and metric and every permutation π of an image's targets",
    source="norm §4; Carion et al. 2020, section 3.1: targets are a set",
    breaks="target indices not applied, so that targets are taken in their own order; the two index vectors swapped",
    cases=with_edges(SEVERAL_TARGETS),
)
@invariant(
    "masks.target-order",
    number="C6",
    formula="L(x, y_π) = L(x, y) for both mask losses and every permutation π of an image's targets",
    source="norm §4; Carion et al. 2020, section 3.1: targets are a set",
    breaks="masks taken in the targets' own order; target indices that do not count the images before",
    cases=mask_cases(regimes=DISTINCT_ORDINARY_REGIMES, queries=(2, 6), targets=(2, 5)),
    cost=2,
)
def target_order(component: Build, case: SetCase) -> None:
    """Permuting the targets of each image leaves every loss and metric unchanged.

    The order of an annotation file has no meaning.
    """
    orders = [case.permutation(len(target), f"targets of image {image}") for image, target in enumerate(case.targets)]
    premise(any((order != np.arange(len(order))).any() for order in orders), "no image has several targets")
    permuted = tuple(target.take(order) for target, order in zip(case.targets, orders, strict=True))
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, case.configuration, case.outputs, permuted)
    back = [renamed(matching, targets=order) for matching, order in zip(after.last, orders, strict=True)]
    premise_same_matchings(before.last, back)
    require_same_terms(after.terms(), before.terms(), "when the targets are permuted")


@invariant(
    "criterion.image-order",
    number="C6",
    formula="L(x_π, y_π) = L(x, y) for every loss and metric and every permutation π of the images",
    source="norm §4: sums and means over images",
    breaks="image 0's cost block or number of targets used for all; targets of a neighbouring image",
    cases=with_edges(set_cases(regimes=DISTINCT_ORDINARY_REGIMES, images=(2, 3), targets=(1, 5))),
)
@invariant(
    "masks.image-order",
    number="C6",
    formula="L(x_π, y_π) = L(x, y) for both mask losses and every permutation π of the images",
    source="norm §4: sums over images, at one common size",
    breaks="the first image's size for all; masks of a neighbouring image",
    cases=mask_cases(regimes=DISTINCT_ORDINARY_REGIMES, images=(2, 3), targets=(1, 5)),
    cost=2,
)
def image_order(component: Build, case: SetCase) -> None:
    """Permuting the images of a batch, with their targets, leaves every loss and metric unchanged.

    A loss that knows the place of an image in its batch has mixed two of them up.
    """
    order = case.permutation(case.outputs.batch, "images")
    before = judged(component, case.configuration, case.outputs, case.targets)
    permuted = tuple(case.targets[image] for image in order)
    after = judged(component, case.configuration, case.outputs.take(images=order), permuted)
    premise_same_matchings([before.last[image] for image in order], after.last)
    require_same_terms(after.terms(), before.terms(), "when the images are permuted")


@invariant(
    "criterion.matched-label",
    number="C7",
    formula=(
        "(i, j) ∈ M and y_j becomes y′_j ⇒ loss_ce moves as −log p_i[y′_j] against −log p_i[y_j]; the box losses stay"
    ),
    source="norm §4: the class of query i is the label of its own target",
    breaks="labels taken in the targets' order, not the matching's; labels of another image; class-aware box losses",
    cases=SEVERAL_CLASSES,
    applies=judging("classification"),
    rarity=2,
)
def matched_label(component: Build, case: SetCase) -> None:
    """Another label of a matched target moves the classification loss as its query's does, and no box loss.

    A label that reaches the wrong query teaches it the wrong class, and the loss still looks healthy.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    image, _, target = _one_pair(before, case)
    classes = case.classes(image)
    premise(classes > 1, "there is one class only")
    labels = case.targets[image].labels.copy()
    labels[target] = (labels[target] + case.generator("label").integers(1, classes)) % classes
    changed = replace(case.targets[image], labels=labels)
    after = _with_targets(component, before, case.targets_with(image, changed))
    was, now = before.term("classification"), after.term("classification")
    premise(was.rises_to(now) or now.rises_to(was), "the loss moves by no more than rounding")
    _require_move(was, now, was.rises_to(now), "as by definition when a matched target has another label")
    names = case.configuration.terms_with("sum over pairs")
    require_agreement(after.terms(names), before.terms(names), "when a label is another")


@invariant(
    "criterion.matched-box",
    number="C7",
    formula="(i, j) ∈ M and b_j becomes b̂_i ⇒ loss_bbox and loss_giou fall by the pair's share",
    source="norm §4: the box of query i is compared with that of its own target",
    breaks="boxes taken in the targets' order, not the matching's; boxes of another image",
    cases=SEVERAL_TARGETS,
    applies=with_boxes,
    rarity=2,
)
def matched_box(component: Build, case: SetCase) -> None:
    """Moving a matched target onto its query's box lowers both box losses.

    A box that reaches the wrong query pulls it across the image, and the loss still falls on average.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    image, query, target = _one_pair(before, case)
    box = case.outputs.boxes[image, query]
    premise(bool((box[2:] > 0).all()), "the GIoU of a flat box with itself is no number")
    boxes = case.targets[image].boxes.copy()
    boxes[target] = box
    moved = replace(case.targets[image], boxes=boxes)
    after = _with_targets(component, before, case.targets_with(image, moved))
    names = case.configuration.terms_with("sum over pairs")
    terms = [(was, after.term(name)) for name, was in before.terms(names).items()]
    falling = [(was, now) for was, now in terms if now.rises_to(was)]
    premise(bool(falling), "the losses fall by no more than rounding")
    for was, now in falling:
        _require_move(was, now, False, "when a target moves onto the box of its query")


@invariant(
    "criterion.unmatched-boxes",
    number="C8",
    formula="b̂_i changes for queries i outside M, M stays ⇒ loss_bbox and loss_giou stay",
    source="norm §4; Carion et al. 2020, equation 2: the box loss is taken where the target is an object",
    breaks="box losses over all queries; boxes not gathered by query index; padded targets that count",
    cases=MATCHED_AND_UNMATCHED,
    applies=with_boxes,
)
def unmatched_boxes(component: Build, case: SetCase) -> None:
    """Boxes of unmatched queries do not enter the box losses.

    There is nothing that they should resemble, and a pull towards anything wastes the query.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    unmatched = before.unmatched()
    premise(bool(unmatched) and bool(before.pairs()), "all queries are matched, or none")
    boxes = case.outputs.boxes.copy()
    corners = case.generator("corners").integers(0, 2, (len(unmatched), 2)).astype(np.float64)
    images, queries = np.array(unmatched).T
    boxes[images, queries] = np.concatenate([corners, np.full_like(corners, SMALLEST_SIDE)], axis=1)
    after = judged(component, case.configuration, replace(case.outputs, boxes=boxes), case.targets)
    premise_same_matchings(before.last, after.last)
    names = case.configuration.terms_with("sum over pairs")
    require_same_terms(after.terms(names), before.terms(names), "when boxes of unmatched queries are others")


@invariant(
    "criterion.logit-shift",
    number="C12",
    formula="z_i becomes z_i + c_i ⇒ loss_ce stays",
    source="norm §4: softmax(z + c) = softmax(z)",
    breaks=(
        "a sigmoid or binary cross-entropy in a softmax dialect; a softmax over queries; exponentials "
        "without the maximum taken off"
    ),
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, targets=(1, 5)),
    applies=judging("classification", with_no_object),
)
def logit_shift(component: Build, case: SetCase) -> None:
    """A constant added to all logits of a query leaves the classification loss unchanged.

    A softmax over the classes cannot see it; one over another axis, or a sigmoid, can.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    shape = (case.outputs.batch, case.outputs.queries, 1)
    shift = case.generator("shift").integers(-16, 16, shape, endpoint=True)
    after = _with_logits(component, before, case.outputs.logits + shift)
    names = ("classification",)
    require_same_terms(after.terms(names), before.terms(names), "when logits are shifted")
