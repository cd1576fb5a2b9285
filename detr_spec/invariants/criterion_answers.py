"""What invariants of the criterion share: an answer, the matchings to judge it by, terms beside definitions.

An implementation that shows its matchings is judged by those, and their optimality by an invariant of its
own, so that a wrong matching is accused once. One that does not is judged only where a single matching is
optimal by a margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import ArrayLike

from detr_spec.apart import targets_of, united_apart
from detr_spec.configuration import Configuration
from detr_spec.implementation import Criterion
from detr_spec.invariants.shared import (
    require_optimal_matchings,
    require_valid_matching,
    same_pairs,
    unique_matchings,
)
from detr_spec.losses import (
    MEASURED_METRICS,
    METRICS,
    Beside,
    Definitions,
    by_pairs,
    set_losses,
    target_classes,
    term_losses,
    weight_of_ranks,
)
from detr_spec.places import Place, Whose
from detr_spec.reported import Reported, loss_key, own_losses, reported_losses, weighted_sum
from detr_spec.scope import unions
from detr_spec.strategies import ALL_REGIMES, DISTINCT_REGIMES
from detr_spec.tolerance import Interval
from detr_spec.values import AnyIntegers, Floats, Integers, Losses, Matching, Outputs, Targets
from detr_spec.violation import PremiseFailed, Violation, premise, require, require_close, require_equal, require_within

Build = Callable[[Configuration], Criterion]


def asked_terms(configuration: Configuration) -> tuple[str, ...]:
    """What a case is about: the terms and metrics, or where masks are asked for the losses of masks."""
    return configuration.trained if configuration.masks else (*configuration.trained, *METRICS)


def layered_terms(configuration: Configuration) -> tuple[str, ...]:
    """The terms and metrics that every decoder layer may have."""
    return (*configuration.layered, *METRICS)


_BY_COUNT = ("empty", "more-targets-than-queries")
ORDINARY_REGIMES = tuple(name for name in ALL_REGIMES if name not in _BY_COUNT)
"""Regimes in which images may have targets, and never more than queries."""
DISTINCT_ORDINARY_REGIMES = tuple(name for name in DISTINCT_REGIMES if name not in _BY_COUNT)
"""Those of them in which the optimum is usually unique."""

MOST_UNIONS = 64
"""How many unions of the matchings of all layers may be right where an answer is still judged."""

LARGEST_SCALE = 1024.0
"""By how much losses may be too large and still be compared with one another as losses of another scale."""


def require_key(losses: Losses, key: str) -> float:
    """The loss of that key; raises `Violation` where there is none."""
    require(
        key in losses.values,
        f"the criterion returned no {key}",
        expected=key,
        got=sorted(losses.values),
    )
    return losses.values[key]


@dataclass(frozen=True, eq=False)
class Term:
    """One loss as the implementation gave it, and the range in which it lies by its definition.

    matchings: the matching of each image that the definition rests on, where it rests on one alone.
    """

    key: str
    value: float
    evaluate: Callable[[], Interval]
    matchings: tuple[Matching, ...] = ()

    @cached_property
    def definition(self) -> Interval:
        """The range, evaluated when it is first asked for: two equal answers need none."""
        return self.evaluate()

    @property
    def is_right(self) -> bool:
        """Whether the loss lies in its range."""
        return lies_within(self.value, self.definition)

    def times(self, factor: float) -> Term:
        """The loss without its normaliser, where the factor is that."""
        return Term(self.key, self.value * factor, lambda: self.definition * factor, self.matchings)

    def plus(self, other: Term) -> Term:
        """The sum of two losses."""
        return Term(self.key, self.value + other.value, lambda: self.definition + other.definition)

    def require_definition(self) -> None:
        """Raises `Violation` unless the loss lies in its range; ends the check for a definition of NaN."""
        premise(bool(np.isfinite(self.definition.value)), f"{self.key} has no value by its definition")
        require_within(self.key, self.value, self.definition, **self._matching())

    def _matching(self) -> dict[str, str]:
        """The pairs of the matchings in words, as a detail of a violation."""
        told = [
            f"image {image}: query {query} → target {target}"
            for image, matching in enumerate(self.matchings)
            for query, target in matching.pairs()
        ]
        return {"matching": "\n".join(told) or "no pairs"} if self.matchings else {}

    def rises_to(self, other: Term) -> bool:
        """Whether the definition of the other lies above this one's by more than rounding."""
        return bool(other.definition.lower > self.definition.upper)


