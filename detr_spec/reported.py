"""Reported losses: what each entry of a criterion's answer is, as a weighted sum of terms of layers. norm §4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeAlias

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.losses import METRICS
from detr_spec.parameters import product
from detr_spec.places import DENOISING, LAST, ONCE, Place, Whose
from detr_spec.profile import Keys, Profile
from detr_spec.terms import Term
from detr_spec.tolerance import Interval

Part: TypeAlias = tuple[str, Place]
"""A term, by its neutral name, of a place."""


@dataclass(frozen=True)
class Reported:
    """One loss: Σ coefficient · term over some terms, each of some place.

    parts: the neutral names of the terms with their places. divisors: what the parts are divided by where the loss is a
    mean. weighted: whether each part is multiplied by its weight.
    """

    parts: tuple[Part, ...]
    divisors: Mapping[Part, int]
    weighted: bool = False

    def of(self, whose: Whose) -> Reported:
        """Its parts for the predictions of the decoder alone, or for those that stand apart."""
        return replace(self, parts=tuple(part for part in self.parts if part[1].whose == whose))

    def factors(self, configuration: Configuration, part: Part) -> tuple[float, ...]:
        """The numbers whose product is the coefficient of a part."""
        name, place = part
        weight = (configuration.term_weights[name],) if self.weighted else ()
        branch = configuration.one_to_many_weight if place.whose == "one_to_many" else 1.0
        divisor = (1 / self.divisors[part],) if part in self.divisors else ()
        return (*weight, *((branch,) if branch != 1.0 else ()), *divisor)


def reported_losses(configuration: Configuration) -> Mapping[str, Reported]:
    """What a criterion reports, by key, with the losses of predictions that stand apart where these are declared."""
    given = configuration.profile, _counts(configuration), tuple(configuration.terms.items())
    return _reported(*given, whole=not configuration.not_judged)


def loss_key(configuration: Configuration, name: str, place: Place = LAST) -> str | None:
    """The key of the loss that is one term of one place alone; None where it is not reported by itself."""
    losses = reported_losses(configuration).items()
    return next((key for key, reported in losses if reported.parts == ((name, place),)), None)


def own_losses(configuration: Configuration, whose: Whose) -> dict[str, Reported]:
    """What is reported of the decoder's predictions alone, or of those that stand apart, by key."""
    losses = reported_losses(configuration).items()
    return {
        key: reported
        for key, reported in losses
        if reported.parts and all(place.whose == whose for _, place in reported.parts)
    }


def decoder_keys(configuration: Configuration) -> set[str]:
    """The keys of all losses and metrics where there are no predictions but the decoder's.

    Among them are those of denoising queries that are 0 then.
    """
    losses = reported_losses(configuration).items()
    return {key for key, reported in losses if reported.of("decoder").parts} | absent_keys(configuration)


def absent_keys(configuration: Configuration) -> set[str]:
    """The keys of losses and metrics that are 0 where there are no denoising queries."""
    if configuration.profile.denoising.absent != "zeros":
        return set()
    return {key for whose in DENOISING for key in own_losses(configuration, whose)}


def without_extra(configuration: Configuration, keys: Iterable[str]) -> set[str]:
    """The keys without the extra ones that the profile declares, and those of terms that are not judged."""
    extra, not_judged = configuration.profile.losses.extra, _keys_not_judged(configuration)
    return {key for key in keys if not any(fnmatchcase(key, pattern) for pattern in extra)} - not_judged


def _keys_not_judged(configuration: Configuration) -> set[str]:
    """The keys of losses that depend on a term that is not judged."""
    keys, counts, names = configuration.profile.keys, _counts(configuration), configuration.not_judged
    own = {keys.named(getattr(keys, name, name), place, *counts) for name in names for place in keys.places(*counts)}
    return {key for key in (own | {keys.total} if names else own) if key is not None}


def _counts(configuration: Configuration) -> tuple[int, int]:
    """The numbers of the decoder's layers and of the encoder's predictions."""
    return configuration.decoder_layers, configuration.encoder_predictions


def keys_with(configuration: Configuration, name: str) -> list[str]:
    """The keys of the losses of one term or metric, the last layer's first; sums of several terms are left out."""
    losses = reported_losses(configuration).items()
    return [key for key, reported in losses if {part for part, _ in reported.parts} == {name}]


def weighted_sum(
    configuration: Configuration, reported: Reported, terms: Callable[[Place], Mapping[str, Interval]]
) -> Interval:
    """The range of a loss, its parts added in any order; terms: the range of each term of a place, by neutral name."""
    plain = [(terms(part[1])[part[0]], reported.factors(configuration, part)) for part in reported.parts]
    parts = [term * product(factors, term.dtype) for term, factors in plain]
    total: Interval = np.concatenate([part.reshape(1) for part in parts]).sum() if len(parts) > 1 else parts[0]
    return total


def weight_table(
    configuration: Configuration, weights: Mapping[str, float], whose: Whose = "decoder"
) -> dict[str, float]:
    """The weights by the implementation's keys, the same for each layer of the decoder, or of what stands apart.

    Losses that are already weighted have a weight of 1.
    """
    return {
        key: 1.0 if reported.weighted else weights[name]
        for key, reported in reported_losses(configuration).items()
        if (name := _term_of(reported, whose)) in weights
    }


def _term_of(reported: Reported, whose: Whose) -> str:
    """The term that a loss of some predictions is of; none of what sums several terms, or is of other predictions."""
    names = {name for name, _ in reported.parts}
    return names.pop() if len(names) == 1 and reported == reported.of(whose) else ""


@cache
def _reported(
    profile: Profile, counts: tuple[int, int], terms: tuple[tuple[str, Term], ...], *, whole: bool
) -> Mapping[str, Reported]:
    """As `reported_losses`; whole: whether these terms are all, so that their total is known."""
    keys, rules, found = profile.keys, profile.losses, dict[str, list[Part]]()
    places = keys.places(*counts)
    trained = {name: _places_with(term, places, profile) for name, term in terms}
    metrics = dict.fromkeys(METRICS, tuple(place for place in places if _has_metrics(keys, place)))
    metrics["class_error"] = tuple(place for place in (LAST, Place("one_to_many")) if place in places)
    for name, own in (trained | metrics).items():
        main: str | None = getattr(keys, name, name)
        for place in own:
            if main is not None and (key := keys.named(main, place, *counts)) is not None:
                found.setdefault(key, []).append((name, place))
    means = [parts for parts in found.values() if rules.shared == "mean" and len(parts) > 1]
    divisors = {part: len(parts) for parts in means for part in parts}
    losses = {
        key: Reported(tuple(parts), divisors, weighted=rules.weighted and parts[0][0] in trained)
        for key, parts in found.items()
    }
    if keys.total is not None and whole:
        parts = tuple(part for parts in found.values() for part in parts if part[0] in trained)
        losses[keys.total] = Reported(parts, divisors, weighted=True)
    return losses


def _places_with(term: Term, places: Sequence[Place], profile: Profile) -> tuple[Place, ...]:
    """The places whose predictions have a term."""
    own = tuple(place for place in places if place.whose in term.whose)
    if term.layers == "earlier":
        return tuple(place for place in own if place != LAST)
    return own if profile.has_every_layer(term) else (LAST,)


def _has_metrics(keys: Keys, place: Place) -> bool:
    """Whether metrics of a place are reported by themselves, as those of layers that share one loss are not."""
    own = keys.denoising_auxiliary_loss if place.whose == "denoising" else keys.auxiliary_loss
    apart = place.whose in ONCE
    return place.layer is None or apart or "{layer}" in (own or "{layer}")
