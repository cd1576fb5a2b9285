"""Invariants of the mask losses' numbers: each is what its formula says, and the others stay. norm §4, C2, C3, C7."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import (
    ORDINARY_REGIMES,
    TERMS,
    Build,
    judged,
    premise_same_matchings,
    require_optimal_layers,
    require_same_terms,
    shown_matchings,
)
from detr_spec.losses import MASK_TERMS
from detr_spec.masks import common_size, padded
from detr_spec.strategies import mask_cases
from detr_spec.strategies.regimes import SATURATED_LOGIT
from detr_spec.values import Floats, Targets
from detr_spec.violation import NotProvided, premise

VALUE_CASES = mask_cases(regimes=ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5))


def padded_by_hand(targets: Targets) -> Targets:
    """The targets, each with masks of the common size."""
    height, width = common_size(targets)
    return tuple(replace(target, masks=padded(target, height, width)) for target in targets)


def _require_definition(component: Build, case: SetCase, name: str) -> None:
    judged(component, case.configuration, case.outputs, case.targets).term(name).require_definition()


@invariant(
    "masks.mask-value",
    number="C2",
    formula=(
        "loss_mask = Σ_(i,j)∈M mean over pixels of α_t (1 − p_t)² (−log p_t) / num_boxes, α = 1/4, p = σ(m̂_i "
        "upsampled to m_j padded)"
    ),
    source="norm §4; Carion et al. 2020, section 4.4; Lin et al. 2017, equation 5",
    breaks=(
        "a sum over pixels; α on the wrong side; align_corners=True or nearest; targets made smaller instead; the "
        "focal loss's α of the classes"
    ),
    cases=VALUE_CASES,
)
def mask_value(component: Build, case: SetCase) -> None:
    """The focal mask loss equals its definition under the criterion's matching.

    The mean over pixels is what makes it comparable between images of different sizes: summed, it drowns every other
    term.
    """
    _require_definition(component, case, "mask")


@invariant(
    "masks.dice-value",
    number="C2",
    formula="loss_dice = Σ_(i,j)∈M (1 − (2 Σ p t + 1) / (Σ p + Σ t + 1)) / num_boxes, sums over the pixels of a pair",
    source="norm §4; Carion et al. 2020, section 4.4; Milletari et al. 2016",
    breaks="no + 1, or another one; logits in place of probabilities; squares in the denominator; sums over all pairs",
    cases=VALUE_CASES,
)
def dice_value(component: Build, case: SetCase) -> None:
    """The dice loss equals its definition under the criterion's matching.

    It weighs a small object like a large one. Without the 1 in both sums a prediction of nothing for an empty mask
    is 0/0.
    """
    _require_definition(component, case, "dice")


@invariant(
    "masks.padding-counts",
    number="C2",
    formula="m_j and m_j padded with background right and below to the batch's largest H and W give the same losses",
    source="norm §4: targets are padded with zeros, and the padding counts",
    breaks="padding left out of the sums; every mask resized to one size; masks aligned elsewhere than at the top left",
    cases=mask_cases(regimes=ORDINARY_REGIMES, images=(2, 3), targets=(1, 5)),
)
def padding_counts(component: Build, case: SetCase) -> None:
    """Masks of several sizes have the losses of the same masks padded by hand to the common size.

    A prediction covers the padded image; where the padding does not count, nothing stops it from spilling over.
    """
    whole = padded_by_hand(case.targets)
    filled = [target for target in case.targets if len(target)]
    premise(
        any(common_size((target,)) != common_size(whole) for target in filled), "all images with targets have one size"
    )
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, case.configuration, case.outputs, whole)
    premise_same_matchings(before.last, after.last)
    when = "when the targets' masks are padded by hand"
    require_same_terms(after.terms(MASK_TERMS), before.terms(MASK_TERMS), when)


@invariant(
    "masks.perfect",
    number="C3",
    formula="σ(m̂_i) = m_j for all (i, j) ∈ M ⇒ loss_mask = loss_dice = 0",
    source="norm §4: both vanish where the predicted mask is the target's",
    breaks="rows and columns exchanged; a mask of another target; a smoothing that is not the same in both sums",
    cases=mask_cases(regimes=ORDINARY_REGIMES, targets=(1, 5)),
    cost=2,
)
def perfect(component: Build, case: SetCase) -> None:
    """Masks predicted with certainty, at the targets' own size and equal to them, have losses of 0.

    Training can only converge to right masks if those are where the loss is least.
    """
    first = judged(component, case.configuration, case.outputs, case.targets)
    premise(bool(first.pairs()), "nothing is matched")
    height, width = common_size(case.targets)
    noise = case.generator("masks").integers(0, 2, (case.outputs.batch, case.outputs.queries, height, width))
    masks = noise.astype(np.bool_)
    for image, query, target in first.pairs():
        masks[image, query] = padded(case.targets[image], height, width)[target]
    certain: Floats = np.where(masks, SATURATED_LOGIT, -SATURATED_LOGIT)
    answer = judged(component, case.configuration, replace(case.outputs, masks=certain), case.targets)
    premise_same_matchings(first.last, answer.last)
    for name in MASK_TERMS:
        answer.term(name).require_definition()


@invariant(
    "masks.optimal-matching",
    number="C7",
    formula="Σ_(i,j)∈M_b C_ij = min for each image b and layer, C of classes and boxes alone",
    source="norm §3: the matching cost has no mask term; Carion et al. 2020, equation 1",
    breaks="a mask cost in the matching; masks' own boxes in place of the predicted ones",
    cases=mask_cases(regimes=ORDINARY_REGIMES, layers=(1, 2), queries=(2, 6), targets=(1, 5)),
    cost=2,
)
def optimal_matching(component: Build, case: SetCase) -> None:
    """With masks, the matching that the criterion uses is still an optimum of class and box costs.

    A mask head is trained on a detector that is there already: another matching would undo it.
    """
    losses = component(case.configuration)(case.outputs, case.targets).value
    shown = shown_matchings(losses, case.outputs, case.targets)
    if shown is None:
        raise NotProvided("the criterion does not show its matching")
    require_optimal_layers(shown, case.configuration, case.outputs, case.targets)


@invariant(
    "masks.other-losses",
    number="C2",
    formula="loss_ce, loss_bbox, loss_giou and the metrics of every layer = their definitions, whatever the masks",
    source="norm §4: mask losses are added under keys of their own",
    breaks="mask losses added into a box loss; auxiliary losses left out with masks; boxes taken from masks",
    cases=mask_cases(regimes=(*ORDINARY_REGIMES, "empty"), layers=(1, 3)),
    cost=2,
)
def other_losses(component: Build, case: SetCase) -> None:
    """With masks, every other loss and metric equals its definition, in every layer.

    Detection and segmentation are trained together, and compared with runs that detect only.
    """
    answer = judged(component, case.configuration, case.outputs, case.targets)
    terms = [term for layer in answer.layers for term in answer.terms(TERMS, layer).values()]
    premise(bool(terms), "the criterion returned none of the other losses")
    for term in terms:
        term.require_definition()
