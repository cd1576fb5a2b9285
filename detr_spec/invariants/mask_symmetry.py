"""Invariants of what the mask losses do not depend on, and what they are divided by. norm §4, C6, C8–C11, C15."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    Build,
    Judged,
    Term,
    judged,
    premise_same_matchings,
    renamed,
    require_same_terms,
)
from detr_spec.invariants.mask_values import padded_by_hand
from detr_spec.losses import MASK_TERMS, num_boxes
from detr_spec.strategies import mask_cases
from detr_spec.strategies.regimes import SATURATED_LOGIT
from detr_spec.violation import premise


def _require_same(after: Judged, before: Judged, when: str) -> None:
    require_same_terms(after.terms(MASK_TERMS), before.terms(MASK_TERMS), when)


def _undivided(answer: Judged) -> dict[str, Term]:
    """The mask losses times num_boxes, as far as the implementation gave them."""
    normaliser = num_boxes(answer.targets, answer.last, answer.configuration)
    return {name: term.times(normaliser) for name, term in answer.terms(MASK_TERMS).items()}


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
    """Permuting the queries, with their masks, leaves both mask losses.

    Masks are predicted by queries, and belong to whichever query was matched.
    """
    order = case.permutation(case.outputs.queries, "queries")
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, case.configuration, case.outputs.take(queries=order), case.targets)
    premise_same_matchings(before.last, [renamed(matching, queries=order) for matching in after.last])
    _require_same(after, before, "when the queries are permuted")


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
    """Permuting the targets of each image, with their masks, leaves both mask losses.

    The order of an annotation file has no meaning.
    """
    orders = [case.permutation(len(target), f"targets of image {image}") for image, target in enumerate(case.targets)]
    premise(any(len(order) > 1 for order in orders), "no image has several targets")
    permuted = tuple(target.take(order) for target, order in zip(case.targets, orders, strict=True))
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, case.configuration, case.outputs, permuted)
    back = [renamed(matching, targets=order) for matching, order in zip(after.last, orders, strict=True)]
    premise_same_matchings(before.last, back)
    _require_same(after, before, "when the targets are permuted")


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
    """Permuting the images of a batch, with their targets, leaves both mask losses.

    The common size is that of the largest image, wherever it stands in the batch.
    """
    order = case.permutation(case.outputs.batch, "images")
    before = judged(component, case.configuration, case.outputs, case.targets)
    permuted = tuple(case.targets[image] for image in order)
    after = judged(component, case.configuration, case.outputs.take(images=order), permuted)
    premise_same_matchings([before.last[image] for image in order], after.last)
    _require_same(after, before, "when the images are permuted")


@invariant(
    "masks.unmatched-masks",
    number="C8",
    formula="m̂_i changes for queries i outside M ⇒ loss_mask and loss_dice stay",
    source="norm §4: predicted masks of matched queries",
    breaks="mask losses over all queries, against empty masks; masks not gathered by query index",
    cases=mask_cases(regimes=DISTINCT_ORDINARY_REGIMES, queries=(3, 6), targets=(1, 3)),
    cost=2,
)
def unmatched_masks(component: Build, case: SetCase) -> None:
    """Masks of unmatched queries do not enter the mask losses.

    There is nothing that they should resemble.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    unmatched = before.unmatched()
    premise(bool(unmatched) and bool(before.pairs()), "all queries are matched, or none")
    assert case.outputs.masks is not None
    masks = case.outputs.masks.copy()
    images, queries = np.array(unmatched).T
    masks[images, queries] = np.where(masks[images, queries] > 0, -SATURATED_LOGIT, SATURATED_LOGIT)
    after = judged(component, case.configuration, replace(case.outputs, masks=masks), case.targets)
    premise_same_matchings(before.last, after.last)
    _require_same(after, before, "when masks of unmatched queries are others")


