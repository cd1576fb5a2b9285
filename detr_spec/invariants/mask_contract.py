"""Invariants of a criterion with mask losses as a function that is called. norm §4, A5, C1, C10, C16, C17."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import TERM_WEIGHTS
from detr_spec.invariant import invariant
from detr_spec.invariants.auxiliary import reports_last_layer
from detr_spec.invariants.criterion_answers import (
    ORDINARY_REGIMES,
    Build,
    judged,
)
from detr_spec.invariants.criterion_contract import require_coefficient, weighs_outside
from detr_spec.invariants.criterion_values import require_keys
from detr_spec.invariants.shared import require_unchanged, vary
from detr_spec.losses import MASK_TERMS
from detr_spec.reported import decoder_keys, loss_key, without_extra
from detr_spec.strategies import mask_cases
from detr_spec.tolerance import SPACING
from detr_spec.values import Outputs, Targets
from detr_spec.violation import NotProvided, premise, require, require_close

CASES = mask_cases(layers=(1, 2))


def _key(case: SetCase, name: str) -> str:
    key = loss_key(case.configuration, name)
    assert key is not None
    return key


def _without_objects(targets: Targets) -> Targets:
    """The same images without any target: masks [0, H, W]."""
    return tuple(target.take(np.arange(0)) for target in targets)


@invariant(
    "masks.keys",
    number="C1",
    formula="keys(losses) = {loss_ce, loss_bbox, loss_giou, loss_mask, loss_dice} ∪ declared metrics",
    source="norm §4, as the profile's keys name them",
    breaks="mask losses silently off; left out of a batch without targets; one loss under both names",
    cases=mask_cases(),
)
def keys(component: Build, case: SetCase) -> None:
    """Where masks are asked for, one decoder layer gives the usual losses and metrics, loss_mask and loss_dice.

    The training loss sums what losses and weights have in common: a term under another name is silently not trained.
    """
    configuration = replace(case.configuration, decoder_layers=1)
    answer = component(configuration)(case.outputs.main, case.targets).value
    require_keys(without_extra(configuration, answer.values), decoder_keys(configuration))


@invariant(
    "masks.not-auxiliary",
    number="A5",
    formula="there is no loss_mask_i and no loss_dice_i",
    source="norm §4: auxiliary layers get every loss except masks",
    breaks="mask losses wherever a layer has masks; auxiliary layers asked for masks that they do not have",
    cases=mask_cases(layers=(2, 4)),
    cost=2,
    applies=reports_last_layer,
)
def not_auxiliary(component: Build, case: SetCase) -> None:
    """Auxiliary layers have no mask losses, whether they come with masks or without.

    The mask head is costly, and DETR runs it on the last layer only.
    """
    configuration = case.configuration
    template = configuration.profile.keys.auxiliary_loss
    layers = range(configuration.decoder_layers)
    unwanted = {template.format(loss=_key(case, name), layer=layer) for name in MASK_TERMS for layer in layers}
    for outputs in (case.outputs, _masks_everywhere(case.outputs)):
        answer = component(configuration)(outputs, case.targets).value
        found = sorted(unwanted & set(answer.values))
        require(not found, f"auxiliary layers report {', '.join(found)}", expected=[], got=found)


def _masks_everywhere(outputs: Outputs) -> Outputs:
    """The outputs with the last layer's masks in every layer."""
    return replace(outputs, auxiliary=tuple(replace(layer, masks=outputs.masks) for layer in outputs.auxiliary))


@invariant(
    "masks.empty-batch",
    number="C10",
    formula="n_b = 0 for all b ⇒ loss_mask = loss_dice = 0 exactly",
    source="norm §4: num_boxes is at least 1, and the sums are empty",
    breaks="a mean over no pairs; an exception for masks [0, H, W]; a reshape that cannot infer a length",
    cases=CASES,
)
def empty_batch(component: Build, case: SetCase) -> None:
    """A batch without targets has mask losses of exactly 0.

    One NaN loss is a lost run, because the optimiser writes it into every weight.
    """
    answer = judged(component, case.configuration, case.outputs, _without_objects(case.targets))
    terms = answer.terms(MASK_TERMS)
    premise(bool(terms), "the criterion returned no mask loss")
    for term in terms.values():
        require(term.value == 0, f"{term.key} is not 0", expected=0.0, got=term.value)


