"""Invariants of the matcher's answer: what it is and what it minimises. norm §3, M1–M3, M12–M14, M16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Matcher
from detr_spec.invariant import invariant
from detr_spec.invariants.shared import (
    inverse,
    largest_allowance,
    one_to_one,
    require_no_gradient,
    require_optimal_matchings,
    require_unchanged,
    require_valid_matching,
    same_pairs,
    unique_matchings,
)
from detr_spec.matching.costs import image_costs
from detr_spec.strategies import ALL_REGIMES, close_calls, set_cases
from detr_spec.strategies.regimes import SATURATED_LOGIT
from detr_spec.values import Floats, Matching, Outputs, Target, Targets
from detr_spec.violation import PremiseFailed, Violation, premise, require, require_equal

CONTESTED_REGIMES = (
    "general",
    "crowded",
    "more-targets-than-queries",
    "degenerate",
    "saturated",
    "tiny-boxes",
    "minute-boxes",
    "one-class",
    "coco",
)
"""Regimes in which queries compete for targets, so that a wrong cost leads to another matching."""

DISBELIEVING_LOGIT = 16.0
"""Beyond every logit of the regimes in which a dominated query is added."""

Build = Callable[[Configuration], Matcher]


def answered(
    component: Build, configuration: Configuration, outputs: Outputs, targets: Targets
) -> tuple[Matching, ...]:
    """Each image's matching by a new matcher; raises `Violation` unless there is one for each image."""
    matchings = component(configuration)(outputs, targets).value
    require_equal("the matcher answered for a wrong number of images", len(matchings), len(targets))
    return matchings


def matched(component: Build, configuration: Configuration, outputs: Outputs, targets: Targets) -> tuple[Matching, ...]:
    """As `answered`; raises `Violation` unless each image's matching is valid as well."""
    matchings = answered(component, configuration, outputs, targets)
    for image, (matching, target) in enumerate(zip(matchings, targets, strict=True)):
        require_valid_matching(f"image {image}", matching, outputs.queries, len(target), configuration)
    return matchings


def matched_as_drawn(
    component: Build, configuration: Configuration, outputs: Outputs, targets: Targets
) -> tuple[Matching, ...]:
    """As `matched`, for the case as it was drawn; ends the check where a matching is not valid.

    "matcher.valid-pairs", which has the same regimes, reports that: a defect is reported once.
    """
    try:
        return matched(component, configuration, outputs, targets)
    except Violation as violation:
        raise PremiseFailed("the matching of the case as drawn is not valid") from violation


@invariant(
    "matcher.valid-pairs",
    number="M1",
    formula="|M_b| = min(Q, n_b); queries and targets distinct and in range",
    source="norm §3; Carion et al. 2020, section 3.1: the assignment is one-to-one",
    breaks="swapped index vectors; indices offset into the concatenated targets; padding matched to queries",
    cases=set_cases(regimes=(*ALL_REGIMES, *("degenerate",) * 3)),
    rarity=10,
)
def valid_pairs(component: Build, case: SetCase) -> None:
    """Each image gets min(Q, n) pairs of distinct queries and distinct targets, all in range.

    A criterion gathers with these indices: a repeated or foreign index trains a query towards the wrong
    object in silence.
    """
    matched(component, case.configuration, case.outputs, case.targets)


@invariant(
    "matcher.int64-indices",
    number="M1",
    formula="dtype(queries) = dtype(targets) = int64, or as declared",
    source="norm §3: the result is a pair of int64 index vectors; the profile's `matcher.index_dtype`",
    breaks="empty images answered with a float tensor; a solver's int32 passed through",
    cases=set_cases(),
)
def int64_indices(component: Build, case: SetCase) -> None:
    """The index vectors are int64, or of the declared dtype, for empty images too.

    An empty float tensor cannot index, so the first batch with an empty image stops the training run.
    """
    declared = case.configuration.profile.matcher.index_dtype
    matchings = answered(component, case.configuration, case.outputs, case.targets)
    for image, matching in enumerate(matchings):
        for side, indices in (("query", matching.queries), ("target", matching.targets)):
            dtype = str(indices.dtype)
            require(
                dtype == declared if declared != "any" else np.issubdtype(indices.dtype, np.integer),
                f"image {image}: the {side} indices are no {declared if declared != 'any' else 'integers'}",
                expected=declared,
                got=dtype,
            )


@invariant(
    "matcher.optimal-cost",
    number="M2",
    formula="Σ_(i,j)∈M C_ij = min over assignments; C_ij = λ_class c_ij + λ_bbox ‖b̂_i − b_j‖₁ − λ_giou GIoU(b̂_i, b_j)",
    source="Carion et al. 2020, equation 1; norm §3",
    breaks="a cost term with the wrong sign, weight or box format; greedy matching; costs of another image; an epsilon",
    cases=set_cases(regimes=(*CONTESTED_REGIMES, "minute-boxes"), queries=(2, 7), targets=(1, 6)),
    rarity=3,
)
def optimal_cost(component: Build, case: SetCase) -> None:
    """The total cost of each image's matching is the minimum over all assignments.

    This is what makes the loss a set loss. It is judged by a bound from dual prices, never by comparing
    indices, so any optimal matching is right under ties.
    """
    configuration = case.configuration
    matchings = answered(component, configuration, case.outputs, case.targets)
    require_optimal_matchings("the matching", matchings, case.outputs.main, case.targets, configuration)