def lies_within(value: float, definition: Interval) -> bool:
    """Whether a loss lies in the range of its definition."""
    return bool(definition.lower <= value <= definition.upper)


def allowance(*terms: Term) -> float:
    """How far apart right answers may be whose definitions agree.

    It grows with answers that are larger than their definitions, so that a wrong scale is accused by the
    definition alone.
    """
    lower = min(float(term.definition.lower) for term in terms)
    upper = max(float(term.definition.upper) for term in terms)
    magnitude = max(abs(lower), abs(upper))
    largest = max((abs(term.value) for term in terms if np.isfinite(term.value)), default=0.0)
    return (upper - lower) * float(excess(largest, magnitude))


def excess(got: ArrayLike, expected: ArrayLike) -> Floats:
    """By how much magnitudes exceed those of their definitions, between 1 and `LARGEST_SCALE`; [...] twice → [...]."""
    got, expected = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    ratio = np.divide(got, expected, out=np.ones_like(got), where=(expected > 0) & np.isfinite(got))
    scale: Floats = np.clip(ratio, 1.0, LARGEST_SCALE)
    return scale


Comparison = tuple[Mapping[str, Term], Mapping[str, Term], str]
"""Terms that were got, those that they are to agree with, and what was done: "when the queries are permuted"."""


def require_same_terms(got: Mapping[str, Term], expected: Mapping[str, Term], when: str) -> None:
    """As `require_all_same_terms`, for one comparison."""
    require_all_same_terms([(got, expected, when)])


def require_all_same_terms(comparisons: Iterable[Comparison]) -> None:
    """Raises `Violation` unless the terms that both sides have agree; that terms are there is asked elsewhere.

    Ends the check where no term of any comparison is a number other than 0: what is constant agrees with itself, and
    shows nothing. That is known when all are made, since a layer or a rank may well have nothing to show.
    """
    numbers = [number for comparison in comparisons for number in require_agreement(*comparison)]
    premise(bool(numbers), "the losses to compare are missing")
    shown = np.isfinite(numbers) & (np.array(numbers) != 0)
    premise(bool(shown.any()), "no loss to compare is a number other than 0")


def require_agreement(got: Mapping[str, Term], expected: Mapping[str, Term], when: str) -> list[float]:
    """The losses of the terms that both sides have; raises `Violation` unless they agree, as in a `Comparison`."""
    both = [(got[name], expected[name]) for name in expected if name in got]
    for first, second in both:
        if first.value != second.value:
            margin = allowance(first, second)
            require_close(f"{first.key}, {when},", first.value, second.value, margin)
    return [term.value for pair in both for term in pair]


