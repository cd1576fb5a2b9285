"""Invariants of the losses of auxiliary decoder layers. norm §4, A1–A5; Carion et al. 2020, section 3.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import (
    DISTINCT_ORDINARY_REGIMES,
    ORDINARY_REGIMES,
    Build,
    Judged,
    judged,
    lies_within,
    premise_same_matchings,
    require_all_same_terms,
    require_key,
    require_optimal_layers,
    require_same_terms,
    shown_matchings,
)
from detr_spec.invariants.criterion_values import reports_class_error, require_keys
from detr_spec.invariants.shared import by_layer, same_pairs, unique_matchings, unique_optima
from detr_spec.losses import set_losses
from detr_spec.matching.assignment import second_best
from detr_spec.matching.costs import image_costs
from detr_spec.profile import Profile
from detr_spec.reported import decoder_keys, reported_losses, without_extra
from detr_spec.strategies import close_calls, set_cases, with_edges
from detr_spec.values import Matching
from detr_spec.violation import Violation, premise, require


def _alone(configuration: Configuration) -> Configuration:
    """The configuration of a decoder that has one layer."""
    return replace(configuration, decoder_layers=1)


def reports_each_layer(profile: Profile) -> bool:
    """Whether each auxiliary layer has losses of its own."""
    return not profile.keys.shares_layers


def judges_each_layer(profile: Profile) -> bool:
    """Whether each auxiliary layer has losses of its own, which depend on that layer alone."""
    return reports_each_layer(profile) and by_layer(profile)


def reports_last_layer(profile: Profile) -> bool:
    """Whether the last layer has losses of its own, which depend on that layer alone."""
    return profile.keys.auxiliary_loss != "{loss}" and by_layer(profile)


def _class_error_keys(configuration: Configuration) -> set[str]:
    """What class errors of auxiliary layers would be called."""
    keys = configuration.profile.keys
    layers = range(configuration.decoder_layers)
    return {keys.auxiliary_loss.format(loss=keys.class_error, layer=layer) for layer in layers}


@invariant(
    "auxiliary.keys",
    number="A1",
    formula=(
        "L layers ⇒ for i = 0 … L−2: loss_ce_i, loss_bbox_i, loss_giou_i, cardinality_error_i, and none for another i"
    ),
    source="norm §4: each auxiliary layer gets every loss under its suffix",
    breaks=(
        "auxiliary losses silently off (transformers PR 20959); one layer too few; the last layer once more "
        "as an auxiliary one"
    ),
    cases=with_edges(set_cases(layers=(2, 4))),
)
def keys(component: Build, case: SetCase) -> None:
    """L decoder layers give the losses and the cardinality error of L − 1 auxiliary layers, by declared keys.

    A layer that is left out is not supervised, and nothing but its missing key says so.
    """
    whole = component(case.configuration)(case.outputs, case.targets).value
    last = component(_alone(case.configuration))(case.outputs.main, case.targets).value
    expected = decoder_keys(case.configuration) - decoder_keys(_alone(case.configuration))
    added = without_extra(case.configuration, set(whole.values) - set(last.values))
    require_keys(added - _class_error_keys(case.configuration), expected)


@invariant(
    "auxiliary.layer-alone",
    number="A1",
    formula="loss_i of (layer 0, …, layer L−1) = loss of (layer i) for every loss and the cardinality error",
    source="norm §4: each auxiliary layer is matched on its own and divided by the same num_boxes",
    breaks=(
        "layers summed or averaged; suffixes off by one; the last layer's indices used for all; another normaliser"
    ),
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(2, 3), targets=(1, 5)),
    applies=judges_each_layer,
)
def layer_alone(component: Build, case: SetCase) -> None:
    """The losses of an auxiliary layer are what the criterion gives for that layer's outputs alone.

    Each layer is supervised as if it were the last, with a matching of its own.
    """
    whole = judged(component, case.configuration, case.outputs, case.targets)
    alone = [judged(component, _alone(case.configuration), outputs, case.targets) for outputs in case.outputs.auxiliary]
    for layer, answer in enumerate(alone):
        premise_same_matchings(whole.matchings[layer], answer.last)
        for name in case.configuration.layered:
            whole.term(name, layer)  # raises where the layer lacks the term
    require_all_same_terms(
        (whole.terms(layer=layer), answer.terms(), "against the layer alone") for layer, answer in enumerate(alone)
    )


@invariant(
    "auxiliary.own-matching",
    number="A2",
    formula="loss_i is taken under argmin over assignments of the cost of layer i, for each layer i",
    source="norm §4; Carion et al. 2020, section 3.2: predictions of each decoder layer are matched",
    breaks="the last layer's matching used for all; the first layer's kept; an optimum of the layers' summed costs",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(2, 3), queries=(2, 6), targets=(1, 5)),
    applies=judges_each_layer,
)
def own_matching(component: Build, case: SetCase) -> None:
    """Layers whose optimal matchings differ are each judged under their own.

    Early layers assign queries differently; supervised by a later layer's matching they are pulled away from
    what they found.
    """
    configuration, targets = case.configuration, case.targets
    losses = component(configuration)(case.outputs, targets).value
    matchings = shown_matchings(losses, case.outputs, targets, configuration)
    if matchings is None:
        matchings = tuple(unique_matchings(layer, targets, configuration) for layer in case.outputs.layers)
    else:
        require_optimal_layers(matchings, configuration, case.outputs, targets)
    conflict = any(not _same(first, matchings[-1]) for first in matchings[:-1])
    premise(conflict, "all layers have the same matching")
    others = [(f"of decoder layer {layer}", own) for layer, own in enumerate(matchings)]
    _require_own(Judged(configuration, case.outputs, targets, losses, matchings), [others] * len(matchings))


def _same(first: tuple[Matching, ...], second: tuple[Matching, ...]) -> bool:
    return all(map(same_pairs, first, second))


Others = Sequence[tuple[str, Sequence[Matching]]]
"""Matchings of a layer's images that are not its own, each with its name."""


