"""Invariants of mask losses alone: each is what its formula says, in the last layer only. norm §4, A5, C2, C3, C8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.invariant import invariant, judging
from detr_spec.invariants.auxiliary import reports_last_layer
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    ORDINARY_REGIMES,
    Build,
    judged,
    layered_terms,
    premise_same_matchings,
    require_same_terms,
)
from detr_spec.invariants.criterion_values import require_definition
from detr_spec.masks import common_size, padded, padded_targets
from detr_spec.profile import Profile
from detr_spec.strategies import mask_cases
from detr_spec.strategies.regimes import SATURATED_LOGIT
from detr_spec.values import Floats, Outputs
from detr_spec.violation import premise, require


def compares_pixels(profile: Profile) -> bool:
    """Whether the losses of masks compare them at each pixel of the targets."""
    return profile.masks.compared == "pixels"


def counts_padding(profile: Profile) -> bool:
    """Whether they do so at the pixels of padding too."""
    return compares_pixels(profile) and profile.masks.padding == "counted"


VALUE_CASES = mask_cases(regimes=ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5))


@invariant(
    "masks.mask-value",
    number="C2",
    formula=(
        "loss_mask = Σ_(i,j)∈M mean over pixels of α_t (1 − p_t)² (−log p_t) / num_boxes, α = 1/4, p = σ(m̂_i "
        "upsampled to m_j padded), with padding or without; at points: the mean over points of −t log p − (1 − t) "
        "log(1 − p)"
    ),
    source="norm §4 and §15; Carion et al. 2020, section 4.4; Lin et al. 2017, equation 5",
    breaks=(
        "a sum over pixels; α on the wrong side; align_corners=True or nearest; targets made smaller instead; the "
        "focal loss's α of the classes"
    ),
    cases=VALUE_CASES,
    applies=judging("mask"),
    rarity=3,
)
def mask_value(component: Build, case: SetCase) -> None:
    """The first loss of masks, focal or cross-entropy, equals its definition under the criterion's matching.

    The mean over pixels is what makes it comparable between images of different sizes: summed, it drowns every other
    term.
    """
    require_definition(component, case, "mask")


@invariant(
    "masks.dice-value",
    number="C2",
    formula="loss_dice = Σ_(i,j)∈M (1 − (2 Σ p t + 1) / (Σ p + Σ t + 1)) / num_boxes, sums over the pixels of a pair",
    source="norm §4; Carion et al. 2020, section 4.4; Milletari et al. 2016",
    breaks="no + 1, or another one; logits in place of probabilities; squares in the denominator; sums over all pairs",
    cases=VALUE_CASES,
    applies=judging("dice"),
    rarity=3,
)
def dice_value(component: Build, case: SetCase) -> None:
    """The dice loss equals its definition under the criterion's matching.

    It weighs a small object like a large one. Without the 1 in both sums a prediction of nothing for an empty mask
    is 0/0.
    """
    require_definition(component, case, "dice")


@invariant(
    "masks.padding-counts",
    number="C2",
    formula="m_j and m_j padded with background right and below to the batch's largest H and W give the same losses",
    source="norm §4: targets are padded with zeros, and the padding counts",
    breaks="padding left out of the sums; every mask resized to one size; masks aligned elsewhere than at the top left",
    cases=mask_cases(regimes=ORDINARY_REGIMES, images=(2, 3), targets=(1, 5)),
    applies=counts_padding,
)
def padding_counts(component: Build, case: SetCase) -> None:
    """Masks of several sizes have the losses of the same masks padded by hand to the common size.

    A prediction covers the padded image; where the padding does not count, nothing stops it from spilling over.
    """
    whole = padded_targets(case.targets)
    filled = [target for target in case.targets if len(target)]
    premise(
        any(common_size((target,)) != common_size(whole) for target in filled), "all images with targets have one size"
    )
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, case.configuration, case.outputs, whole)
    premise_same_matchings(before.last, after.last)
    when = "when the targets' masks are padded by hand"
    require_same_terms(after.terms(), before.terms(), when)


@invariant(
    "masks.perfect",
    number="C3",
    formula="σ(m̂_i) = m_j for all (i, j) ∈ M ⇒ loss_mask = loss_dice = 0",
    source="norm §4: both vanish where the predicted mask is the target's",
    breaks="rows and columns exchanged; a mask of another target; a smoothing that is not the same in both sums",
    cases=mask_cases(regimes=ORDINARY_REGIMES, targets=(1, 5)),
    cost=2,
    applies=compares_pixels,
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
    for name in case.configuration.trained:
        answer.term(name).require_definition()


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
    names = layered_terms(case.configuration)
    terms = [term for layer in answer.layers for term in answer.terms(names, layer).values()]
    premise(bool(terms), "the criterion returned none of the other losses")
    for term in terms:
        term.require_definition()


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
    require_same_terms(after.terms(), before.terms(), "when masks of unmatched queries are others")


@invariant(
    "masks.not-auxiliary",
    number="A5",
    formula="there is no loss_mask_i and no loss_dice_i",
    source="norm §4: auxiliary layers get every loss except masks",
    breaks="mask losses wherever a layer has masks; auxiliary layers asked for masks that they do not have",
    cases=mask_cases(layers=(2, 4)),
    cost=2,
    applies=lambda profile: reports_last_layer(profile) and profile.masks.layers == "last",
)
def not_auxiliary(component: Build, case: SetCase) -> None:
    """Auxiliary layers have no mask losses, whether they come with masks or without.

    The mask head is costly, and DETR runs it on the last layer only.
    """
    configuration = case.configuration
    template = configuration.profile.keys.auxiliary_loss
    layers = range(configuration.decoder_layers)
    mains = [configuration.profile.keys.mask, configuration.profile.keys.dice]
    unwanted = {template.format(loss=main, layer=layer) for main in mains for layer in layers}
    for outputs in (case.outputs, _masks_everywhere(case.outputs)):
        answer = component(configuration)(outputs, case.targets).value
        found = sorted(unwanted & set(answer.values))
        require(not found, f"auxiliary layers report {', '.join(found)}", expected=[], got=found)


def _masks_everywhere(outputs: Outputs) -> Outputs:
    """The outputs with the last layer's masks in every layer."""
    return replace(outputs, auxiliary=tuple(replace(layer, masks=outputs.masks) for layer in outputs.auxiliary))
