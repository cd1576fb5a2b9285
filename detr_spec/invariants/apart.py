"""Invariants of predictions that stand apart: the encoder's own, and those of denoising queries. norm §4, A6 and G1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from detr_spec.apart import denoising_groups, denoising_matchings, encoder_targets, has_losses, of_denoising
from detr_spec.calls import EVALUATED
from detr_spec.cases import RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.gradients import layer_objective
from detr_spec.implementation import Distributed
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    Build,
    Judged,
    judged,
    known_matchings,
    layered_terms,
    require_key,
    require_same_layers,
)
from detr_spec.invariants.criterion_values import require_keys
from detr_spec.invariants.distributed import losses_of_ranks
from detr_spec.invariants.gradient_answers import Build as BuildGradients
from detr_spec.invariants.gradient_answers import (
    JudgedLayer,
    require_count,
    require_layers,
    require_shapes,
    require_zero,
)
from detr_spec.invariants.shared import layer_names, require_evaluation, unique_matchings
from detr_spec.losses import num_boxes_of_ranks
from detr_spec.places import Apart, places_of
from detr_spec.reported import absent_keys, own_losses, weight_table, without_extra
from detr_spec.strategies import DISTINCT_REGIMES, apart_cases, called_cases, rank_cases, set_cases
from detr_spec.tolerance import Interval
from detr_spec.values import LayerGradient, Losses, Outputs, Targets
from detr_spec.violation import NotProvided, PremiseFailed, premise, require

NAMES: dict[Apart, str] = {"encoder": "encoder outputs", "denoising": "denoising outputs"}
"""What they are called in messages."""


def supervised(case: SetCase, name: Apart, losses: Losses) -> Judged:
    """An answer, to be judged by its predictions that stand apart, with their targets and matchings in each layer.

    Ends the check where there are none, and where an optimum of the encoder's is not unique by a margin.
    """
    outputs: Outputs | None = getattr(case.outputs, name)
    if outputs is None:
        raise PremiseFailed(f"there are no {NAMES[name]}")
    if name == "denoising":
        return replace(_denoising(case.configuration, outputs, case.targets), losses=losses)
    configuration, targets = case.configuration, encoder_targets(case.targets, case.configuration)
    profile = replace(configuration.profile, matching=replace(configuration.profile.matching, box_pairs="layer"))
    matchings = tuple(unique_matchings(layer, targets, configuration) for layer in outputs.layers)
    return Judged(replace(configuration, profile=profile), outputs, targets, losses, matchings, whose=name)


def _denoising(configuration: Configuration, outputs: Outputs, targets: Targets) -> Judged:
    """What an answer is judged by for denoising queries, whose matchings are the same in each layer."""
    own = of_denoising(configuration, denoising_groups(outputs, targets))
    matchings = (denoising_matchings(outputs, targets),) * len(outputs.layers)
    return Judged(own, outputs, targets, Losses({}), matchings, whose="denoising")


def _require_definitions(answer: Judged) -> None:
    """Raises `Violation` unless each loss of the answer's predictions alone is there, as it is defined.

    The cardinality error of denoising queries is not checked.
    """
    looked_at = layered_terms(answer.configuration)
    terms = [name for name in looked_at if (answer.whose, name) != ("denoising", "cardinality")]
    for key, reported in own_losses(answer.configuration, answer.whose).items():
        if reported.parts[0][0] in terms:
            require_key(answer.losses, key)
            answer.of_key(key).require_definition()


def _require_total(case: SetCase, answer: Judged) -> None:
    """Raises `Violation` unless the total, if it is reported, is that of the decoder and the answer's predictions."""
    total, losses = case.configuration.profile.keys.total, answer.losses
    if total is not None:
        matchings = known_matchings(losses, case.configuration, case.outputs, case.targets)
        decoder = Judged(case.configuration, case.outputs, case.targets, losses, matchings)
        require_key(losses, total)
        sum_of_both = decoder.of_key(total).definition + answer.of_key(total).definition
        replace(decoder.of_key(total), evaluate=lambda: sum_of_both).require_definition()


def _require_apart(component: Build, case: SetCase, name: Apart) -> None:
    """Raises `Violation` unless the decoder's losses are those without these predictions, and others as declared."""
    configuration, targets = case.configuration, case.targets
    decoder = replace(case.outputs, encoder=None, denoising=None)
    before = judged(component, configuration, decoder, targets)
    after = judged(component, configuration, case.outputs, targets)
    added = without_extra(configuration, set(after.losses.values) - set(before.losses.values))
    declared = set(own_losses(configuration, name))
    foreign = sorted(added - declared)
    require(not foreign, f"{NAMES[name]} add {', '.join(foreign)}", expected=sorted(declared), got=sorted(added))
    require_same_layers(after, before, f"with {NAMES[name]}")