@invariant(
    "masks.batch-twice",
    number="C9",
    formula="L(x ⊕ x, y ⊕ y) = L(x, y) for both mask losses, where Σ n_b ≥ 1",
    source="norm §4: each is a sum over matched pairs, divided by the number of targets",
    breaks="num_boxes of one image; a sum that is not divided",
    cases=mask_cases(regimes=DISTINCT_ORDINARY_REGIMES, targets=(1, 5)),
    cost=2,
)
def batch_twice(component: Build, case: SetCase) -> None:
    """A batch that holds every image twice has the mask losses of the batch that holds them once.

    Otherwise the learning rate would have to follow the batch size in a way that no recipe expects.
    """
    twice = np.tile(np.arange(case.outputs.batch), 2)
    before = judged(component, case.configuration, case.outputs, case.targets)
    premise(bool(before.pairs()), "nothing is matched")
    after = judged(component, case.configuration, case.outputs.take(images=twice), case.targets * 2)
    premise_same_matchings(before.last * 2, after.last)
    _require_same(after, before, "when the batch is given twice")


@invariant(
    "masks.empty-images",
    number="C10",
    formula="n_b = 0 ⇒ image b changes neither loss_mask nor loss_dice, but for the common size to which it belongs",
    source="norm §4: the masks of a batch are padded to one size; an image without targets has an empty matching",
    breaks="an empty image skipped, so that later ones are taken for earlier; its size left out of the common one",
    cases=mask_cases(regimes=("empty",), images=(2, 3), targets=(1, 5)),
    cost=2,
)
def empty_images(component: Build, case: SetCase) -> None:
    """Images without targets leave both mask losses as the other images give them, padded to the same size.

    Predicted masks cover the padded batch, whichever of its images have objects.
    """
    filled = [image for image, target in enumerate(case.targets) if len(target)]
    premise(0 < len(filled) < len(case.targets), "all images have targets, or none")
    answer = judged(component, case.configuration, case.outputs, case.targets)
    whole = padded_by_hand(case.targets)
    others = tuple(whole[image] for image in filled)
    without = judged(component, case.configuration, case.outputs.take(images=filled), others)
    premise_same_matchings([answer.last[image] for image in filled], without.last)
    _require_same(answer, without, "with images without targets")


@invariant(
    "masks.denominator",
    number="C11",
    formula="num_boxes = max(Σ_b n_b, 1), though only min(Q, n_b) targets are matched; or Σ_b |M_b|, as declared",
    source="norm §4: num_boxes counts targets; the profile says where a dialect counts matches",
    breaks="a mean over matched pairs",
    cases=mask_cases(regimes=("more-targets-than-queries",)),
    cost=2,
)
def denominator(component: Build, case: SetCase) -> None:
    """With more targets than queries, mask losses are divided by the declared count, of targets or of matches.

    Taking away the targets that stay unmatched leaves the matching, and so the losses times that number.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    kept = [np.sort(matching.targets) for matching in before.last]
    fewer = tuple(target.take(order) for target, order in zip(case.targets, kept, strict=True))
    premise(sum(map(len, fewer)) < sum(map(len, case.targets)), "every target is matched")
    after = judged(component, case.configuration, case.outputs, fewer)
    back = [renamed(matching, targets=order) for matching, order in zip(after.last, kept, strict=True)]
    premise_same_matchings(before.last, back)
    require_same_terms(_undivided(before), _undivided(after), "times num_boxes, when unmatched targets are added")


@invariant(
    "masks.additive-over-images",
    number="C15",
    formula="num_boxes · L(batch) = Σ_b num_boxes_b · L(image b), every target's masks padded to the batch's size",
    source="norm §4: a sum over the batch, divided once",
    breaks="a mean over images of per-image means; dice over all pairs at once; another image's masks",
    cases=mask_cases(regimes=DISTINCT_ORDINARY_REGIMES, images=(2, 3), targets=(1, 5)),
    cost=2,
)
def additive_over_images(component: Build, case: SetCase) -> None:
    """At one size, mask losses times num_boxes are the sum of what each image gives alone.

    So each object weighs the same, whatever else is in its image and in its batch.
    """
    targets = padded_by_hand(case.targets)
    whole = judged(component, case.configuration, case.outputs, targets)
    parts = [
        judged(component, case.configuration, case.outputs.take(images=[image]), (target,))
        for image, target in enumerate(targets)
    ]
    premise_same_matchings(whole.last, [matching for part in parts for matching in part.last])
    alone = [_undivided(part) for part in parts]
    shared = [name for name in _undivided(whole) if all(name in part for part in alone)]
    sums = {name: reduce(Term.plus, (part[name] for part in alone)) for name in shared}
    require_same_terms(_undivided(whole), sums, "times num_boxes, when images are given as one batch")
