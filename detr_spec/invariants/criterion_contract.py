"""Invariants of the criterion as a function that is called: weights, gradients, effects. norm §4, C16–C17."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import TERM_WEIGHTS, Configuration
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    ORDINARY_REGIMES,
    Build,
    judged,
    require_same_layers,
    require_same_losses,
)
from detr_spec.invariants.shared import require_unchanged, vary, without_objects
from detr_spec.losses import METRICS
from detr_spec.parameters import parameter
from detr_spec.places import APART
from detr_spec.profile import Profile
from detr_spec.reported import absent_keys, keys_with
from detr_spec.strategies import apart_cases, mask_cases, set_cases
from detr_spec.tolerance import SPACING
from detr_spec.values import Answer, Losses, Outputs, Targets
from detr_spec.violation import NotProvided, premise, require, require_close, require_equal

CALLED_CASES = apart_cases(*APART, declared=True, layers=(1, 2))
MASK_CASES = mask_cases(layers=(1, 2))
LAYERED_CASES = set_cases(regimes=ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5))


def weighs_outside(profile: Profile) -> bool:
    """Whether losses are returned unweighted, and weighted in the training step."""
    return not profile.losses.weighted


def weighs_masks_outside(profile: Profile) -> bool:
    """Whether losses of masks that are judged are among these."""
    return weighs_outside(profile) and (profile.judges("mask") or profile.judges("dice"))


def _weights(component: Build, configuration: Configuration, case: SetCase) -> Mapping[str, float]:
    """The weight table; raises `NotProvided` where the criterion shows none."""
    weights = component(configuration)(case.outputs, case.targets).value.weights
    if weights is None:
        raise NotProvided("the criterion does not show its loss weights")
    return weights


def _one_coefficient(case: SetCase) -> str:
    """A training term whose weight the implementation can vary, or any where it can vary none."""
    terms = [name for name in case.configuration.trained if name in TERM_WEIGHTS]
    names = [name for name in terms if TERM_WEIGHTS[name] not in case.configuration.fixed] or terms
    return names[int(case.generator("coefficient").integers(len(names)))]


def _doubled(case: SetCase, name: str) -> Configuration:
    field = TERM_WEIGHTS[name]
    premise(getattr(case.configuration, field) > 0, f"{field} is 0")
    return vary(case.configuration, **{field: 2.0 * getattr(case.configuration, field)})


def require_coefficient(key: str, got: float, configuration: Configuration, name: str) -> None:
    """Raises `Violation` unless the weight of a loss is that of its term, as right implementations may hold it."""
    coefficient = parameter(configuration.term_weights[name], configuration.dtype)
    margin = SPACING[configuration.dtype] * abs(float(coefficient.value))
    least, most = float(coefficient.lower) - margin, float(coefficient.upper) + margin
    expected = float(coefficient.value)
    require(
        least <= got <= most,
        f"the weight of {key} is not {TERM_WEIGHTS.get(name, name)}",
        expected=expected,
        got=got,
        allowance=(least - expected, most - expected),
    )


@invariant(
    "criterion.every-term-weighted",
    number="C16",
    formula=(
        "every loss_ce, loss_bbox and loss_giou of every layer has a weight; class_error and "
        "cardinality_error have none, or 0"
    ),
    source="norm §4: the training loss sums over the keys that losses and weights share",
    breaks="weights for the last layer alone; a weight under an old name; a metric that is trained on",
    cases=LAYERED_CASES,
    applies=weighs_outside,
)
@invariant(
    "masks.every-term-weighted",
    number="C16",
    formula="loss_mask and loss_dice have a weight",
    source="norm §4: weights are the coefficients of the configuration; for masks 1 and 1",
    breaks="no weight for a mask loss, which is then not trained",
    cases=mask_cases(regimes=ORDINARY_REGIMES, targets=(1, 5)),
    cost=2,
    applies=weighs_outside,
)
def every_term_weighted(component: Build, case: SetCase) -> None:
    """Every training term of every layer has a weight, and no metric has one.

    A term without a weight is silently left out of the sum (DAB-DETR issue 75).
    """
    weights = _weights(component, case.configuration, case)
    for name in case.configuration.trained:
        for key in keys_with(case.configuration, name):
            require(key in weights, f"{key} has no weight", expected=key, got=sorted(weights))
    for name in METRICS:
        for key in keys_with(case.configuration, name):
            got = weights.get(key, 0.0)
            require(got == 0, f"the metric {key} has a weight", expected=0.0, got=got)


@invariant(
    "criterion.doubled-weight",
    number="C16",
    formula=(
        "weight(loss_bbox) = weight(loss_bbox_i) = λ_bbox, likewise λ_class and λ_giou; so 2 λ_bbox doubles those, and "
        "no other"
    ),
    source="norm §4: weights are the coefficients of the configuration, the same for each suffix",
    breaks="coefficients hard-coded, swapped, scaled, or used for the last layer only",
    cases=LAYERED_CASES,
    applies=weighs_outside,
)
@invariant(
    "masks.weights",
    number="C16",
    formula="λ_mask and λ_dice are the weights of loss_mask and loss_dice: doubling one doubles its weight alone",
    source="norm §4: weights are the coefficients of the configuration; for masks 1 and 1",
    breaks="one coefficient for both; a weight that is fixed",
    cases=mask_cases(regimes=ORDINARY_REGIMES, targets=(1, 5)),
    cost=2,
    applies=weighs_masks_outside,
)
def doubled_weight(component: Build, case: SetCase) -> None:
    """Weights are the loss coefficients: doubling one doubles the weight of its term in every layer, and nothing else.

    A coefficient that is read but not used makes a search over it a search over noise (transformers' class
    coefficient).
    """
    doubled = _one_coefficient(case)
    changed = _doubled(case, doubled)
    before, after = _weights(component, case.configuration, case), _weights(component, changed, case)
    for name in case.configuration.trained:
        key = keys_with(case.configuration, name)[0]
        if key in before:
            require_coefficient(key, before[key], case.configuration, name)
    for name in case.configuration.trained:
        factor = 2.0 if name == doubled else 1.0
        for key in keys_with(case.configuration, name):
            if key in before and key in after:
                expected = factor * before[key]
                margin = 2.0 * SPACING[case.configuration.dtype] * abs(expected)
                what = f"the weight of {key}, when {TERM_WEIGHTS[doubled]} doubles,"
                require_close(what, after[key], expected, margin)


@invariant(
    "criterion.auxiliary-weights",
    number="C16",
    formula="weight(loss_i) = weight(loss) for every training term and every auxiliary layer i",
    source="norm §4: the weights of the last layer, the same again for each suffix",
    breaks="auxiliary weights left at their defaults; averaged over layers; another term's weight under the suffix",
    cases=set_cases(regimes=ORDINARY_REGIMES, layers=(2, 3), targets=(1, 5)),
    applies=weighs_outside,
)
def auxiliary_weights(component: Build, case: SetCase) -> None:
    """The weights of an auxiliary layer are those of the last layer.

    Each layer is trained as if it were the last; that is what makes earlier layers useful to later ones.
    """
    weights = _weights(component, case.configuration, case)
    for name in case.configuration.trained:
        base, *others = keys_with(case.configuration, name)
        for key in others:
            if base in weights and key in weights:
                margin = SPACING[case.configuration.dtype] * abs(weights[base])
                require(
                    abs(weights[key] - weights[base]) <= margin,
                    f"the weight of {key} is not that of {base}",
                    expected=weights[base],
                    got=weights[key],
                    allowance=margin,
                )


@invariant(
    "criterion.unweighted-losses",
    number="C16",
    formula="the returned loss_ce, loss_bbox and loss_giou do not depend on λ_class, λ_bbox, λ_giou of the loss",
    source="norm §4 and §6: losses are returned unweighted, and weighted in the training step",
    breaks="weights applied inside and again outside; loss weights used in place of cost weights in the matching",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=weighs_outside,
)
def unweighted_losses(component: Build, case: SetCase) -> None:
    """Doubling a loss coefficient changes none of the returned losses and metrics.

    Losses that are weighted already are weighted twice by every training loop that expects DETR's.
    """
    changed = _doubled(case, _one_coefficient(case))
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, changed, case.outputs, case.targets)
    require_same_layers(after, before, "when a loss weight doubles")


@invariant(
    "criterion.zero-dimensional",
    number="C17",
    formula="shape(loss) = [] for every loss and metric",
    source="norm §4: each is one number for the batch",
    breaks="a loss per image or per query; shape [1], which broadcasts and then logs as a list",
    cases=CALLED_CASES,
)
@invariant(
    "masks.zero-dimensional",
    number="C17",
    formula="shape(loss_mask) = shape(loss_dice) = []",
    source="norm §4: each is one number for the batch",
    breaks="a loss per pair or per image; shape [1], which broadcasts and then logs as a list",
    cases=MASK_CASES,
)
def zero_dimensional(component: Build, case: SetCase) -> None:
    """Every loss and metric is 0-dimensional.

    A training step sums them and calls backward on the sum, which takes a single number.
    """
    shapes = component(case.configuration)(case.outputs, case.targets).observation.shapes
    if not shapes:
        raise NotProvided("the shapes of the losses cannot be seen")
    for key, shape in shapes.items():
        require(tuple(shape) == (), f"{key} has shape {list(shape)}", expected=[], got=list(shape))


@invariant(
    "criterion.device",
    number="C17",
    formula="device(loss) = device(pred_logits) for every loss and metric",
    source="norm §4; the training step sums the losses where the model is",
    breaks=(
        "a constant or a count made on the CPU; a metric moved to the CPU, which waits for the device in every step"
    ),
    cases=apart_cases(*APART, declared=True, regimes=("general", "empty"), layers=(1, 2)),
)
def device(component: Build, case: SetCase) -> None:
    """Every loss and metric is on the device of the outputs.

    A loss elsewhere stops the first step on a GPU, or slows every one.
    """
    observation = component(case.configuration)(case.outputs, case.targets).observation
    if not observation.devices:
        raise NotProvided("the devices of the losses cannot be seen")
    for key, place in observation.devices.items():
        require_equal(f"{key} is on another device than the outputs", place, observation.device)


def _answer_with_gradients(component: Build, case: SetCase, outputs: Outputs, targets: Targets) -> Answer[Losses]:
    answer = component(case.configuration)(outputs, targets)
    if not answer.observation.differentiable:
        raise NotProvided("gradients cannot be seen")
    return answer


@invariant(
    "criterion.metrics-without-gradient",
    number="C17",
    formula="class_error and cardinality_error require no gradient, in any layer",
    source="norm §4: no gradient flows from metrics",
    breaks="accuracy computed with the graph kept, so that the running average holds every step's activations",
    cases=CALLED_CASES,
)
def metrics_without_gradient(component: Build, case: SetCase) -> None:
    """Metrics carry no gradient.

    One that does is either trained on by accident or keeps the graph of every logged step in memory.
    """
    attached = _answer_with_gradients(component, case, case.outputs, case.targets).observation.attached
    for name in METRICS:
        for key in keys_with(case.configuration, name):
            require(key not in attached, f"the metric {key} carries a gradient", expected=False, got=True)


@invariant(
    "criterion.losses-with-gradient",
    number="C17",
    formula="loss_ce, loss_bbox and loss_giou of every layer require a gradient, with and without targets",
    source="norm §4: without targets the box losses are 0 with a graph and zero gradients",
    breaks=(
        "a fresh zero for an empty batch, outside the graph; `.item()` or `detach` on the way (ultralytics PR 26012)"
    ),
    cases=CALLED_CASES,
)
@invariant(
    "masks.losses-with-gradient",
    number="C17",
    formula="loss_mask and loss_dice require a gradient, with and without targets",
    source="norm §4: without targets the losses are 0 with a graph and zero gradients",
    breaks="a fresh zero for an empty batch, outside the graph; `.item()` or `detach` on the way",
    cases=MASK_CASES,
)
def losses_with_gradient(component: Build, case: SetCase) -> None:
    """Every training term carries a gradient, even in a batch without any target.

    Data-parallel training waits for the gradient of every parameter, and stops for ever at one that does not
    come.
    """
    batches = {
        "the batch": (case.outputs, case.targets),
        # Denoising queries are made from targets.
        "the batch without targets": (replace(case.outputs, denoising=None), without_objects(case.targets)),
    }
    for batch, (outputs, targets) in batches.items():
        answer = _answer_with_gradients(component, case, outputs, targets)
        absent = absent_keys(case.configuration) if outputs.denoising is None else set()
        for name in case.configuration.trained:
            for key in set(keys_with(case.configuration, name)) - absent:
                attached = key in answer.observation.attached or key not in answer.value.values
                require(attached, f"{key} of {batch} carries no gradient", expected=True, got=False)


@invariant(
    "criterion.inputs-unchanged",
    number="C17",
    formula="outputs and targets after the call = before",
    source="norm §4; the same outputs and targets go to post-processing and to the log",
    breaks="auxiliary outputs popped from the dictionary; boxes converted in place; labels shifted in place",
    cases=CALLED_CASES,
)
@invariant(
    "masks.inputs-unchanged",
    number="C17",
    formula="outputs and targets after the call = before",
    source="norm §4; the same outputs and targets go to post-processing and to the log",
    breaks="masks padded or converted to numbers inside the targets; masks upsampled inside the outputs",
    cases=MASK_CASES,
)
def inputs_unchanged(component: Build, case: SetCase) -> None:
    """The call leaves outputs and targets as they are.

    Targets that are cached between epochs would be converted once more in each.
    """
    require_unchanged(component(case.configuration)(case.outputs, case.targets))


@invariant(
    "criterion.repeatable",
    number="C17",
    formula="L(x, y), L(x′, y′), L(x, y″), L(x, y) from one criterion = the same from new ones",
    source="norm §4: the losses are a function of outputs and targets",
    breaks=(
        "match indices kept from the batch before (PaddleDetection PR 7724); a running num_boxes; a random tie-break"
    ),
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), queries=(2, 6), targets=(1, 5)),
)
def repeatable(component: Build, case: SetCase) -> None:
    """A criterion gives the same losses to the same batch, whatever it was given before.

    One batch is given, another one of the same shape, one with fewer targets, and the first again; each answer is
    that of a new criterion.
    """
    configuration = case.configuration
    others = case.outputs.take(queries=case.permutation(case.outputs.queries, "queries"))
    reversed_targets = tuple(target.take(np.arange(len(target))[::-1]) for target in case.targets)
    fewer_targets = (case.targets[0].take(np.arange(len(case.targets[0]) - 1)), *case.targets[1:])
    first = (case.outputs, case.targets)
    others_then_fewer = {"second": (others, reversed_targets), "third": (case.outputs, fewer_targets)}
    used = component(configuration)
    new = used(*first).value
    for call, batch in others_then_fewer.items():
        got, expected = used(*batch).value, component(configuration)(*batch).value
        require_same_losses(f"in the {call} call of one criterion", configuration, batch, got, expected)
    require_same_losses("in the fourth call of one criterion", configuration, first, used(*first).value, new)