@dataclass(frozen=True, eq=False)
class Judged:
    """A criterion's answer, and for each layer the matching of each image that it is judged by.

    The layers are the decoder's, or those of predictions that stand apart: outputs, targets and matchings are theirs.
    """

    configuration: Configuration
    outputs: Outputs
    targets: Targets
    losses: Losses
    matchings: tuple[tuple[Matching, ...], ...]
    normaliser: Interval | None = None
    """What losses over num_boxes are divided by, where that is not the batch's own number."""
    pairs_normaliser: Interval | None = None
    """Likewise, losses of boxes whose pairs are those of all layers."""
    weights: tuple[Interval | None, ...] = ()
    """What the class loss of each layer is divided by, where that is not the weight of the batch's own queries."""
    others: tuple[tuple[Matching, ...], ...] = ()
    """The matchings of other predictions that are in the union with those of its layers."""
    chosen: tuple[Matching, ...] | None = None
    """Which union of the matchings of all layers it is judged by, where that is known."""
    decoder_queries: tuple[int, int] | None = None
    """Of denoising queries: how many queries of the decoder have a target, and how many have none."""
    whose: Whose = "decoder"

    @property
    def beside(self) -> Beside:
        """What the losses of its layers depend on beside their own predictions."""
        return Beside(normaliser=self.normaliser, teacher=self.outputs.layers[-1], decoder_queries=self.decoder_queries)

    @property
    def counted_queries(self) -> tuple[int, int]:
        """How many queries of a layer have a target, in losses of boxes, and how many have none."""
        matched = sum(len(matching.queries) for matching in self.union or self.last)
        return matched, self.outputs.batch * self.outputs.queries - matched

    @property
    def layers(self) -> tuple[int | None, ...]:
        """The layers, the last one first."""
        return (None, *range(len(self.outputs.auxiliary)))

    def matching(self, layer: int | None) -> tuple[Matching, ...]:
        """The matching of each image in a layer."""
        return self.matchings[-1 if layer is None else layer]

    @property
    def last(self) -> tuple[Matching, ...]:
        """The matching of each image in the last decoder layer."""
        return self.matchings[-1]

    @cached_property
    def union(self) -> tuple[Matching, ...] | None:
        """The matching of each image that losses of boxes are under, where that is not each layer's own.

        Where several are right, one that explains the losses of boxes, or any if none does.
        """
        if self.chosen is not None or self.configuration.scope.box_pairs == "layer":
            return self.chosen
        return next(self.explaining())

    @cached_property
    def unions(self) -> list[tuple[Matching, ...]]:
        """The unions of all layers' matchings that are right; ends the check for more than `MOST_UNIONS`."""
        found = unions(zip(*self.united, strict=True), MOST_UNIONS)
        premise(bool(found), "too many unions of the matchings of all layers are right")
        return found

    @cached_property
    def united(self) -> tuple[tuple[Matching, ...], ...]:
        """The matchings that such a union is of; ends the check where one of predictions apart is not unique."""
        configuration, targets, found = self.configuration, self.targets, [*self.matchings, *self.others]
        for name in united_apart(configuration.profile):
            if (apart := self.outputs.apart[name]) is not None:
                own = targets_of(name, targets, configuration)
                found += [unique_matchings(layer, own, configuration) for layer in apart.layers]
        return tuple(found)

    def explaining(self) -> Iterator[tuple[Matching, ...]]:
        """Those of them that explain the losses of boxes, and then the first, right or not."""
        yield from filter(self._explains, self.unions if len(self.unions) > 1 else ())
        yield self.unions[0]

    def _explains(self, union: tuple[Matching, ...]) -> bool:
        """Whether all losses and metrics of boxes are as they are defined under the pairs of a union."""
        judged, names = replace(self, chosen=union), {*self.configuration.of_pairs, *MEASURED_METRICS}
        own = own_losses(self.configuration, self.whose).items()
        of_boxes = [key for key, reported in own if names.issuperset(name for name, _ in reported.parts)]
        return all(judged.of_key(key).is_right for key in of_boxes if key in self.losses.values)

    @cached_property
    def _definitions(self) -> dict[int | None, Definitions]:
        return {}

    def definitions(self, place: Place) -> Definitions:
        """The range of each term of a place, which is one of its own, by neutral name."""
        if place.layer not in self._definitions:
            layer = -1 if place.layer is None else place.layer
            outputs, matchings = self.outputs.layers[layer], self.matchings[layer]
            weight = self.weights[layer] if self.weights else None
            beside = replace(self.beside, total_weight=weight)
            found = set_losses(self.configuration, outputs, self.targets, matchings, beside)
            if self.union is not None:
                of_pairs = replace(beside, normaliser=self.pairs_normaliser)
                given = by_pairs(self.configuration), outputs, self.targets, self.union, of_pairs
                found = found | term_losses(*given, moving=("boxes", "edges"))
            self._definitions[place.layer] = found
        return self._definitions[place.layer]

    def terms(self, names: Iterable[str] | None = None, layer: int | None = None) -> dict[str, Term]:
        """Those of the terms that the implementation gave by themselves, by neutral name; of those that are asked."""
        asked = asked_terms(self.configuration) if names is None else names
        keys = {name: loss_key(self.configuration, name, Place(self.whose, layer)) for name in asked}
        return {name: self.of_key(key) for name, key in keys.items() if key is not None and key in self.losses.values}

    def term(self, name: str, layer: int | None = None) -> Term:
        """One term; raises `Violation` where the implementation did not give it.

        Ends the check where the dialect does not report it by itself.
        """
        key = loss_key(self.configuration, name, Place(self.whose, layer))
        if key is None:
            raise PremiseFailed(f"the dialect reports no {name} by itself")
        require_key(self.losses, key)
        return self.of_key(key)

    def reports(self, name: str, layer: int | None = None) -> bool:
        """Whether the dialect reports a term of a layer by itself."""
        return loss_key(self.configuration, name, Place(self.whose, layer)) is not None

    def every_term(self) -> dict[str, Term]:
        """All declared losses and metrics of its layers alone that the implementation gave, by key."""
        own = own_losses(self.configuration, self.whose)
        return {key: self.of_key(key) for key in own if key in self.losses.values}

    def of_key(self, key: str) -> Term:
        """One loss by its key, which the implementation gave."""
        reported = reported_losses(self.configuration)[key].of(self.whose)
        (_, first), *others = reported.parts
        matchings = () if any(place != first for _, place in others) else self.matching(first.layer)
        return Term(key, self.losses.values[key], partial(self._definition, reported), matchings)

    def _definition(self, reported: Reported) -> Interval:
        return weighted_sum(self.configuration, reported, self.definitions)

    def classes(self, layer: int) -> Integers:
        """The classes that the queries of a layer are trained towards, counted from the first; [B, Q]."""
        outputs = self.outputs.layers[layer]
        given = (outputs.batch, outputs.queries), self.targets, self.matchings[layer]
        return target_classes(*given, self.configuration.num_classes)

    def pairs(self) -> list[tuple[int, int, int]]:
        """The (image, query, target) matches of the last layer."""
        return [(image, *pair) for image, matching in enumerate(self.last) for pair in matching.pairs()]

    def unmatched(self) -> list[tuple[int, int]]:
        """The (image, query) of the last layer without a target."""
        matched = {(image, query) for image, query, _ in self.pairs()}
        everyone = np.ndindex(self.outputs.batch, self.outputs.queries)
        return [(image, query) for image, query in everyone if (image, query) not in matched]