@invariant(
    "auxiliary.encoder-outputs-apart",
    number="A6",
    formula="losses of (decoder layers, encoder) = losses of (decoder layers), and loss_enc only where declared",
    source="norm §7, A6; Zhu et al. 2021, section 4.2: the encoder of two-stage models predicts proposals of its own",
    breaks="encoder outputs among the decoder's in the matching (transformers PR 27990); losses added to the main ones",
    cases=apart_cases("encoder", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
)
def encoder_outputs_apart(component: Build, case: SetCase) -> None:
    """Predictions of the encoder change no loss of the decoder's, and have losses of their own only as declared.

    They are proposals of another part of the network; matched with the objects, they would take them away from the
    queries.
    """
    _require_apart(component, case, "encoder")


@invariant(
    "auxiliary.denoising-outputs-apart",
    number="A6",
    formula="losses of (decoder layers, denoising) = losses of (decoder layers), and their own only where declared",
    source="norm §7, A6; Li et al. 2022, DN-DETR: denoising queries have targets that they were made from",
    breaks="the main loss computed over the denoising queries too (transformers PR 48528)",
    cases=apart_cases("denoising", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
)
def denoising_outputs_apart(component: Build, case: SetCase) -> None:
    """Predictions of denoising queries change no loss of the decoder's, and have losses of their own only as declared.

    They are made from the targets, and lie closer to them than anything that was detected.
    """
    _require_apart(component, case, "denoising")


@invariant(
    "auxiliary.encoder-losses",
    number="A6",
    formula="loss_enc = the loss of the encoder's predictions under argmin of their own costs, over the same num_boxes",
    source="norm §4; Zhu et al. 2021, section 4.2",
    breaks="the last layer's matching used; classes of the targets where all are 0; forgotten; divided by the queries",
    cases=apart_cases("encoder", regimes=DISTINCT_REGIMES, layers=(1, 2)),
    applies=lambda profile: has_losses(profile, "encoder"),
)
def encoder_losses(component: Build, case: SetCase) -> None:
    """Each loss of the encoder's own predictions, and their cardinality error, is there and equals its definition.

    They choose the proposals that the decoder starts from, which no other loss trains.
    """
    answer = supervised(case, "encoder", component(case.configuration)(case.outputs, case.targets).value)
    _require_definitions(answer)
    _require_total(case, answer)


@invariant(
    "auxiliary.denoising-losses",
    number="A6",
    formula="loss_dn = Σ over groups of the loss with query j ↔ target j, over G · num_boxes; the rest is no object",
    source="norm §4; Zhang et al. 2022, DINO, section 3.3",
    breaks="denoising queries matched by cost; negatives trained as objects; not divided by the number of groups",
    cases=apart_cases("denoising", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
    applies=lambda profile: has_losses(profile, "denoising"),
)
def denoising_losses(component: Build, case: SetCase) -> None:
    """Each loss of the denoising queries is there and equals its definition, each query with its own target.

    Matched anew, a query would be trained towards whatever object its noise has brought it to.
    """
    answer = supervised(case, "denoising", component(case.configuration)(case.outputs, case.targets).value)
    _require_definitions(answer)
    _require_total(case, answer)


@invariant(
    "auxiliary.absent-denoising",
    number="A6",
    formula="no denoising queries ⇒ each loss_dn = 0, or none is there, as declared",
    source="norm §4; Zhang et al. 2022, DINO: without targets there is nothing to denoise",
    breaks="keys that are there on some ranks alone, for which the others wait (RT-DETR 684); a mean over nothing",
    cases=set_cases(layers=(1, 3)),
    applies=lambda profile: has_losses(profile, "denoising"),
)
def absent_denoising(component: Build, case: SetCase) -> None:
    """Where there are no denoising queries, their losses are 0 or are not there, as declared.

    A batch without an object has none, and logging and averages over ranks rely on the keys.
    """
    _require_absent(component(case.configuration)(case.outputs, case.targets).value, case.configuration)


def _require_absent(losses: Losses, configuration: Configuration) -> None:
    own, absent = set(own_losses(configuration, "denoising")), absent_keys(configuration)
    require_keys(own & set(losses.values), absent)
    for key in sorted(absent):
        got = losses.values[key]
        require(got == 0, f"{key} is not 0, without denoising queries", expected=0.0, got=got)


@invariant(
    "auxiliary.denoising-in-evaluation",
    number="A6",
    formula="in evaluation, loss_dn = its definition, or what it is without denoising queries, as declared",
    source="norm §4; Zhang et al. 2022, DINO, whose published code denoises in training alone",
    breaks="denoising losses that depend on the mode where none is declared; those of training kept in evaluation",
    cases=called_cases(
        apart_cases("denoising", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)), EVALUATED
    ),
    applies=lambda profile: has_losses(profile, "denoising"),
)
def denoising_in_evaluation(component: Build, case: SetCase) -> None:
    """In evaluation denoising queries have the losses that they have in training, or none, as declared.

    A validation loss with denoising in it goes down while what is detected does not improve.
    """
    configuration = case.configuration
    require_evaluation(configuration)
    losses = component(configuration)(case.outputs, case.targets).value
    if configuration.profile.denoising.evaluation == "absent":
        _require_absent(losses, configuration)
    else:
        _require_definitions(supervised(case, "denoising", losses))


@invariant(
    "distributed.denoising-losses",
    number="D1",
    formula="loss_dn of rank r is over G_r · num_boxes, that of all ranks; without targets it is 0, or is not there",
    source="norm §4; Zhang et al. 2022, DINO, section 3.3",
    breaks="num_boxes of each rank's own; the groups of another rank; no key on a rank without boxes (RT-DETR 684)",
    cases=rank_cases(denoising=True),
    applies=lambda profile: has_losses(profile, "denoising"),
    cost=2,
)
def denoising_losses_of_ranks(component: Callable[[Configuration], Distributed], case: RankCase) -> None:
    """Each rank divides its denoising losses by what is declared of all ranks, and by its own number of groups.

    Ranks have as many groups as their fullest image leaves room for.
    """
    answers = losses_of_ranks(component, case.configuration, case.batches)
    for losses, denoising in zip(answers, denoising_of_ranks(case), strict=True):
        if denoising is None:
            _require_absent(losses, case.configuration)
        else:
            _require_definitions(replace(denoising, losses=losses))


def denoising_of_ranks(case: RankCase) -> list[Judged | None]:
    """What the denoising losses of each rank are judged by, before an answer; None where it has no such queries."""
    return [
        None
        if outputs.denoising is None
        else replace(_denoising(case.configuration, outputs.denoising, targets), normaliser=normaliser)
        for normaliser, (outputs, targets) in zip(_divisors(case), case.batches, strict=True)
    ]


def _divisors(case: RankCase) -> list[Interval]:
    """What the denoising losses of each rank are divided by, [] each."""
    rule = case.configuration.profile.denoising.denominator
    groups = [
        0 if outputs.denoising is None else denoising_groups(outputs.denoising, targets)
        for outputs, targets in case.batches
    ]
    counts = [sum(map(len, targets)) for _, targets in case.batches]
    counted = [count * own for count, own in zip(counts, groups, strict=True)] if rule == "all-groups" else counts
    divisors = num_boxes_of_ranks(counted, case.configuration)
    factors = groups if rule == "each-group" else [1] * len(groups)
    return [divisor * float(factor) for divisor, factor in zip(divisors, factors, strict=True)]


def _require_slopes(component: BuildGradients, case: SetCase, name: Apart) -> None:
    """Raises `Violation` unless the gradient of the weighted losses apart is their slope, and moves nothing else."""
    configuration = case.configuration
    table = weight_table(configuration, configuration.term_weights, name)
    answer = component(configuration)(case.outputs, case.targets, table).value
    for key in table:
        require_key(answer.losses, key)
    require_layers(answer, case.outputs)
    for layer_name, of_layer in zip(layer_names(case.outputs), answer.layers, strict=True):
        require_zero(f"the losses of {NAMES[name]} move logits of {layer_name}", of_layer.logits)
        require_zero(f"the losses of {NAMES[name]} move boxes of {layer_name}", of_layer.boxes)
    own = supervised(case, name, answer.losses)
    gradients: tuple[LayerGradient, ...] = getattr(answer, name)
    if not gradients:
        raise NotProvided(f"the gradient by {NAMES[name]} cannot be seen")
    require_count(NAMES[name], gradients, own.outputs)
    last, *earlier = places_of(name, len(gradients))
    known = []
    for place, layer, gradient, matchings in zip(
        (*earlier, last), own.outputs.layers, gradients, own.matchings, strict=True
    ):
        require_shapes(NAMES[name], gradient, layer)
        objective = layer_objective(own.configuration, (layer, own.targets, matchings), table, place)
        judged_layer = JudgedLayer(NAMES[name], layer, gradient, objective)
        known += [judged_layer.require_logit_slopes(), judged_layer.require_box_slopes()]
    premise(any(known), "no gradient is known")


@invariant(
    "gradients.encoder-losses",
    number="G1",
    formula="∂(Σ_k w_k loss_k_enc)/∂(z_enc, b̂_enc) = the definition's slope; of every decoder layer 0",
    source="norm §4 and §7; Zhu et al. 2021, section 4.2",
    breaks="losses from a detached copy of the proposals; proposals that are trained through the decoder's boxes",
    cases=apart_cases("encoder", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=lambda profile: has_losses(profile, "encoder"),
)
def encoder_slopes(component: BuildGradients, case: SetCase) -> None:
    """The gradient of the encoder's losses with respect to its own predictions is the definition's slope.

    It is all that teaches the encoder to propose; no decoder layer is moved by it.
    """
    _require_slopes(component, case, "encoder")


@invariant(
    "gradients.denoising-losses",
    number="G1",
    formula="∂(Σ_k w_k loss_k_dn)/∂(z_dn, b̂_dn) = the definition's slope; of every decoder layer 0",
    source="norm §4 and §7; Zhang et al. 2022, DINO, section 3.3",
    breaks="losses from under no_grad; negatives without a gradient; a gradient not divided by the number of groups",
    cases=apart_cases("denoising", regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=lambda profile: has_losses(profile, "denoising"),
)
def denoising_slopes(component: BuildGradients, case: SetCase) -> None:
    """The gradient of the denoising losses with respect to these queries' predictions is the definition's slope.

    There are many more of them than objects, so a wrong factor drowns the other losses.
    """
    _require_slopes(component, case, "denoising")