@invariant(
    "masks.losses-with-gradient",
    number="C17",
    formula="loss_mask and loss_dice require a gradient, with and without targets",
    source="norm §4: without targets the losses are 0 with a graph and zero gradients",
    breaks="a fresh zero for an empty batch, outside the graph; `.item()` or `detach` on the way",
    cases=CASES,
)
def losses_with_gradient(component: Build, case: SetCase) -> None:
    """Both mask losses carry a gradient, even in a batch without any target.

    Data-parallel training waits for the gradient of the mask head, and stops for ever where it does not come.
    """
    for batch, targets in (("the batch", case.targets), ("the batch without targets", _without_objects(case.targets))):
        answer = component(case.configuration)(case.outputs, targets)
        if not answer.observation.differentiable:
            raise NotProvided("gradients cannot be seen")
        for key in (_key(case, name) for name in MASK_TERMS):
            attached = key in answer.observation.attached or key not in answer.value.values
            require(attached, f"{key} of {batch} carries no gradient", expected=True, got=False)


@invariant(
    "masks.zero-dimensional",
    number="C17",
    formula="shape(loss_mask) = shape(loss_dice) = []",
    source="norm §4: each is one number for the batch",
    breaks="a loss per pair or per image; shape [1], which broadcasts and then logs as a list",
    cases=CASES,
)
def zero_dimensional(component: Build, case: SetCase) -> None:
    """Both mask losses are 0-dimensional.

    A training step sums them with the others and calls backward on the sum, which takes a single number.
    """
    shapes = component(case.configuration)(case.outputs, case.targets).observation.shapes
    if not shapes:
        raise NotProvided("the shapes of the losses cannot be seen")
    for key in (_key(case, name) for name in MASK_TERMS):
        shape = tuple(shapes.get(key, ()))
        require(shape == (), f"{key} has shape {list(shape)}", expected=[], got=list(shape))


@invariant(
    "masks.inputs-unchanged",
    number="C17",
    formula="outputs and targets after the call = before",
    source="norm §4; the same outputs and targets go to post-processing and to the log",
    breaks="masks padded or converted to numbers inside the targets; masks upsampled inside the outputs",
    cases=CASES,
)
def inputs_unchanged(component: Build, case: SetCase) -> None:
    """The call leaves outputs and targets, masks included, as they are.

    Masks that are padded in place keep the size of a batch that is gone.
    """
    require_unchanged(component(case.configuration)(case.outputs, case.targets))


@invariant(
    "masks.weights",
    number="C16",
    formula="λ_mask and λ_dice are the weights of loss_mask and loss_dice: doubling one doubles its weight alone",
    source="norm §4: weights are the coefficients of the configuration; for masks 1 and 1",
    breaks="no weight for a mask loss, which is then not trained; one coefficient for both; a weight that is fixed",
    cases=mask_cases(regimes=ORDINARY_REGIMES, targets=(1, 5)),
    cost=2,
    applies=weighs_outside,
)
def weights(component: Build, case: SetCase) -> None:
    """Both mask losses have a weight, and doubling the coefficient of one doubles its weight and no other.

    A term without a weight is silently left out of the training loss.
    """
    doubled = MASK_TERMS[int(case.generator("coefficient").integers(len(MASK_TERMS)))]
    field = TERM_WEIGHTS[doubled]
    changed = vary(case.configuration, **{field: 2.0 * getattr(case.configuration, field)})
    shown = [component(item)(case.outputs, case.targets).value.weights for item in (case.configuration, changed)]
    if shown[0] is None or shown[1] is None:
        raise NotProvided("the criterion does not show its loss weights")
    for name in MASK_TERMS:
        key = _key(case, name)
        require(key in shown[0] and key in shown[1], f"{key} has no weight", expected=key, got=sorted(shown[0]))
        require_coefficient(key, shown[0][key], case.configuration, TERM_WEIGHTS[name])
        expected = shown[0][key] * (2.0 if name == doubled else 1.0)
        margin = 2.0 * SPACING[case.configuration.dtype] * abs(expected)
        require_close(f"the weight of {key}, when {field} doubles,", shown[1][key], expected, margin)
