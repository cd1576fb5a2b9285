"""Invariants of the matcher's symmetries: what leaves a matching unchanged. norm §3, M4–M8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase, joined_images
from detr_spec.invariant import invariant
from detr_spec.invariants.matcher import CONTESTED_REGIMES, Build, matched, matched_as_drawn
from detr_spec.invariants.matcher_terms import adds_coordinates, require_same_matchings
from detr_spec.invariants.shared import query_order_of, require_same_optima, require_same_optimum, vary
from detr_spec.matching.costs import image_costs
from detr_spec.strategies import set_cases
from detr_spec.values import Floats, Matching, Outputs, Target, Targets, round_to
from detr_spec.violation import premise

ENOUGH_QUERIES_REGIMES = tuple(name for name in CONTESTED_REGIMES if name != "more-targets-than-queries")
"""Contested regimes in which no image has more targets than queries."""


@invariant(
    "matcher.query-order",
    number="M4",
    formula="M(π o, t) = {(π(i), j) : (i, j) ∈ M(o, t)} for every permutation π of the queries",
    source="Carion et al. 2020, section 3.1: predictions are a set",
    breaks="a cost that depends on the query's index; query indices of a reshaped or sorted tensor",
    cases=set_cases(regimes=(*CONTESTED_REGIMES, "tied"), queries=(2, 7), targets=(1, 6)),
)
def query_order(component: Build, case: SetCase) -> None:
    """Permuting the queries permutes the matching.

    Queries are a set: an assignment that depends on their order prefers some of them for no reason that is
    in the loss.
    """
    outputs, targets, configuration = case.outputs.main, case.targets, case.configuration
    order = query_order_of(case, outputs.queries)
    before = matched_as_drawn(component, configuration, outputs, targets)
    permuted = matched(component, configuration, outputs.take(queries=order), targets)
    after = [Matching(order[matching.queries], matching.targets) for matching in permuted]
    costs = image_costs(outputs, targets, configuration)
    require_same_optima("queries permuted", before, after, costs, configuration)


@invariant(
    "matcher.target-order",
    number="M5",
    formula="M(o, π t) = {(i, π(j)) : (i, j) ∈ M(o, t)} for every permutation π of an image's targets",
    source="Carion et al. 2020, section 3.1: the ground truth is a set",
    breaks="greedy matching, which serves the first target first; labels and boxes in different orders",
    cases=set_cases(regimes=(*CONTESTED_REGIMES, "tied"), queries=(2, 7), targets=(2, 6)),
    rarity=2,
)
def target_order(component: Build, case: SetCase) -> None:
    """Permuting an image's targets permutes the matching.

    Annotation files list objects in an arbitrary order, which must not decide what is learnt.
    """
    outputs, targets, configuration = case.outputs.main, case.targets, case.configuration
    orders = [case.permutation(len(target), f"targets of image {image}") for image, target in enumerate(targets)]
    before = matched_as_drawn(component, configuration, outputs, targets)
    reordered = tuple(target.take(order) for target, order in zip(targets, orders, strict=True))
    permuted = matched(component, configuration, outputs, reordered)
    after = [Matching(own.queries, order[own.targets]) for own, order in zip(permuted, orders, strict=True)]
    costs = image_costs(outputs, targets, configuration)
    require_same_optima("targets permuted", before, after, costs, configuration)


@invariant(
    "matcher.batch-is-its-images",
    number="M6",
    formula="M(batch)_b = M(image b alone)",
    source="norm §3: a query is matched with targets of the same image",
    breaks="image 0's block of the cost used for all; wrong split sizes; offset indices; padding matched",
    cases=set_cases(images=(2, 3)),
)
def batch_is_its_images(component: Build, case: SetCase) -> None:
    """A batch is matched as its images are one by one.

    Matchers compute one cost matrix for the whole batch and cut it up; a wrong cut is silent, for its
    indices are in range.
    """
    outputs, targets, configuration = case.outputs.main, case.targets, case.configuration
    alone = [
        matched_as_drawn(component, configuration, outputs.take(images=[image]), (target,))[0]
        for image, target in enumerate(targets)
    ]
    together = matched(component, configuration, outputs, targets)
    costs = image_costs(outputs, targets, configuration)
    require_same_optima("matched alone and in a batch", alone, together, costs, configuration)


@invariant(
    "matcher.other-images-do-not-matter",
    number="M6",
    formula="M(batch)_b depends on the outputs and targets of image b alone",
    source="norm §3: a query is matched with targets of the same image; detr issue 330",
    breaks="cross-image matching; logits normalised over the batch; image 0's block of the cost used for all",
    cases=set_cases(images=(2, 3), targets=(1, 5)),
)
def other_images_do_not_matter(component: Build, case: SetCase) -> None:
    """Other predictions and other targets in the rest of the batch leave an image's matching as it is.

    Otherwise what an image teaches depends on the company that the data loader put it in.
    """
    outputs, targets, configuration = case.outputs.main, case.targets, case.configuration
    before = matched_as_drawn(component, configuration, outputs, targets)
    for image, cost in enumerate(image_costs(outputs, targets, configuration)):
        changed = _others_changed(outputs, targets, image)
        after = matched(component, configuration, *changed)[image]
        require_same_optimum(f"image {image}, the others changed", before[image], after, cost, configuration)


def _others_changed(outputs: Outputs, targets: Targets, kept: int) -> tuple[Outputs, Targets]:
    """The batch with the other images' logits negated, boxes in reverse and targets halved."""
    turned = np.arange(outputs.queries)[::-1]
    others = replace(outputs.take(queries=turned), logits=-outputs.logits)
    images = [outputs if image == kept else others for image in range(outputs.batch)]
    halved = (target.take(np.arange(len(target) // 2)) for target in targets)
    return joined_images([own.take(images=[image]) for image, own in enumerate(images)]), tuple(
        target if image == kept else half for image, (target, half) in enumerate(zip(targets, halved, strict=True))
    )


@invariant(
    "matcher.appended-empty-image",
    number="M7",
    formula="M(o ∪ o′, t ∪ ∅)_b = M(o, t)_b for the images b before, and no pair for the new one",
    source="norm §3: an image without targets gets empty int64 pairs",
    breaks="batches with an empty image fail; its padding is matched; a normalisation over all targets",
    cases=set_cases(images=(1, 2), targets=(1, 5)),
)
def appended_empty_image(component: Build, case: SetCase) -> None:
    """An image without targets at the end of the batch gets no pairs, and changes no other image's matching.

    Real batches hold images without objects; detr issue 335 and others like it are training runs that such
    an image ended.
    """
    outputs, targets, configuration = case.outputs.main, case.targets, case.configuration
    last = replace(outputs.take(images=[0], queries=np.arange(outputs.queries)[::-1]), logits=-outputs.logits[:1])
    longer = joined_images([outputs, last])
    before = matched_as_drawn(component, configuration, outputs, targets)
    after = matched(component, configuration, longer, (*targets, targets[0].take([])))
    costs = image_costs(outputs, targets, configuration)
    require_same_optima("an empty image appended", before, after, costs, configuration)


@invariant(
    "matcher.weight-scale",
    number="M8",
    formula="M for weights (s λ_class, s λ_bbox, s λ_giou) = M for (λ_class, λ_bbox, λ_giou), s > 0",
    source="follows from Carion et al. 2020, equation 1: the total cost scales with s",
    breaks="a weight that is clamped or not applied; absolute tolerances in the solver; costs rounded",
    cases=set_cases(regimes=CONTESTED_REGIMES, queries=(2, 7), targets=(1, 6)),
    applies=lambda profile: not profile.further_costs,
)
def weight_scale(component: Build, case: SetCase) -> None:
    """Multiplying all three cost weights by a positive factor leaves the matching as it is.

    Only the weights' ratios mean anything. The factors are powers of two, which scale every rounding error too.
    """
    outputs, targets, configuration = case.outputs.main, case.targets, case.configuration
    largest = 3 if configuration.dtype == "float16" else 20
    exponent = int(case.generator("scale").choice([-largest, -3, 3, largest]))
    scaled = vary(
        configuration,
        cost_class=configuration.cost_class * 2.0**exponent,
        cost_bbox=configuration.cost_bbox * 2.0**exponent,
        cost_giou=configuration.cost_giou * 2.0**exponent,
    )
    before = matched_as_drawn(component, configuration, outputs, targets)
    after = matched(component, scaled, outputs, targets)
    costs = image_costs(outputs, targets, configuration)
    require_same_optima(f"cost weights multiplied by 2^{exponent}", before, after, costs, configuration)


@invariant(
    "matcher.constant-for-one-target",
    number="M8",
    formula="n ≤ Q and C′_ij = C_ij + d for one target j and all queries i ⇒ M′ = M",
    source="Carion et al. 2020, equation 1: each target is matched exactly once, so every total grows by d",
    breaks="greedy matching; costs clipped, squared, or normalised for each target",
    applies=adds_coordinates,
    cases=set_cases(regimes=ENOUGH_QUERIES_REGIMES, queries=(2, 7), targets=(1, 6)),
    rarity=2,
)
def constant_for_one_target(component: Build, case: SetCase) -> None:
    """Adding a constant to the costs of one target leaves the matching as it is when n ≤ Q.

    The assignment weighs differences between queries. Here all predictions lie to the left of all targets,
    the GIoU has weight 0, and one target moves along: its L1 distance to every query changes by the same
    number.
    """
    configuration = vary(case.configuration, cost_giou=0.0)
    premise(configuration.cost_bbox > 0, "the cost of boxes has no weight")
    outputs, targets = _predictions_left_of_targets(case)
    moved = tuple(_one_target_moved(case, target) for target in targets)
    what = "a constant added to one target's costs"
    require_same_matchings(what, component, configuration, (outputs, targets), (outputs, moved))


_HALF_X = np.array([0.5, 1.0, 1.0, 1.0])


def _predictions_left_of_targets(case: SetCase) -> tuple[Outputs, Targets]:
    """The case with the predicted cx halved into [0, 1/2] and the targets' cx halved into [1/2, 1]."""

    def right(boxes: Floats) -> Floats:
        return round_to(boxes * _HALF_X + np.array([0.5, 0.0, 0.0, 0.0]), case.configuration.dtype)

    outputs = replace(case.outputs.main, boxes=case.outputs.boxes * _HALF_X)
    return outputs, tuple(replace(target, boxes=right(target.boxes)) for target in case.targets)


def _one_target_moved(case: SetCase, target: Target) -> Target:
    if not len(target):
        return target
    boxes = target.boxes.copy()
    place = int(case.generator("moved target").integers(len(target)))
    boxes[place, 0] = 1.0 if boxes[place, 0] < 0.75 else 0.5
    return replace(target, boxes=boxes)
