"""Invariants of predictions that stand apart: of the encoder, initial ones, of denoising queries. norm §4, A6, G1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import add

from detr_spec.apart import (
    denoising_groups,
    denoising_matchings,
    has_losses,
    is_open,
    of_denoising,
    of_matched,
    targets_of,
    united_apart,
)
from detr_spec.calls import EVALUATED
from detr_spec.cases import RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Distributed
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    Build,
    Judged,
    asked_terms,
    judged,
    known_matchings,
    premise_same_matchings,
    require_all_same_terms,
    require_key,
    require_same_layers,
    with_weights,
)
from detr_spec.invariants.criterion_values import require_keys
from detr_spec.invariants.distributed import losses_of_ranks
from detr_spec.invariants.shared import require_evaluation, unique_matchings
from detr_spec.losses import METRICS, num_boxes_of_ranks
from detr_spec.places import APART, DENOISING, Apart
from detr_spec.reported import absent_keys, own_losses, without_extra
from detr_spec.strategies import DISTINCT_REGIMES, apart_cases, called_cases, rank_cases, set_cases, with_edges
from detr_spec.tolerance import Interval
from detr_spec.values import Losses, Outputs, Targets
from detr_spec.violation import PremiseFailed, require

NAMES: dict[Apart, str] = {
    "encoder": "encoder outputs",
    "initial": "initial outputs",
    "one_to_many": "outputs of further queries",
    "denoising": "denoising outputs",
    "initial_denoising": "initial outputs of denoising queries",
}
"""What they are called in messages."""


def supervised(case: SetCase, name: Apart, losses: Losses) -> Judged:
    """An answer, to be judged by its predictions that stand apart, with their targets and matchings in each layer.

    Ends the check where there are none, and where an optimum of the encoder's is not unique by a margin.
    """
    outputs = case.outputs.apart[name]
    if outputs is None:
        raise PremiseFailed(f"there are no {NAMES[name]}")
    if name in DENOISING:
        judged_queries = _denoising(case.configuration, outputs, case.targets, name)
        return replace(judged_queries, losses=losses, decoder_queries=_decoder_queries(case, losses))
    configuration, targets = case.configuration, targets_of(name, case.targets, case.configuration)
    united = name in united_apart(configuration.profile)
    matched = configuration if united else of_matched(name, configuration)
    matchings = tuple(unique_matchings(layer, targets, matched) for layer in outputs.layers)
    own = Judged(matched, outputs, targets, losses, matchings, whose=name)
    if united:
        rest = case.outputs.with_apart({name: None})
        known = known_matchings(losses, configuration, rest, case.targets)
        return replace(own, others=Judged(configuration, rest, case.targets, losses, known).united)
    return own


def _decoder_queries(case: SetCase, losses: Losses) -> tuple[int, int] | None:
    """How many queries of the decoder have a target, and how many have none, where terms depend on that."""
    if not any(term.layers == "earlier" for term in case.configuration.terms.values()):
        return None
    matchings = known_matchings(losses, case.configuration, case.outputs, case.targets)
    return Judged(case.configuration, case.outputs, case.targets, losses, matchings).counted_queries


def supervised_denoising(case: SetCase, losses: Losses) -> list[Judged]:
    """As `supervised`, of denoising queries, and of their initial predictions where there are any."""
    there = [name for name in DENOISING if case.outputs.apart[name] is not None]
    return [supervised(case, name, losses) for name in there or DENOISING[:1]]


def _denoising(configuration: Configuration, outputs: Outputs, targets: Targets, whose: Apart = "denoising") -> Judged:
    """What an answer is judged by for denoising queries, whose matchings are the same in each layer."""
    own = of_denoising(configuration, denoising_groups(outputs, targets))
    matchings = (denoising_matchings(outputs, targets),) * len(outputs.layers)
    return Judged(own, outputs, targets, Losses({}), matchings, whose=whose)


def require_definitions(answer: Judged) -> None:
    """Raises `Violation` unless each loss of the answer's predictions alone is there, as it is defined.

    A metric whose value is open is not looked at.
    """
    every = (*answer.configuration.apart, *METRICS)
    terms = [name for name in every if not is_open(name, answer.whose)]
    for key, reported in own_losses(answer.configuration, answer.whose).items():
        if reported.parts[0][0] in terms:
            require_key(answer.losses, key)
            answer.of_key(key).require_definition()


def require_total(case: SetCase, answer: Judged) -> None:
    """Raises `Violation` unless the total, if its terms are all judged, is that of the decoder and of all apart."""
    total, losses = case.configuration.profile.keys.total, answer.losses
    if total is not None and not case.configuration.not_judged:
        matchings = known_matchings(losses, case.configuration, case.outputs, case.targets)
        decoder = Judged(case.configuration, case.outputs, case.targets, losses, matchings)
        require_key(losses, total)
        others = [name for name in APART if name != answer.whose and case.outputs.apart[name] is not None]
        given = [decoder, answer, *(supervised(case, name, losses) for name in others)]
        sums = [one.of_key(total).definition for one in given]
        replace(decoder.of_key(total), evaluate=lambda: reduce(add, sums)).require_definition()


def require_apart(component: Build, case: SetCase, name: Apart) -> None:
    """Raises `Violation` unless the decoder's losses are those without these predictions, and others as declared."""
    configuration, targets = case.configuration, case.targets
    names = DENOISING if name == "denoising" else (name,)
    before = judged(component, configuration, case.outputs.with_apart(dict.fromkeys(names)), targets)
    after = judged(component, configuration, case.outputs, targets)
    added = without_extra(configuration, set(after.losses.values) - set(before.losses.values))
    declared = {key for whose in names for key in own_losses(configuration, whose)}
    foreign = sorted(added - declared)
    require(not foreign, f"{NAMES[name]} add {', '.join(foreign)}", expected=sorted(declared), got=sorted(added))
    when = f"with {NAMES[name]}"
    if name not in united_apart(configuration.profile):
        require_same_layers(after, before, when)
        return
    own = [term for term in asked_terms(configuration) if term not in configuration.of_pairs]
    for layer in before.layers:
        premise_same_matchings(before.matching(layer), after.matching(layer))
    require_all_same_terms((after.terms(own, layer), before.terms(own, layer), when) for layer in before.layers)


