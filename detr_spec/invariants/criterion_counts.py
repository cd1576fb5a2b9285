"""Invariants of what the losses are divided by, and of batches without targets. norm §4, C9–C11, C15."""

from __future__ import annotations

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
    require_agreement,
    require_same_terms,
)
from detr_spec.invariants.shared import without_objects
from detr_spec.losses import num_boxes
from detr_spec.masks import padded_targets
from detr_spec.profile import Profile
from detr_spec.strategies import mask_cases, set_cases
from detr_spec.violation import premise, require


def undivided(answer: Judged) -> dict[str, Term]:
    """The terms that are divided by num_boxes, times num_boxes, as far as the implementation gave them."""
    normaliser = num_boxes(answer.targets, answer.last, answer.configuration)
    terms = answer.terms(answer.configuration.terms_with("divided by boxes"))
    return {name: term.times(normaliser) for name, term in terms.items()}


def takes_surplus_targets(profile: Profile) -> bool:
    """Whether an image may have more targets than queries."""
    return not profile.limits_targets


@invariant(
    "criterion.batch-twice",
    number="C9",
    formula="L(x ⊕ x, y ⊕ y) = L(x, y) for every loss and metric, where Σ n_b ≥ 1",
    source="norm §4: each is a mean, over targets, weights, or images",
    breaks="a sum over images not divided; num_boxes of one image; a batch index that wraps round",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, targets=(1, 5)),
)
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
    """A batch that holds every image twice has the losses and metrics of the batch that holds them once.

    Otherwise the learning rate would have to follow the batch size in a way that no recipe expects.
    """
    twice = np.tile(np.arange(case.outputs.batch), 2)
    before = judged(component, case.configuration, case.outputs, case.targets)
    premise(any(len(matching.queries) for matching in before.last), "there are no targets")
    after = judged(component, case.configuration, case.outputs.take(images=twice), case.targets * 2)
    premise_same_matchings(before.last * 2, after.last)
    require_same_terms(after.terms(), before.terms(), "when the batch is given twice")


@invariant(
    "criterion.empty-images",
    number="C10",
    formula="n_b = 0 ⇒ every loss and metric is finite, and image b changes neither loss_bbox nor loss_giou",
    source="norm §4, and §3: an image without targets has an empty matching",
    breaks="an empty image skipped, so that later ones are taken for earlier; an exception; a mean of nothing",
    cases=set_cases(regimes=("empty",)),
)
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
    """Images without targets leave every loss finite, and those of boxes or masks as the other images give them.

    Real data has them, and a run that fails on the first one fails after hours. Masks are padded to the size of the
    largest image, whichever have objects.
    """
    filled = [image for image, target in enumerate(case.targets) if len(target)]
    premise(bool(filled) or not case.configuration.masks, "no image has targets")
    answer = judged(component, case.configuration, case.outputs, case.targets)
    terms = answer.terms()
    premise(bool(terms), "the criterion returned none of the losses")
    for term in terms.values():
        require_finite(term)
    if filled:
        whole = padded_targets(case.targets)
        others = tuple(whole[image] for image in filled)
        without = judged(component, case.configuration, case.outputs.take(images=filled), others)
        premise_same_matchings([answer.last[image] for image in filled], without.last)
        names = case.configuration.terms_with("sum over pairs")
        require_agreement(answer.terms(names), without.terms(names), "with images without targets")


@invariant(
    "criterion.empty-batch",
    number="C10",
    formula="n_b = 0 for all b ⇒ loss_bbox = loss_giou = 0 exactly, and loss_ce is finite",
    source="norm §4: num_boxes is at least 1, and the sums are empty",
    breaks="division by 0 targets; a mean over no pairs; an exception for empty index vectors",
    cases=set_cases(layers=(1, 2)),
)
@invariant(
    "masks.empty-batch",
    number="C10",
    formula="n_b = 0 for all b ⇒ loss_mask = loss_dice = 0 exactly",
    source="norm §4: num_boxes is at least 1, and the sums are empty",
    breaks="a mean over no pairs; an exception for masks [0, H, W]; a reshape that cannot infer a length",
    cases=mask_cases(layers=(1, 2)),
)
def empty_batch(component: Build, case: SetCase) -> None:
    """A batch without targets has box and mask losses of exactly 0 in every layer, and a finite classification loss.

    One NaN loss is a lost run, because the optimiser writes it into every weight.
    """
    answer = judged(component, case.configuration, case.outputs, without_objects(case.targets))
    trained, of_pairs = case.configuration.trained, case.configuration.terms_with("sum over pairs")
    terms = [(name, term) for layer in answer.layers for name, term in answer.terms(trained, layer).items()]
    premise(bool(terms), "the criterion returned none of the losses")
    for name, term in terms:
        require_finite(term)
        require(name not in of_pairs or term.value == 0, f"{term.key} is not 0", expected=0.0, got=term.value)


