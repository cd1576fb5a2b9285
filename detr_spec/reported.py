"""Reported losses: what each entry of a criterion's answer is, as a weighted sum of terms of layers. norm §4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeAlias

import numpy as np

from detr_spec.apart import APART, Apart
from detr_spec.configuration import Configuration
from detr_spec.parameters import product
from detr_spec.profile import Keys, Profile
from detr_spec.terms import Term
from detr_spec.tolerance import Interval

Place: TypeAlias = int | Apart | None
"""Whose loss it is: an auxiliary layer's, by its number, that of predictions apart, or the last layer's."""

Part: TypeAlias = tuple[str, Place]
"""A term, by its neutral name, of a place."""


@dataclass(frozen=True)
class Reported:
    """One loss: Σ coefficient · term over some terms, each of some place.

    parts: the neutral names of the terms with their places. divisors: what those are divided by of which a mean is
    taken. weighted: whether each is times its weight.
    """

    parts: tuple[Part, ...]
    divisors: Mapping[Part, int]
    weighted: bool = False

    @property
    def of_decoder(self) -> Reported:
        """What it is without predictions that stand apart."""
        return replace(self, parts=tuple(part for part in self.parts if not isinstance(part[1], str)))

    def factors(self, configuration: Configuration, part: Part) -> tuple[float, ...]:
        """The numbers whose product is the coefficient of a part."""
        weight = (configuration.term_weights[part[0]],) if self.weighted else ()
        return (*weight, *((1 / self.divisors[part],) if part in self.divisors else ()))


def reported_losses(configuration: Configuration) -> Mapping[str, Reported]:
    """What a criterion reports, by key, with the losses of predictions that stand apart where these are declared."""
    return _reported(configuration.profile, configuration.decoder_layers, tuple(configuration.terms.items()))


def loss_key(configuration: Configuration, name: str, place: Place = None) -> str | None:
    """The key of the loss that is one term of one place alone; None where it is not reported by itself."""
    losses = reported_losses(configuration).items()
    return next((key for key, reported in losses if reported.parts == ((name, place),)), None)


def decoder_keys(configuration: Configuration) -> set[str]:
    """The keys of all losses and metrics of the decoder's layers."""
    return {key for key, reported in reported_losses(configuration).items() if reported.of_decoder.parts}


def without_extra(configuration: Configuration, keys: Iterable[str]) -> set[str]:
    """The keys but for the extra ones that the profile declares."""
    extra = configuration.profile.losses.extra
    return {key for key in keys if not any(fnmatchcase(key, pattern) for pattern in extra)}


def keys_with(configuration: Configuration, name: str) -> list[str]:
    """The keys of a term's losses, or a metric's, the last layer's first; not of what sums several terms."""
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


def weight_table(configuration: Configuration, weights: Mapping[str, float]) -> dict[str, float]:
    """The weights by the implementation's keys, the same for each decoder layer.

    Losses that are weighted already have a weight of 1.
    """
    return {
        key: 1.0 if reported.weighted else weights[name]
        for key, reported in reported_losses(configuration).items()
        if (name := _decoder_term(reported)) in weights
    }


def _decoder_term(reported: Reported) -> str:
    """The term that a loss of the decoder's layers is of; none of what sums several, or is of predictions apart."""
    names = {name for name, _ in reported.parts}
    return names.pop() if len(names) == 1 and reported == reported.of_decoder else ""


@cache
def _reported(profile: Profile, layers: int, terms: tuple[tuple[str, Term], ...]) -> Mapping[str, Reported]:
    keys, rules, found = profile.keys, profile.losses, dict[str, list[Part]]()
    auxiliary = tuple(range(layers - 1))
    every: tuple[Place, ...] = (None, *auxiliary, *APART)
    places = {name: every if term.every_layer else (None,) for name, term in terms}
    metrics: dict[str, tuple[Place, ...]] = {
        "class_error": (None,),
        "cardinality": (None, *APART) if keys.shares_layers else every,
    }
    for name, own in (places | metrics).items():
        for place in own:
            if (key := _key(keys, name, place, layers)) is not None:
                found.setdefault(key, []).append((name, place))
    means = [parts for parts in found.values() if rules.shared == "mean" and len(parts) > 1]
    divisors = {part: len(parts) for parts in means for part in parts}
    losses = {
        key: Reported(tuple(parts), divisors, weighted=rules.weighted and parts[0][0] in places)
        for key, parts in found.items()
    }
    if keys.total is not None:
        parts = tuple(part for parts in found.values() for part in parts if part[0] in places)
        losses[keys.total] = Reported(parts, divisors, weighted=True)
    return losses


def _key(keys: Keys, name: str, place: Place, layers: int) -> str | None:
    """What the loss of a term, or a metric, of a place is called; None where it is not reported."""
    main: str | None = getattr(keys, name, name)
    template = "{loss}" if place is None else keys.auxiliary_loss if isinstance(place, int) else None
    template = template or getattr(keys, f"{place}_loss")
    if main is None or template is None:
        return None
    return str(template.format(loss=main, layer=place if isinstance(place, int) else layers - 1))