@invariant(
    "auxiliary.encoder-outputs-apart",
    number="A6",
    formula="losses of (decoder layers, encoder) = losses of (decoder layers), and loss_enc only where declared",
    source="norm §7, A6; Zhu et al. 2021, section 4.2: the encoder of two-stage models predicts proposals of its own",
    breaks="encoder outputs among the decoder's in the matching (transformers PR 27990); losses added to the main ones",
    cases=apart_cases("encoder", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
)
def encoder_outputs_apart(component: Build, case: SetCase) -> None:
    """Predictions of the encoder change no loss of the decoder's, and have losses of their own only as declared.

    They are proposals of another part of the network; matched with the objects, they would take them away from the
    queries.
    """
    require_apart(component, case, "encoder")


@invariant(
    "auxiliary.initial-outputs-apart",
    number="A6",
    formula="losses of (decoder layers, initial) = losses of (decoder layers), and loss_pre only where declared",
    source="norm §7, A6; Peng et al. 2024, D-FINE, section 4.1: a head of its own predicts the first boxes",
    breaks="initial predictions as an auxiliary layer, whose losses are then called as those of another one",
    cases=apart_cases("initial", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
)
def initial_outputs_apart(component: Build, case: SetCase) -> None:
    """Initial predictions change no loss of the decoder's, and have losses of their own only as declared.

    They are what its first layer refines, not what it finds.
    """
    require_apart(component, case, "initial")


@invariant(
    "auxiliary.denoising-outputs-apart",
    number="A6",
    formula="losses of (decoder layers, denoising) = losses of (decoder layers), and their own only where declared",
    source="norm §7, A6; Li et al. 2022, DN-DETR: denoising queries have targets that they were made from",
    breaks="the main loss computed over the denoising queries too (transformers PR 48528)",
    cases=apart_cases(*DENOISING, beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
)
def denoising_outputs_apart(component: Build, case: SetCase) -> None:
    """Predictions of denoising queries change no loss of the decoder's, and have losses of their own only as declared.

    They are made from the targets, and lie closer to them than anything that was detected.
    """
    require_apart(component, case, "denoising")


@invariant(
    "auxiliary.encoder-losses",
    number="A6",
    formula="loss_enc = the loss of the encoder's predictions under argmin of their own costs, over the same num_boxes",
    source="norm §4; Zhu et al. 2021, section 4.2",
    breaks="the last layer's matching used; classes of the targets where all are 0; forgotten; divided by the queries",
    cases=apart_cases("encoder", beside=True, regimes=DISTINCT_REGIMES, layers=(1, 2)),
    applies=lambda profile: has_losses(profile, "encoder"),
)
def encoder_losses(component: Build, case: SetCase) -> None:
    """Each loss of the encoder's own predictions, and their cardinality error, is there and equals its definition.

    They choose the proposals that the decoder starts from, which no other loss trains.
    """
    answer = supervised(case, "encoder", component(case.configuration)(case.outputs, case.targets).value)
    require_definitions(answer)
    require_total(case, answer)


@invariant(
    "auxiliary.initial-losses",
    number="A6",
    formula="loss_pre = the loss of initial predictions under argmin of their own costs, over the same num_boxes",
    source="norm §4; Peng et al. 2024, D-FINE, section 4.1",
    breaks="the first layer's matching used; its refined boxes in place of the initial ones; forgotten",
    cases=apart_cases("initial", beside=True, regimes=DISTINCT_REGIMES, layers=(1, 2)),
    applies=lambda profile: has_losses(profile, "initial"),
)
def initial_losses(component: Build, case: SetCase) -> None:
    """Each loss of initial predictions, and their cardinality error, is there and equals its definition.

    The decoder's later layers refine these boxes, and nothing else trains them.
    """
    answer = supervised(case, "initial", component(case.configuration)(case.outputs, case.targets).value)
    require_definitions(answer)
    require_total(case, answer)


@invariant(
    "auxiliary.united-pairs",
    number="A6",
    formula="box losses of each decoder layer = their definition under the union of the pairs of all predictions",
    source="norm §3; Peng et al. 2024, D-FINE, section 4.2",
    breaks="a union of decoder layers alone; pairs that are counted once for each layer in the divisor",
    cases=apart_cases("encoder", "initial", declared=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3)),
    applies=lambda profile: bool(united_apart(profile)),
    rarity=2,
)
def united_pairs(component: Build, case: SetCase) -> None:
    """The losses of boxes in each decoder layer are under the union of the pairs of all predictions.

    A box that one part of the network finds is learnt by all of them, and that part may be the encoder.
    """
    answer = judged(component, case.configuration, case.outputs, case.targets)
    for layer in answer.layers:
        for term in answer.terms(case.configuration.of_pairs, layer).values():
            term.require_definition()


@invariant(
    "auxiliary.denoising-losses",
    number="A6",
    formula="loss_dn = Σ over groups of the loss with query j ↔ target j, over G · num_boxes; the rest is no object",
    source="norm §4; Zhang et al. 2022, DINO, section 3.3",
    breaks="denoising queries matched by cost; negatives trained as objects; not divided by the number of groups",
    cases=with_edges(
        apart_cases("denoising", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5))
    ),
    applies=lambda profile: has_losses(profile, "denoising"),
)
def denoising_losses(component: Build, case: SetCase) -> None:
    """Each loss of the denoising queries is there and equals its definition, each query with its own target.

    Matched anew, a query would be trained towards whatever object its noise has brought it to.
    """
    answers = supervised_denoising(case, component(case.configuration)(case.outputs, case.targets).value)
    for answer in answers:
        require_definitions(answer)
    require_total(case, answers[0])


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
    own = {key for whose in DENOISING for key in own_losses(configuration, whose)}
    absent = absent_keys(configuration)
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
        apart_cases("denoising", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
        EVALUATED,
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
        for answer in supervised_denoising(case, losses):
            require_definitions(answer)


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
        if not denoising:
            _require_absent(losses, case.configuration)
        for of_rank in denoising:
            require_definitions(replace(of_rank, losses=losses))


def denoising_of_ranks(case: RankCase) -> list[list[Judged]]:
    """What the denoising losses of each rank are judged by, before an answer; of initial predictions too.

    It is nothing where a rank has no such queries.
    """
    found: list[list[Judged]] = [[] for _ in case.batches]
    divisors = _divisors(case)
    for name in DENOISING:
        given = [
            (rank, own, targets)
            for rank, (outputs, targets) in enumerate(case.batches)
            if (own := outputs.apart[name]) is not None
        ]
        of_ranks = [
            replace(_denoising(case.configuration, own, targets, name), normaliser=divisors[rank])
            for rank, own, targets in given
        ]
        for (rank, *_), of_rank in zip(given, with_weights(of_ranks), strict=True):
            found[rank].append(of_rank)
    return found


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