def _require_own(answer: Judged, others: Sequence[Others]) -> None:
    """Raises `Violation` if a loss of some layer is that of one of its other matchings, and not that of its own."""
    layers = zip((*range(len(answer.outputs.auxiliary)), None), answer.outputs.layers, others, strict=True)
    for layer, outputs, matchings_of in layers:
        terms = answer.terms(answer.configuration.layered, layer)
        wrong = {name: term for name, term in terms.items() if not term.is_right}
        for whose, matchings in matchings_of if wrong else ():
            definitions = set_losses(answer.configuration, outputs, answer.targets, matchings)
            for name, term in wrong.items():
                if lies_within(term.value, definitions[name]):
                    raise Violation(
                        f"{term.key} is the loss under the matching {whose}",
                        expected=float(term.definition.value),
                        got=term.value,
                        allowance=float(term.definition.upper - term.definition.lower),
                    )


@invariant(
    "auxiliary.close-call",
    number="A2",
    formula="C_1 < C_2 by more than rounding ⇒ query 1 is matched, in each decoder layer, though C_2 − C_1 is small",
    source="norm §3 and §4; Carion et al. 2020, equation 1 and section 3.2",
    breaks=(
        "auxiliary layers matched by rounded or older costs, or greedily, within a percent of the optimum; a term of "
        "the cost in a narrower dtype, inside the criterion alone"
    ),
    cases=close_calls(layers=(1, 3)),
    applies=judges_each_layer,
    rarity=3,
)
def close_call(component: Build, case: SetCase) -> None:
    """In each decoder layer, of two queries that cost almost the same for a target, the cheaper is trained towards it.

    Queries of early layers are near each other. Judged by the matchings that the criterion shows, or else by its
    losses, which then must not be those under the matching that costs a little more.
    """
    configuration, outputs, targets = case.configuration, case.outputs, case.targets
    losses = component(configuration)(outputs, targets).value
    shown = shown_matchings(losses, outputs, targets, configuration)
    if shown is not None:
        require_optimal_layers(shown, configuration, outputs, targets)
        return
    costs = [image_costs(layer, targets, configuration) for layer in outputs.layers]
    matchings = tuple(unique_optima(of_layer, configuration) for of_layer in costs)
    dearer = [
        [
            ("that costs a little more", chosen)
            for chosen in product(*((best, second_best(cost.value)) for best, cost in zip(own, of_layer, strict=True)))
        ]
        for own, of_layer in zip(matchings, costs, strict=True)
    ]
    _require_own(Judged(configuration, outputs, targets, losses, matchings), dearer)


