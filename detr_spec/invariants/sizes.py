"""Invariants of large sizes: what holds for few holds for many. norm §7.

Indices, labels and sizes go through integers of one and two bytes, counts through narrow floats, and numbers of layers
through the names of losses; each works on small cases.
"""

from __future__ import annotations

from detr_spec.cases import BoxCase, CostCase, RankCase, SetCase
from detr_spec.implementation import Assignment, BoxOperations, Criterion, Distributed, Factory, Matcher, PostProcess
from detr_spec.invariant import invariant
from detr_spec.invariants.assignment import SOURCE
from detr_spec.invariants.auxiliary import reports_each_layer
from detr_spec.invariants.box_answers import GIOU_SOURCE, NAMES, overlaps, pairs_range, pairwise
from detr_spec.invariants.criterion_answers import judged, require_layer
from detr_spec.invariants.detections import best_class_rule
from detr_spec.invariants.distributed import counts_all_ranks, mean_of_box_losses
from detr_spec.invariants.matcher import answered
from detr_spec.invariants.postprocess import (
    boxes_of_queries,
    distinct_pairs,
    foreground_labels,
    labels,
    pixels_of_each_axis,
    scores,
)
from detr_spec.invariants.shared import require_optimal, require_optimal_matchings
from detr_spec.strategies import (
    large_box_cases,
    large_cost_cases,
    large_detection_cases,
    large_mask_cases,
    large_rank_cases,
    large_set_cases,
    many_layer_cases,
)
from detr_spec.violation import require, require_within

COST = 10
"""A large case takes as long as so many ordinary ones."""


@invariant(
    "boxes.large-sizes",
    number="B13",
    formula="IoU and GIoU of 257 boxes and more = their definitions, either list the long one",
    source=GIOU_SOURCE,
    breaks="blocks of 256 boxes of which the last is left out; positions in one byte",
    cases=large_box_cases(),
    cost=COST,
    rarity=3,
)
def boxes_of_large_sizes(component: Factory[BoxOperations], case: BoxCase) -> None:
    """Overlaps of more boxes than a byte can count equal their definitions, as those of few do.

    A detector has hundreds of queries, and an image of a crowd hundreds of targets. Where few boxes fail as well, they
    are shown.
    """
    for name, overlap in overlaps(component(case.configuration)).items():
        for first, second in ((case.first, case.second), (case.second, case.first)):
            got = pairwise(name, overlap, first, second)
            require_within(NAMES[name], got, pairs_range(name, case, first, second))


@invariant(
    "assignment.large-sizes",
    number="S11",
    formula="Σ C_ij over the pairs = min over assignments, for 257 rows or columns and more",
    source=SOURCE,
    breaks="indices in one byte; a search that ends after so many rows",
    cases=large_cost_cases(),
    cost=COST,
    rarity=3,
)
def assignment_of_large_sizes(component: Factory[Assignment], case: CostCase) -> None:
    """A matrix with more rows or columns than a byte can count is solved at least cost.

    A detector has hundreds of queries. Where a small matrix fails as well, it is shown.
    """
    matching = component(case.configuration).solve(case.costs[0]).value
    require_optimal("the assignment", matching, case.costs[0], case.configuration.dtype)


@invariant(
    "matcher.large-sizes",
    number="M22",
    formula="Q, n_b or K > 256, B > 16 ⇒ Σ C_ij = min over assignments, for each image",
    source="Carion et al. 2020, equation 1; norm §3",
    breaks="indices or labels in one byte; images beyond the sixteenth left out",
    cases=large_set_cases(),
    cost=COST,
    rarity=3,
)
def matcher_of_large_sizes(component: Factory[Matcher], case: SetCase) -> None:
    """More queries, targets, classes and images than a byte can count are matched at least cost.

    LVIS has 1 203 classes, DINO 900 queries, and an image of a crowd hundreds of targets. Where a small case fails as
    well, it is shown.
    """
    matchings = answered(component, case.configuration, case.outputs, case.targets)
    require_optimal_matchings("the matching", matchings, case.outputs.main, case.targets, case.configuration)