def require_finite(term: Term) -> None:
    """Raises `Violation` unless the loss is finite, or has no finite value by its definition."""
    expected = bool(np.isfinite(term.definition.value))
    require(
        not expected or bool(np.isfinite(term.value)),
        f"{term.key} is not finite",
        expected=float(term.definition.value),
        got=term.value,
    )


@invariant(
    "criterion.denominator",
    number="C11",
    formula=(
        "num_boxes = max(Σ_b n_b, 1), though only min(Q, n_b) of an image's targets are matched; or Σ_b "
        "|M_b|, as declared"
    ),
    source="norm §4: num_boxes counts targets; the profile says where a dialect counts matches",
    breaks="num_boxes from the lengths of the index vectors; a mean over matched pairs",
    cases=set_cases(regimes=("more-targets-than-queries",)),
    applies=takes_surplus_targets,
)
@invariant(
    "masks.denominator",
    number="C11",
    formula="num_boxes = max(Σ_b n_b, 1), though only min(Q, n_b) targets are matched; or Σ_b |M_b|, as declared",
    source="norm §4: num_boxes counts targets; the profile says where a dialect counts matches",
    breaks="a mean over matched pairs",
    cases=mask_cases(regimes=("more-targets-than-queries",)),
    applies=takes_surplus_targets,
    cost=2,
)
def denominator(component: Build, case: SetCase) -> None:
    """With more targets than queries, losses are divided by the declared count, of targets or of matches.

    Removing the unmatched targets leaves the matching unchanged, and so the losses times that number.
    """
    before = judged(component, case.configuration, case.outputs, case.targets)
    kept = [np.unique(matching.targets) for matching in before.last]
    fewer = tuple(target.take(order) for target, order in zip(case.targets, kept, strict=True))
    premise(sum(map(len, fewer)) < sum(map(len, case.targets)), "every target is matched")
    after = judged(component, case.configuration, case.outputs, fewer)
    back = [renamed(matching, targets=order) for matching, order in zip(after.last, kept, strict=True)]
    premise_same_matchings(before.last, back)
    require_same_terms(undivided(before), undivided(after), "times num_boxes, when unmatched targets are added")


@invariant(
    "criterion.additive-over-images",
    number="C15",
    formula=(
        "num_boxes · L(batch) = Σ_b num_boxes_b · L(image b), for loss_bbox and loss_giou, and for the focal loss_ce"
    ),
    source="norm §4: a sum over the batch, divided once",
    breaks="a mean over images of per-image means; one image's predictions paired with another's targets",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, images=(2, 3), targets=(1, 5)),
)
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
    """Losses times num_boxes are the sum of what each image gives alone, with masks of one size.

    So each object weighs the same, whatever else is in its image and in its batch.
    """
    targets = padded_targets(case.targets)
    whole = judged(component, case.configuration, case.outputs, targets)
    parts = [
        judged(component, case.configuration, case.outputs.take(images=[image]), (target,))
        for image, target in enumerate(targets)
    ]
    premise_same_matchings(whole.last, [matching for part in parts for matching in part.last])
    alone = [undivided(part) for part in parts]
    shared = [name for name in undivided(whole) if all(name in part for part in alone)]
    sums = {name: reduce(Term.plus, (part[name] for part in alone)) for name in shared}
    require_same_terms(undivided(whole), sums, "times num_boxes, when images are given as one batch")
