"""Strategy for set-prediction cases with predictions of the encoder and of denoising queries beside the decoder's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.apart import has_losses, united_apart
from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Domain
from detr_spec.places import APART, DENOISING, Apart
from detr_spec.strategies.promises import Promised, SetPromise, more_queries
from detr_spec.strategies.sets import ALL_REGIMES, set_cases
from detr_spec.values import Outputs, Targets

MOST_GROUPS = 2
MOST_PREDICTIONS = 3
"""The most predictions of an encoder that may have several."""


def apart_cases(
    *names: Apart,
    declared: bool = False,
    beside: bool = False,
    regimes: Sequence[str] = ALL_REGIMES,
    layers: tuple[int, int] = (1, 1),
    images: tuple[int, int] = (1, 3),
    targets: tuple[int, int] = (0, 5),
) -> Promised[SetCase]:
    """Set cases as `set_cases` draws them, with those predictions apart; `declared`: those that have losses, alone.

    `beside`: each of the others that have losses is there in half of the cases. They are drawn like decoder layers.
    The encoder may have fewer queries, unless its pairs are united with the decoder's. Denoising queries are one or two
    groups of twice as many as an image has targets at most; without targets there are none. They have initial
    predictions too where these have losses.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        given = tuple(name for name in names if not declared or has_losses(domain.profile, name))
        others = tuple(name for name in APART if beside and name not in given and has_losses(domain.profile, name))
        return _apart_case(domain, given, others, regimes, layers, images, targets)

    of_sets = SetPromise(layers=layers[0], images=images[0], targets=targets[0])

    def admits(domain: Domain, drawn: SetCase, left: SetCase) -> bool:
        whole = _encoder_fits(left) and _further_queries_fit(left) and _denoising_fits(left)
        return of_sets(domain, drawn, left) and whole

    return Promised(strategy, admits)


def _encoder_fits(case: SetCase) -> bool:
    encoder = case.outputs.encoder
    if encoder is None:
        return True
    united = "encoder" in united_apart(case.configuration.profile)
    if encoder.queries > case.outputs.queries or (united and encoder.queries != case.outputs.queries):
        return False
    return len(encoder.layers) == case.configuration.encoder_predictions


def _further_queries_fit(case: SetCase) -> bool:
    further = case.outputs.one_to_many
    return further is None or len(further.layers) == len(case.outputs.layers)


def _denoising_fits(case: SetCase) -> bool:
    return apart_denoising_fits(case.outputs, case.targets, case.configuration)


def apart_denoising_fits(outputs: Outputs, targets: Targets, configuration: Configuration) -> bool:
    """Whether denoising queries, where there are any, have predictions as cases have them, initial ones likewise."""
    denoising, initial = outputs.denoising, outputs.initial_denoising
    if denoising is None:
        return initial is None
    alike = initial is None or initial.queries == denoising.queries
    return alike and denoising_fits(denoising, targets, configuration)


def denoising_fits(denoising: Outputs, targets: Targets, configuration: Configuration) -> bool:
    """Whether there are as many groups and layers of denoising queries as cases have."""
    most = max(map(len, targets), default=0)
    groups, rest = divmod(denoising.queries, 2 * max(1, most))
    layers = configuration.profile.keys.denoising_layers(configuration.decoder_layers)
    return rest == 0 and 1 <= groups <= MOST_GROUPS and most > 0 and len(denoising.layers) == layers


@st.composite
def _apart_case(
    draw: DrawFn,
    domain: Domain,
    names: tuple[Apart, ...],
    others: tuple[Apart, ...],
    regimes: Sequence[str],
    layers: tuple[int, int],
    images: tuple[int, int],
    targets: tuple[int, int],
) -> SetCase:
    names += tuple(name for name in others if name != "initial_denoising" and draw(st.booleans()))
    if "denoising" in names and has_losses(domain.profile, "initial_denoising"):
        names = (*dict.fromkeys((*names, "initial_denoising")),)
    count, predictions = draw(st.integers(*layers)), 1
    if domain.profile.keys.has_several_of_encoder and "encoder" in names:
        predictions = int(domain.limits.fixed.get("encoder_predictions", draw(st.integers(1, MOST_PREDICTIONS))))
    denoising_layers = domain.profile.keys.denoising_layers(count)
    spare = {"encoder": predictions, "initial": 1, "one_to_many": count, "denoising": denoising_layers}
    spare["initial_denoising"] = 1
    whole = count + sum(spare[name] for name in names)
    sets = set_cases(regimes=regimes, layers=(whole, whole), images=images, targets=targets)
    case: SetCase = draw(sets(domain))
    drawn = list(case.outputs.layers)
    apart: dict[Apart, Outputs | None] = {
        name: joined_layers([drawn.pop() for _ in range(spare[name])]) for name in names
    }
    encoder, further, denoising = (apart.get(name) for name in ("encoder", "one_to_many", "denoising"))
    if encoder is not None and "encoder" not in united_apart(domain.profile):
        apart["encoder"] = encoder.take(queries=np.arange(draw(st.integers(1, encoder.queries))))
    if further is not None:
        apart["one_to_many"] = more_queries(further, domain.profile.one_to_many_repeats)
    if denoising is not None:
        groups = draw(st.integers(1, MOST_GROUPS))
        apart |= {name: grouped(groups, part, case.targets) for name in DENOISING if (part := apart.get(name))}
    configuration = replace(case.configuration, decoder_layers=count, encoder_predictions=predictions)
    outputs = joined_layers(drawn).with_apart(apart)
    return replace(case, configuration=configuration, outputs=outputs)


def joined_layers(layers: Sequence[Outputs]) -> Outputs:
    """The last of some layers, with those before as auxiliary ones."""
    return replace(layers[-1], auxiliary=tuple(layers[:-1]))


def grouped(groups: int, layers: Outputs, targets: Targets) -> Outputs | None:
    """Predictions of so many groups of denoising queries, from those of a decoder; none without targets."""
    most = max(map(len, targets))
    count = 2 * most * groups
    return layers.take(queries=np.arange(count) % layers.queries) if most else None