@invariant(
    "auxiliary.last-layer-independent",
    number="A3",
    formula="loss of (layer 0, …, layer L−1) = loss of (layer L−1) for every loss and metric without suffix",
    source="norm §4: auxiliary losses are added under keys of their own",
    breaks="auxiliary losses added into the last layer's; the last layer matched on an auxiliary layer's outputs",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(2, 3), targets=(1, 5)),
    applies=reports_last_layer,
)
def last_layer_independent(component: Build, case: SetCase) -> None:
    """The last layer's losses and metrics do not depend on whether there are auxiliary layers.

    They are what is compared between runs, with auxiliary losses and without.
    """
    whole = judged(component, case.configuration, case.outputs, case.targets)
    alone = judged(component, _alone(case.configuration), case.outputs.main, case.targets)
    premise_same_matchings(whole.last, alone.last)
    require_same_terms(whole.terms(), alone.terms(), "with auxiliary layers")


@invariant(
    "auxiliary.layer-order",
    number="A4",
    formula="layers 0 … L−2 permuted by π ⇒ the new loss_i = the old loss_π(i)",
    source="norm §4: the suffix is the number of the layer, and layers do not interact",
    breaks="a state carried from layer to layer; suffixes in reverse; a weight that depends on the depth",
    cases=with_edges(set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(3, 4), targets=(1, 5))),
    applies=reports_each_layer,
)
def layer_order(component: Build, case: SetCase) -> None:
    """Permuting the auxiliary layers permutes their losses, and leaves the last layer's unchanged.

    A suffix that names another layer makes every plot of losses by depth wrong.
    """
    auxiliary = case.outputs.auxiliary
    premise(len(auxiliary) > 1, "there is one auxiliary layer only")
    order = case.permutation(len(auxiliary), "layers")
    permuted = replace(case.outputs, auxiliary=tuple(auxiliary[layer] for layer in order))
    before = judged(component, case.configuration, case.outputs, case.targets)
    after = judged(component, case.configuration, permuted, case.targets)
    places: tuple[tuple[int | None, int | None], ...] = (*enumerate(map(int, order)), (None, None))
    for new, old in places:
        premise_same_matchings(before.matching(old), after.matching(new))
    when = "when auxiliary layers are permuted"
    require_all_same_terms((after.terms(layer=new), before.terms(layer=old), when) for new, old in places)


@invariant(
    "auxiliary.no-class-error",
    number="A5",
    formula="there is no class_error_i",
    source="norm §4: the class error is reported for the last layer only",
    breaks="all metrics computed for all layers",
    cases=set_cases(regimes=ORDINARY_REGIMES, layers=(2, 4)),
    applies=lambda profile: reports_class_error(profile) and reports_last_layer(profile),
)
def no_class_error(component: Build, case: SetCase) -> None:
    """The class error is reported for the last layer only.

    Loggers that average what begins with `class_error` would mix layers.
    """
    answer = component(case.configuration)(case.outputs, case.targets).value
    found = sorted(_class_error_keys(case.configuration) & set(answer.values))
    require(not found, f"auxiliary layers report {', '.join(found)}", expected=[], got=found)


@invariant(
    "auxiliary.sums",
    number="A8",
    formula="a loss of several terms or layers = Σ w · loss(term, layer), or the mean over the layers, as declared",
    source="norm §4: what a loss is the sum of is the profile's to say",
    breaks="a layer left out of the sum, or twice in it; a mean over another number of layers; a weight left out",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
    applies=lambda profile: profile.keys.shares_layers or profile.keys.total is not None,
    rarity=2,
)
def sums(component: Build, case: SetCase) -> None:
    """A loss of several terms or layers is the declared sum of them, each layer under its own matching.

    The parts of a sum cannot be told apart, so nothing reports a layer that is missing from it and is not trained.
    """
    configuration, outputs, targets = case.configuration, case.outputs, case.targets
    answer = judged(component, configuration, outputs, targets)
    if answer.losses.matchings is not None:
        require_optimal_layers(answer.matchings, configuration, outputs, targets)
    keys = [key for key, reported in reported_losses(configuration).items() if len(reported.of("decoder").parts) > 1]
    premise(bool(keys), "no loss is a sum")
    for key in keys:
        require_key(answer.losses, key)
        answer.of_key(key).require_definition()