def with_weights(ranks: Sequence[Judged]) -> list[Judged]:
    """The answers of several ranks, judged with what these divide class losses by together."""
    layers = range(len(ranks[0].matchings) if ranks else 0)
    weights = [weight_of_ranks([rank.classes(layer) for rank in ranks], ranks[0].configuration) for layer in layers]
    return [replace(rank, weights=tuple(weights)) for rank in ranks]


def judged(component: Build, configuration: Configuration, outputs: Outputs, targets: Targets) -> Judged:
    """The answer of a newly built criterion, with the matchings to judge it by.

    Ends the check where a shown matching is not valid, which "criterion.optimal-matching" accuses, and where none is
    shown and the optimum of an image is not unique by a margin.
    """
    losses = component(configuration)(outputs, targets).value
    return Judged(configuration, outputs, targets, losses, known_matchings(losses, configuration, outputs, targets))


def known_matchings(
    losses: Losses, configuration: Configuration, outputs: Outputs, targets: Targets
) -> tuple[tuple[Matching, ...], ...]:
    """As `matchings_of`, and ends the check as `judged` does."""
    try:
        return matchings_of(losses, configuration, outputs, targets)
    except Violation as violation:
        raise PremiseFailed("the matching that the criterion shows is not valid") from violation


def matchings_of(
    losses: Losses, configuration: Configuration, outputs: Outputs, targets: Targets
) -> tuple[tuple[Matching, ...], ...]:
    """The matchings of each layer to judge losses by: those shown, else the only optimal ones.

    Raises `Violation` where one that is shown is not valid; ends the check where none is and an optimum is not unique.
    """
    shown = shown_matchings(losses, outputs, targets, configuration)
    if shown is not None:
        return shown
    return tuple(unique_matchings(layer, targets, configuration) for layer in outputs.layers)