@invariant(
    "matcher.close-call",
    number="M2",
    formula="C_1 < C_2 by more than rounding ⇒ query 1 is matched, though C_2 − C_1 is a hundredth or less",
    source="Carion et al. 2020, equation 1; norm §3",
    breaks=(
        "a configured focal α or γ that the matcher ignores (rf-detr#1147); costs rounded, or in float16 "
        "(mmdet#11559); a truncated weight; ties broken by noise or by position"
    ),
    cases=close_calls(),
    rarity=6,
)
def close_call(component: Build, case: SetCase) -> None:
    """Of two queries that cost almost the same for a target, by different terms, the cheaper is matched.

    Among costs drawn at random one is the least by far, and a cost that is a little off leads to the same matching.
    In training, queries that compete for one target are near each other.
    """
    configuration = case.configuration
    matchings = answered(component, configuration, case.outputs, case.targets)
    require_optimal_matchings("the close call", matchings, case.outputs.main, case.targets, configuration)


@invariant(
    "matcher.ascending-queries",
    number="M3",
    formula="query indices i_1 < i_2 < … in each image",
    source="norm §3; the profile's `ascending_queries`",
    breaks="pairs in the order of the targets, as a solver of the transposed matrix gives them",
    applies=lambda profile: profile.ascending_queries,
    cases=set_cases(),
)
def ascending_queries(component: Build, case: SetCase) -> None:
    """Each image's pairs are listed by ascending query index, as the profile says.

    Code downstream that slices or splits the pairs, and every recorded matching, relies on the declared
    order.
    """
    matchings = matched_as_drawn(component, case.configuration, case.outputs, case.targets)
    for image, matching in enumerate(matchings):
        queries = [int(query) for query in matching.queries]
        require_equal(f"image {image}: query indices descend", queries, sorted(queries))


@invariant(
    "matcher.recovers-shuffle",
    number="M12",
    formula="b̂_σ(j) = b_j and z_σ(j) confident of y_j for every target j ⇒ M = {(σ(j), j)}",
    source="follows from Carion et al. 2020, equation 1: every term of C_ij is least at i = σ(j)",
    breaks="swapped index vectors where Q = n; boxes of one side in another format; a cost to be maximised",
    applies=one_to_one,
    cases=set_cases(regimes=("confident",), targets=(1, 5)),
    rarity=2,
)
def recovers_shuffle(component: Build, case: SetCase) -> None:
    """Where each target is predicted by one query, confidently and exactly, the matching pairs those two.

    A trained detector's predictions look like this, so a matcher that fails here can only train it away from
    the solution.
    """
    configuration, outputs = case.configuration, case.outputs
    best = unique_matchings(outputs.main, case.targets, configuration)
    shuffles = [_predicting_queries(case, image, target) for image, target in enumerate(case.targets)]
    recovered = all(own.by_target() == shuffle for own, shuffle in zip(best, shuffles, strict=True))
    premise(recovered, "another matching costs less")
    matchings = matched(component, configuration, outputs, case.targets)
    for image, (matching, shuffle) in enumerate(zip(matchings, shuffles, strict=True)):
        message = f"image {image}: targets are not matched to the queries that predict them"
        require_equal(message, matching.by_target(), shuffle)


def _predicting_queries(case: SetCase, image: int, target: Target) -> dict[int, int]:
    """The query of each target of an image that has its exact box and is confident of its label."""
    logits, boxes = case.outputs.logits[image], case.outputs.boxes[image]
    exact = (boxes[:, None, :] == target.boxes[None, :, :]).all(axis=-1)
    sure = [(logits[:, case.columns(image, label[None])] > 0).all(axis=-1) for label in target.labels]
    return {place: int(np.argmax(exact[:, place] & own)) for place, own in enumerate(sure)}


@invariant(
    "matcher.dominated-query-unmatched",
    number="M13",
    formula="n ≤ Q and C_ej > C_ij for all i ≠ e and all j ⇒ e is not in M",
    source="Carion et al. 2020, equation 1: exchanging e for an unmatched query lowers the total",
    breaks="a total cost that is maximised; a cost term with the wrong sign; the last query always matched",
    applies=one_to_one,
    cases=set_cases(regimes=("general", "confident", "crowded", "one-class"), targets=(1, 5)),
    rarity=2,
)
def dominated_query_unmatched(component: Build, case: SetCase) -> None:
    """A query that costs more than every other one for each target is never matched when n ≤ Q.

    Otherwise the worst prediction takes an object away from a query that has nearly found it.
    """
    configuration = case.configuration
    outputs, targets, extra = _with_dominated_query(case)
    for cost in image_costs(outputs, targets, configuration):
        margin = cost.lower[extra] - np.delete(cost.upper, extra, axis=0).max(axis=0)
        premise(bool((margin > largest_allowance(cost)).all()), "the extra query does not cost more by a margin")
    for image, matching in enumerate(matched_as_drawn(component, configuration, outputs, targets)):
        queries = [int(query) for query in matching.queries]
        require(
            extra not in queries,
            f"image {image}: query {extra} is matched, which costs most for every target",
            expected=f"queries other than {extra}",
            got=queries,
        )


