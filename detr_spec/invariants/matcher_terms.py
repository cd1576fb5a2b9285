"""Invariants of the matcher's cost terms: what each of them may depend on. norm §3 and §8, M9–M11."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import COST_WEIGHTS, Configuration, varied_weights
from detr_spec.costs import Cost
from detr_spec.invariant import invariant, with_no_object, without_no_object
from detr_spec.invariants.matcher import CONTESTED_REGIMES, Build, matched, matched_as_drawn
from detr_spec.invariants.shared import (
    largest_allowance,
    one_to_one,
    require_optimal_matchings,
    require_same_optima,
    vary,
)
from detr_spec.matching.costs import image_costs
from detr_spec.profile import Profile
from detr_spec.strategies import set_cases
from detr_spec.values import Floats, Integers, Outputs, Targets, round_to
from detr_spec.violation import premise, require


def classes_apart(profile: Profile) -> bool:
    """Whether the cost of classes alone depends on the logits."""
    return not any("logits" in further.cost.reads for further in profile.further_costs)


def adds_coordinates(profile: Profile) -> bool:
    """Whether the cost without its overlap term is a sum over the coordinates of boxes."""
    return profile.box_cost.is_there and _have_law("sum over coordinates", profile.box_cost, profile)


def _have_law(law: str, cost: Cost, profile: Profile) -> bool:
    further = (further.cost for further in profile.further_costs if "boxes" in further.cost.reads)
    return all(law in own.laws for own in (cost, *further) if own.is_there)


def _without(configuration: Configuration, weight: str) -> Configuration:
    """The configuration with one cost weight 0; ends the check where the others are 0 too."""
    changed = vary(configuration, **{weight: 0.0})
    premise(bool(changed.costs), "all cost weights would be zero")
    return changed


def require_same_matchings(
    what: str,
    component: Build,
    configuration: Configuration,
    before: tuple[Outputs, Targets],
    after: tuple[Outputs, Targets],
) -> None:
    """Raises `Violation` unless two inputs whose costs are equal in exact arithmetic get the same optimum."""
    first = matched_as_drawn(component, configuration, *before)
    second = matched(component, configuration, *after)
    costs = image_costs(*before, configuration), image_costs(*after, configuration)
    require_same_optima(what, first, second, costs[0], configuration, costs[1])


@invariant(
    "matcher.zero-class-weight",
    number="M9",
    formula="λ_class = 0 ⇒ M does not depend on the logits z",
    source="norm §3; Carion et al. 2020, equation 1",
    breaks="a zero weight replaced by a default (`weight or 1`); a class term that its weight does not reach",
    applies=classes_apart,
    cases=set_cases(regimes=CONTESTED_REGIMES, queries=(2, 7), targets=(1, 6)),
)
def zero_class_weight(component: Build, case: SetCase) -> None:
    """With a class weight of 0, other logits leave the matching as it is.

    Ablations set weights to 0. A term that stays in the cost nevertheless makes their tables wrong.
    """
    configuration = _without(case.configuration, "cost_class")
    outputs, targets = case.outputs.main, case.targets
    other = replace(outputs, logits=-outputs.logits[:, ::-1])
    require_same_matchings("other logits", component, configuration, (outputs, targets), (other, targets))


def _with_boxes(case: SetCase, change: Callable[[Floats], Floats]) -> tuple[Outputs, Targets]:
    """The case with all boxes changed, predicted ones and targets."""
    outputs = replace(case.outputs.main, boxes=change(case.outputs.boxes))
    return outputs, tuple(replace(target, boxes=change(target.boxes)) for target in case.targets)


@invariant(
    "matcher.zero-l1-weight",
    number="M9",
    formula="λ_bbox = 0 ⇒ M is the same for all boxes halved in x and for all boxes halved in y",
    source="norm §3; B5: the GIoU does not change under a scaling of x or y",
    breaks="a zero weight replaced by a default (`weight or 5`); an L1 term that its weight does not reach",
    applies=lambda profile: profile.box_cost.is_there and _have_law("scale-invariant", profile.overlap_cost, profile),
    cases=set_cases(regimes=CONTESTED_REGIMES, queries=(2, 7), targets=(1, 6)),
)
def zero_l1_weight(component: Build, case: SetCase) -> None:
    """With an L1 weight of 0, the scale of each axis does not matter, because GIoU does not depend on it.

    Halving x and halving y leave every area alike, so all that tells them apart is the L1 distance.
    """
    configuration = _without(case.configuration, "cost_bbox")
    narrow, low = (
        _with_boxes(case, partial(np.multiply, factors)) for factors in ([0.5, 1.0, 0.5, 1.0], [1.0, 0.5, 1.0, 0.5])
    )
    require_same_matchings("halved in y in place of x", component, configuration, narrow, low)


@invariant(
    "matcher.zero-giou-weight",
    number="M9",
    formula="λ_giou = 0 ⇒ M is the same when every box (cx, cy, w, h) becomes (cx, cy, h, w)",
    source="norm §3: L1 in cxcywh is a sum over the coordinates",
    breaks="a zero weight replaced by a default (`weight or 2`); a GIoU term in spite of it; L1 in xyxy",
    applies=adds_coordinates,
    cases=set_cases(regimes=CONTESTED_REGIMES, queries=(2, 7), targets=(1, 6)),
)
def zero_giou_weight(component: Build, case: SetCase) -> None:
    """With a GIoU weight of 0, exchanging all widths and heights does not matter, because L1 does not change.

    The sum of the coordinates' differences is the same; overlaps are not.
    """
    configuration = _without(case.configuration, "cost_giou")
    before = case.outputs.main, case.targets
    turned = _with_boxes(case, lambda boxes: boxes[..., [0, 1, 3, 2]])
    require_same_matchings("width and height exchanged", component, configuration, before, turned)


@invariant(
    "matcher.zero-weight-keeps-the-rest",
    number="M9",
    formula="λ_k = 0 ⇒ Σ C_ij over M is the minimum for the terms that remain",
    source="norm §3; Carion et al. 2020, equation 1",
    breaks="a zero weight that switches off another term as well; weights renormalised to their sum",
    cases=set_cases(regimes=CONTESTED_REGIMES, queries=(2, 7), targets=(1, 6)),
    rarity=3,
)
def zero_weight_keeps_the_rest(component: Build, case: SetCase) -> None:
    """With one weight 0, the matching is optimal for the other terms.

    Removing a term must remove that one, and no other.
    """
    there = [weight for weight in varied_weights(case.configuration.profile) if weight in COST_WEIGHTS]
    free = [weight for weight in there if weight not in case.configuration.fixed] or there
    removed = str(case.generator("removed term").choice(free))
    configuration = _without(case.configuration, removed)
    matchings = matched_as_drawn(component, configuration, case.outputs.main, case.targets)
    what = f"the matching with {removed} = 0"
    require_optimal_matchings(what, matchings, case.outputs.main, case.targets, configuration)


MORE_QUERIES_THAN_TARGETS = ("general", "crowded", "one-class", "saturated", "coco")


@invariant(
    "matcher.logit-shift",
    number="M10",
    formula="softmax(z + c) = softmax(z) ⇒ M(z_i + c_i, b̂) = M(z_i, b̂) for constants c_i",
    source="norm §3: the class cost is −softmax(z)[y]",
    breaks="raw logits or sigmoids in the cost; a softmax over the queries; exponentials that overflow",
    applies=lambda profile: with_no_object(profile) and classes_apart(profile),
    cases=set_cases(regimes=MORE_QUERIES_THAN_TARGETS, queries=(2, 6), targets=(1, 2)),
)
def logit_shift(component: Build, case: SetCase) -> None:
    """Adding a constant to all logits of a query leaves the matching as it is.

    A softmax sees differences of logits alone. The network is free to drift in their level, and does.
    """
    outputs, dtype = case.outputs, case.configuration.dtype
    logits = np.round(outputs.logits * 64) / 64
    shifted = logits + case.generator("shift").integers(-16, 16, (outputs.batch, outputs.queries, 1), endpoint=True)
    exact = all((round_to(numbers, dtype) == numbers).all() for numbers in (logits, shifted))
    premise(exact, "the shift would be rounded in this dtype")
    before, after = (replace(outputs.main, logits=own) for own in (logits, shifted))
    require_same_matchings(
        "logits shifted", component, case.configuration, (before, case.targets), (after, case.targets)
    )


@invariant(
    "matcher.logit-level",
    number="M10",
    formula="equal boxes, z_i > 0 for n queries and z_i < 0 for all others ⇒ those n are matched",
    source="norm §8: the class cost is a function of sigmoid(z), and falls with z",
    breaks="a softmax where the profile has sigmoids; a focal cost with the wrong sign",
    applies=lambda profile: without_no_object(profile) and one_to_one(profile),
    cases=set_cases(regimes=("general", "crowded", "one-class"), queries=(3, 6), targets=(1, 2)),
)
def logit_level(component: Build, case: SetCase) -> None:
    """Adding constants to all logits of each query moves the matching to the queries that are raised.

    Without a no-object class the level of the logits is all that says whether a query sees an object. A
    softmax in its place is blind to it (transformers PR 19644).
    """
    queries = case.outputs.queries
    premise(all(len(target) < queries for target in case.targets), "every query is matched at any level")
    order = case.permutation(queries, "raised queries")
    for order_of_raising in (order, order[::-1]):
        outputs, raised = _with_raised_queries(case, order_of_raising)
        for image, cost in enumerate(image_costs(outputs, case.targets, case.configuration)):
            others = np.setdiff1d(order, raised[image])
            margin = cost.lower[others].min(axis=0) - cost.upper[raised[image]].max(axis=0)
            premise(bool((margin > largest_allowance(cost)).all()), "the level does not decide by a margin")
        matchings = matched_as_drawn(component, case.configuration, outputs, case.targets)
        for image, matching in enumerate(matchings):
            require(
                sorted(matching.queries) == sorted(raised[image]),
                f"image {image}: the matching does not follow the level of the logits",
                expected=sorted(map(int, raised[image])),
                got=sorted(map(int, matching.queries)),
            )


def _with_raised_queries(case: SetCase, order: Integers) -> tuple[Outputs, list[Integers]]:
    """All boxes and masks alike; logits 1 to 7 for the first queries of an order, as many as an image has targets.

    The others have logits −7 to −1. The second part of the result are each image's raised queries.
    """
    alike = np.broadcast_to(case.outputs.boxes[:, :1], case.outputs.boxes.shape)
    shift = np.full((case.outputs.batch, case.outputs.queries, 1), -4.0)
    raised = [order[: len(target)] for target in case.targets]
    for image, queries in enumerate(raised):
        shift[image, queries] = 4.0
    logits = round_to(case.outputs.logits / 2 + shift, case.configuration.dtype)
    masks = None if case.outputs.masks is None else np.broadcast_to(case.outputs.masks[:, :1], case.outputs.masks.shape)
    return replace(case.outputs.main, logits=logits, boxes=alike, masks=masks), raised


@invariant(
    "matcher.absent-classes",
    number="M11",
    formula="M does not depend on z_ik for classes k that no target of the image has",
    source="norm §8: the class cost of a pair is a function of sigmoid(z_i[y_j]) alone",
    breaks="a softmax where the profile has sigmoids; labels off by one; the best class, not the target's",
    applies=lambda profile: without_no_object(profile) and classes_apart(profile),
    cases=set_cases(regimes=MORE_QUERIES_THAN_TARGETS, queries=(3, 6), targets=(1, 2)),
    rarity=2,
)
def absent_classes(component: Build, case: SetCase) -> None:
    """Logits of classes that an image's targets do not have leave its matching as it is.

    Each sigmoid is a detector of its own class; confidence in another class says nothing about this target.
    """
    outputs, targets = case.outputs.main, case.targets
    other = -np.roll(outputs.logits, 1, axis=1)
    absent = np.ones((outputs.batch, 1, outputs.logits.shape[-1]), dtype=bool)
    for image, target in enumerate(targets):
        absent[image, :, case.columns(image, target.labels)] = False
    premise(bool(absent.any()), "every class is present in every image")
    changed = replace(outputs, logits=np.where(absent, other, outputs.logits))
    require_same_matchings(
        "logits of absent classes changed",
        component,
        case.configuration,
        (outputs, targets),
        (changed, targets),
    )