@invariant(
    "criterion.large-sizes",
    number="C21",
    formula="Q, n_b or K > 256, B > 16, Σ n_b > 2 048 ⇒ each loss = its definition",
    source="norm §4",
    breaks="num_boxes in float16 or bfloat16, which hold no 2 049; labels in one byte; sixteen images at most",
    cases=large_set_cases(),
    cost=COST,
    rarity=3,
)
def criterion_of_large_sizes(component: Factory[Criterion], case: SetCase) -> None:
    """Batches with more queries, targets, classes and images than a byte can count have losses as defined.

    A count that is rounded scales every box loss, by as little as a thousandth. Where a small case fails as well, it is
    shown.
    """
    require_layer(judged(component, case.configuration, case.outputs, case.targets), None)


@invariant(
    "masks.large-sizes",
    number="C21",
    formula="Σ t > 32 767 ⇒ loss_mask and loss_dice = their definitions",
    source="norm §4",
    breaks="pixels counted in integers of two bytes; sums over the pixels in a narrow float",
    cases=large_mask_cases(),
    cost=COST,
    rarity=3,
)
def masks_of_large_sizes(component: Factory[Criterion], case: SetCase) -> None:
    """Masks of objects with more pixels than two bytes count have losses as defined.

    An object that fills an image of 640 × 480 has 307 200 pixels. Where small masks fail as well, they are shown. Which
    query is an object's is "masks.optimal-matching"'s to ask.
    """
    answer = judged(component, case.configuration, case.outputs, case.targets)
    for name in case.configuration.trained:
        answer.term(name).require_definition()


@invariant(
    "auxiliary.many-layers",
    number="A7",
    formula="L = 12 ⇒ loss_10 = the loss of decoder layer 10, with the weight of every other layer",
    source="norm §4: each auxiliary layer i gets every loss under the suffix _i",
    breaks="the number of a layer read from the last character of a key; keys in the order of the alphabet",
    cases=many_layer_cases(),
    cost=COST,
    applies=reports_each_layer,
    rarity=6,
)
def many_layers(component: Factory[Criterion], case: SetCase) -> None:
    """A decoder of so many layers that their numbers have two digits has each layer's losses under its own key.

    Most decoders have six layers, and what reads one digit works with them.
    """
    answer = judged(component, case.configuration, case.outputs, case.targets)
    for layer in answer.layers:
        for name in case.configuration.layered:
            key = answer.term(name, layer).key
            weights = None if case.configuration.profile.losses.weighted else answer.losses.weights
            require(weights is None or key in weights, f"{key} has no weight", expected=key, got=sorted(weights or ()))
        require_layer(answer, layer)


@invariant(
    "postprocess.large-sizes",
    number="P13",
    formula="Q, K, k > 256, Q·K > 65 536, H or W > 32 767 ⇒ scores, labels and boxes as defined",
    source="norm §5",
    breaks="sizes in two bytes, so that boxes lie left of the image; positions in Q·K in two bytes",
    cases=large_detection_cases(),
    cost=COST,
    rarity=3,
)
def postprocess_of_large_sizes(component: Factory[PostProcess], case: SetCase) -> None:
    """More queries and classes than a byte can count, in images wider than two bytes can, have detections as defined.

    Aerial and microscopic images are that wide, and their pairs of query and class number more than 65 536. Where a
    small case fails as well, it is shown.
    """
    by_rule = (labels, boxes_of_queries) if best_class_rule(case.configuration.profile) else (distinct_pairs,)
    for check in (foreground_labels, scores, pixels_of_each_axis, *by_rule):
        check(component, case)


@invariant(
    "distributed.large-sizes",
    number="D6",
    formula="(1/W) Σ_r L_r, or Σ_r L_r as declared, = L(union of the batches), where Σ n > 2 048, over num_boxes",
    source="norm §4 and §7: num_boxes = max(Σ_ranks Σ_b n_b / W, 1)",
    breaks="counts that are added up over the ranks in float16 or bfloat16",
    cases=large_rank_cases(),
    applies=counts_all_ranks,
    cost=2 * COST,
    rarity=3,
)
def ranks_of_large_sizes(component: Factory[Distributed], case: RankCase) -> None:
    """The mean, or the sum, over the ranks of a loss over num_boxes is that of all images, for thousands of boxes.

    What is reduced over ranks is often sent in the dtype of the gradients. Where few boxes fail as well, they are
    shown.
    """
    mean_of_box_losses(component, case)