def _with_dominated_query(case: SetCase) -> tuple[Outputs, Targets, int]:
    """The scene shrunk into a corner, one query far from it that believes in no class, and its index.

    Shrinking by 1/4 leaves coordinates at most 1/4; the extra box, at (1, 1) with sides 1, differs by 3/4 in
    each.
    """
    outputs = case.outputs
    logits = np.full((outputs.batch, 1, outputs.logits.shape[-1]), -DISBELIEVING_LOGIT)
    if case.configuration.profile.has_no_object:
        logits[..., -1] = DISBELIEVING_LOGIT
    boxes = np.ones((outputs.batch, 1, 4))
    extended = replace(
        outputs.main,
        logits=np.concatenate([outputs.logits, logits], axis=1),
        boxes=np.concatenate([outputs.boxes / 4, boxes], axis=1),
        masks=None if outputs.masks is None else np.concatenate([outputs.masks, _no_masks(outputs.masks)], axis=1),
    )
    order = case.permutation(extended.queries, "place of the extra query")
    targets = tuple(replace(target, boxes=target.boxes / 4) for target in case.targets)
    return extended.take(queries=order), targets, int(inverse(order)[-1])


def _no_masks(masks: Floats) -> Floats:
    """The mask of a query that sees no object anywhere, with certainty; [B, Q, h, w] → [B, 1, h, w]."""
    return np.full_like(masks[:, :1], -SATURATED_LOGIT)


@invariant(
    "matcher.no-gradient",
    number="M14",
    formula="∂M/∂z = ∂M/∂b̂ = none: no result records a gradient",
    source="norm §3: no gradient flows through the assignment",
    breaks="a matcher that is run without switching gradients off and hands out parts of its cost",
    cases=set_cases(),
)
def no_gradient(component: Build, case: SetCase) -> None:
    """Nothing that the matcher returns carries a gradient.

    The assignment is piecewise constant; a graph kept through it holds the whole cost matrix in memory and
    trains nothing.
    """
    require_no_gradient(component(case.configuration)(case.outputs, case.targets), "results")


@invariant(
    "matcher.inputs-unchanged",
    number="M14",
    formula="outputs and targets hold after the call what they held before",
    source="norm §7, M14",
    breaks="boxes converted or logits normalised in place; keys removed from the outputs",
    cases=set_cases(),
)
def inputs_unchanged(component: Build, case: SetCase) -> None:
    """The call changes neither the outputs nor the targets.

    The criterion computes the losses from the same tensors next, and every auxiliary layer shares the
    targets.
    """
    require_unchanged(component(case.configuration)(case.outputs, case.targets))


@invariant(
    "matcher.repeatable",
    number="M14",
    formula="M(o, t) is the same for a new matcher, at a second call, and after a call with other inputs",
    source="norm §7, M14; PaddleDetection PR 7724: stale match indices were reused",
    breaks="a cached matching or cost matrix; random tie breaking",
    cases=set_cases(regimes=("general", "tied", "confident", "empty", "more-targets-than-queries")),
    rarity=3,
)
def repeatable(component: Build, case: SetCase) -> None:
    """The same inputs get the same pairs, whatever the matcher was asked before.

    A matching that depends on earlier calls ties a training step to the batch before it, and no run can be
    reproduced.
    """
    configuration, targets = case.configuration, case.targets
    other = case.outputs.take(queries=case.permutation(case.outputs.queries, "queries of the other inputs"))
    used = component(configuration)
    calls = [("at first", case.outputs), ("after another call", other), ("at a second call", case.outputs)]
    for when, outputs in calls:
        fresh = matched_as_drawn(component, configuration, outputs, targets)
        again = matched(lambda _: used, configuration, outputs, targets)
        require(
            all(map(same_pairs, again, fresh)),
            f"{when}, a matcher gives other pairs than a new one",
            expected=[matching.pairs() for matching in fresh],
            got=[matching.pairs() for matching in again],
        )


@invariant(
    "matcher.any-optimum-under-ties",
    number="M16",
    formula="several assignments of least total cost ⇒ M is one of them, whichever",
    source="norm §3: the minimiser need not be unique; correctness is a statement about cost",
    breaks="greedy matching; costs rounded to integers; a search that stops short of the optimum",
    cases=set_cases(regimes=("tied",), queries=(4, 8), targets=(2, 6)),
)
def any_optimum_under_ties(component: Build, case: SetCase) -> None:
    """With repeated queries and repeated targets the matching may be any of the optimal ones.

    Queries are nearly alike when training begins. Which of equals is chosen does not matter, but ties must
    not cost anything.
    """
    configuration = case.configuration
    matchings = matched_as_drawn(component, configuration, case.outputs, case.targets)
    require_optimal_matchings("the matching", matchings, case.outputs.main, case.targets, configuration)