def shown_matchings(
    losses: Losses, outputs: Outputs, targets: Targets, configuration: Configuration
) -> tuple[tuple[Matching, ...], ...] | None:
    """The implementation's own matchings of each layer, or None; raises `Violation` unless they are valid."""
    if losses.matchings is None:
        return None
    expected = [len(targets)] * len(outputs.layers)
    got = [len(matchings) for matchings in losses.matchings]
    require_equal("wrong numbers of matchings, by decoder layer", got, expected)
    for layer, matchings in enumerate(losses.matchings):
        for image, (matching, target) in enumerate(zip(matchings, targets, strict=True)):
            require_valid_matching(
                f"decoder layer {layer}, image {image}", matching, outputs.queries, len(target), configuration
            )
    return tuple(tuple(map(renamed, matchings)) for matchings in losses.matchings)


def require_optimal_layers(
    matchings: Sequence[Sequence[Matching]], configuration: Configuration, outputs: Outputs, targets: Targets
) -> None:
    """Raises `Violation` unless each image's matching is valid and optimal in each decoder layer."""
    for layer, (own, predictions) in enumerate(zip(matchings, outputs.layers, strict=True)):
        require_optimal_matchings(f"decoder layer {layer}", own, predictions, targets, configuration)


def renamed(matching: Matching, *, queries: AnyIntegers | None = None, targets: AnyIntegers | None = None) -> Matching:
    """A matching of reordered queries or targets in the old indices; `queries[i]` is what query i was."""
    first, second = (np.asarray(side, dtype=np.int64) for side in (matching.queries, matching.targets))
    return Matching(first if queries is None else queries[first], second if targets is None else targets[second])


def premise_same_matchings(before: Sequence[Matching], after: Sequence[Matching]) -> None:
    """Ends the check unless the matchings pair the same queries and targets; losses follow from the pairs."""
    same = len(before) == len(after) and all(map(same_pairs, before, after))
    premise(same, "the matching changed")


def require_same_layers(after: Judged, before: Judged, when: str) -> None:
    """Raises `Violation` unless all losses and metrics agree; ends the check where a matching is another."""
    for layer in before.layers:
        premise_same_matchings(before.matching(layer), after.matching(layer))
    require_same_terms(after.every_term(), before.every_term(), when)


def require_same_losses(
    when: str, configuration: Configuration, batch: tuple[Outputs, Targets], got: Losses, expected: Losses
) -> None:
    """Raises `Violation` unless two answers to a batch agree; ends the check where they differ and have several optima.

    `when` says in the message which of them is `got`: "in the second call".
    """
    if dict(got.values) == dict(expected.values):
        return
    names = sorted(got.values), sorted(expected.values)
    require_equal(f"the losses, {when}, are others", names[0], names[1])
    outputs, targets = batch
    matchings = tuple(unique_matchings(layer, targets, configuration) for layer in outputs.layers)
    first, second = (Judged(configuration, outputs, targets, losses, matchings) for losses in (got, expected))
    require_same_terms(first.every_term(), second.every_term(), when)


def require_layer(answer: Judged, layer: int | None, names: Sequence[str] | None = None) -> None:
    """Raises `Violation` unless a layer's matching is optimal, where it is shown, and its terms are as defined.

    layer: as for `Judged.term`. names: of the terms; one that is not computed is passed over.
    """
    if answer.losses.matchings is not None:
        outputs = answer.outputs.layers[-1 if layer is None else layer]
        given = outputs, answer.targets, answer.configuration
        require_optimal_matchings("the criterion's matching", answer.matching(layer), *given)
    for term in answer.terms(names, layer).values():
        term.require_definition()
