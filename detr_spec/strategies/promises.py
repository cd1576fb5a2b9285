"""What strategies promise of their cases, which decides whether a reduced case is still one of theirs.

A failing case is made smaller by leaving out what the failure does not need. What an invariant may rely on must stay:
as many images as it speaks of, no more targets than queries, a regime that keeps its name. Only what has been drawn is
asked about, with something left out, so upper bounds matter where they depend on what was left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from detr_spec.cases import Case, RankCase, SetCase
from detr_spec.invariant import Domain
from detr_spec.places import DENOISING, Apart
from detr_spec.profile import Profile
from detr_spec.strategies.phrases import with_phrases
from detr_spec.values import Floats, Outputs, Targets

Kind = TypeVar("Kind", bound=Case)

Admits: TypeAlias = Callable[[Domain, Kind, Kind], bool]
"""Called with a domain, a case that was drawn from it, and the same with something left out."""


@dataclass(frozen=True)
class Promised(Generic[Kind]):
    """Cases of a strategy that tells whether what is left of one of its cases may be drawn, too.

    Where a dialect matches groups of queries, or gives a target several, there are so many times as many queries; where
    it has room for as many targets as queries, there are no more targets; and where its labels name phrases, each image
    has a text.
    """

    cases: Callable[[Domain], SearchStrategy[Kind]]
    admits: Admits[Kind]

    def __call__(self, domain: Domain) -> SearchStrategy[Kind]:
        """The strategy in a domain."""
        share, limited = shares(domain.profile), domain.profile.limits_targets
        phrased = domain.profile.labels == "phrases"
        if domain.shared or (share == 1 and not limited and not phrased):
            return self.cases(domain)
        cases = self.cases(replace(domain, shared=True))
        if share > 1:
            cases = cases.map(partial(with_shares, count=share))
        cases = cases.map(with_room) if limited else cases
        return cases.map(with_phrases) if phrased else cases

    def keeps(self, domain: Domain, drawn: Kind, left: Kind) -> bool:
        """Whether a case with something left out keeps the promise."""
        share = shares(domain.profile)
        if domain.profile.limits_targets and not has_room(left):
            return False
        if share == 1:
            return self.admits(domain, drawn, left)
        first, rest = first_share(drawn, share), first_share(left, share)
        return first is not None and rest is not None and self.admits(domain, first, rest)


def shares(profile: Profile) -> int:
    """How many queries a target may have in a dialect."""
    return profile.matching.groups * profile.matching.repeats


def has_room(case: Case) -> bool:
    """Whether no image of a case has more targets than queries."""
    return all(_missing_shares(outputs, targets) <= 1 for outputs, targets in _batches(case))


def _batches(case: Case) -> Sequence[tuple[Outputs, Targets]]:
    if isinstance(case, RankCase):
        return case.batches
    return [(case.outputs, case.targets)] if isinstance(case, SetCase) else []


def _missing_shares(outputs: Outputs, targets: Targets) -> int:
    """How many times as many queries there must be for no image to have more targets."""
    return max((-(-len(target) // max(outputs.queries, 1)) for target in targets), default=1)


def with_room(case: Kind) -> Kind:
    """The case with so many times as many queries that no image has more targets."""
    count = max((1, *(_missing_shares(outputs, targets) for outputs, targets in _batches(case))))
    if count == 1:
        return case
    roomy = with_shares(case, count)
    return replace(roomy, regime="general") if isinstance(case, SetCase) else roomy


def with_shares(case: Kind, count: int) -> Kind:
    """The case with so many times as many queries, in every layer; a case of anything else as it is.

    They have the same boxes in another order, and the logits of others, so that no two shares have the same matching.
    """
    if isinstance(case, SetCase):
        return replace(case, outputs=more_queries(case.outputs, count))
    if isinstance(case, RankCase):
        return replace(case, batches=tuple((more_queries(outputs, count), own) for outputs, own in case.batches))
    return case


def more_queries(outputs: Outputs, count: int) -> Outputs:
    """The outputs with so many times as many queries, as `with_shares` adds them."""
    own = np.arange(outputs.queries)
    boxes = np.concatenate([np.roll(own, share) for share in range(count)])
    logits = np.concatenate([np.roll(own, 2 * share) for share in range(count)])

    def of_boxes(part: Floats | None) -> Floats | None:
        return None if part is None else part[:, boxes]

    return replace(
        outputs,
        logits=outputs.logits[:, logits],
        boxes=outputs.boxes[:, boxes],
        masks=of_boxes(outputs.masks),
        edges=of_boxes(outputs.edges),
        references=of_boxes(outputs.references),
        auxiliary=tuple(more_queries(layer, count) for layer in outputs.auxiliary),
        encoder=None if outputs.encoder is None else more_queries(outputs.encoder, count),
        initial=None if outputs.initial is None else more_queries(outputs.initial, count),
    )


def first_share(case: Kind, count: int) -> Kind | None:
    """The case with the first of so many shares of its queries alone; None if they are not such shares."""
    if isinstance(case, SetCase):
        outputs = _first_queries(case.outputs, count)
        return None if outputs is None else replace(case, outputs=outputs)
    if isinstance(case, RankCase):
        firsts = [(_first_queries(outputs, count), own) for outputs, own in case.batches]
        known = tuple((first, own) for first, own in firsts if first is not None)
        return replace(case, batches=known) if len(known) == len(firsts) else None
    return case


def _first_queries(outputs: Outputs, count: int) -> Outputs | None:
    encoder = None if outputs.encoder is None else _first_queries(outputs.encoder, count)
    size, rest = divmod(outputs.queries, count)
    if rest or (encoder is None) is not (outputs.encoder is None):
        return None
    others: dict[Apart, Outputs | None] = {name: outputs.apart[name] for name in ("one_to_many", *DENOISING)}
    others["encoder"] = encoder
    first = outputs.with_apart(dict.fromkeys(others)).take(queries=np.arange(size))
    return first.with_apart(others)


def either(*several: Promised[Kind]) -> Promised[Kind]:
    """Cases of one of several strategies."""

    def strategy(domain: Domain) -> SearchStrategy[Kind]:
        return st.one_of(*(item(domain) for item in several))

    def admits(domain: Domain, drawn: Kind, left: Kind) -> bool:
        return any(item.admits(domain, drawn, left) for item in several)

    return Promised(strategy, admits)


CROWDED_REGIMES = ("more-targets-than-queries", "many-targets")
"""The regimes in which no image has fewer targets than queries, and one has more."""

FREE_REGIMES = ("close-call", "many-pairs")
"""The regimes in which images have fewer targets than queries, as many, or more."""


@dataclass(frozen=True)
class SetPromise:
    """The promise of set-prediction cases: the least numbers of decoder layers, images, queries and targets.

    An image has at most as many targets as queries, except in crowded and in free regimes, and where the least number
    of targets is larger.
    """

    layers: int = 1
    images: int = 1
    queries: int = 1
    targets: int = 0

    def __call__(self, _: Domain, drawn: SetCase, left: SetCase) -> bool:
        """Whether a case with something left out keeps the promise."""
        outputs, lengths = left.outputs, [len(target) for target in left.targets]
        enough = len(outputs.layers) >= self.layers and outputs.batch >= self.images and outputs.queries >= self.queries
        return enough and self._lengths_kept(left.regime, lengths, outputs.queries) and _regime_kept(drawn, left)

    def _lengths_kept(self, regime: str, lengths: Sequence[int], queries: int) -> bool:
        if regime in CROWDED_REGIMES:
            return min(lengths) >= queries and max(lengths) > queries
        if regime == "empty" and 0 not in lengths:
            return False
        most = math.inf if regime in FREE_REGIMES else max(queries, self.targets)
        return all(self.targets <= length <= most or (regime == "empty" and length == 0) for length in lengths)


def _regime_kept(drawn: SetCase, left: SetCase) -> bool:
    return left.regime in ALWAYS_KEPT or (left.regime in KEPT and KEPT[left.regime](drawn, left))


def _same_classes(drawn: SetCase, left: SetCase) -> bool:
    return drawn.configuration.num_classes == left.configuration.num_classes


def _confident(_: SetCase, left: SetCase) -> bool:
    """Whether in each layer and image as many queries are sure of each class as there are targets of it."""
    return all(
        [_sure(logits, left, image, label) for label in range(left.classes(image))]
        == [int((target.labels == label).sum()) for label in range(left.classes(image))]
        for layer in left.outputs.layers
        for image, (logits, target) in enumerate(zip(layer.logits, left.targets, strict=True))
    )


def _sure(logits: Floats, case: SetCase, image: int, label: int) -> int:
    """How many queries of an image are sure of a class."""
    columns = case.columns(image, np.array([label]))
    return int((logits[:, columns] > 0).all(axis=1).sum())


def _tied(_: SetCase, left: SetCase) -> bool:
    """Whether at most half of the queries, and of each image's targets, differ from one another."""
    layers = left.outputs.layers
    queries = [array.swapaxes(0, 1) for layer in layers for array in (layer.logits, layer.boxes)]
    targets = [[target.labels[:, None].astype(np.float64), target.boxes] for target in left.targets]
    return all(map(_half_alike, (queries, *targets)))


def _half_alike(arrays: Sequence[Floats]) -> bool:
    """Whether at most half of the rows of these arrays, side by side, differ from one another."""
    rows = np.concatenate([array.reshape(len(array), int(np.prod(array.shape[1:]))) for array in arrays], axis=1)
    return len(rows) == 0 or len(np.unique(rows, axis=0)) <= max(len(rows) // 2, 1)


ALWAYS_KEPT = (
    *("general", "crowded", "empty", "more-targets-than-queries", "degenerate", "saturated", "tiny-boxes"),
    *("minute-boxes", "one-class", "undecided", "many-targets", "many-queries", "many-pairs", "large-image"),
    "many-pixels",
)  # fmt: skip
"""Regimes of which a case stays, whatever is left out."""

KEPT: dict[str, Callable[[SetCase, SetCase], bool]] = {
    "confident": _confident,
    "tied": _tied,
    "coco": _same_classes,
    "close-call": _same_classes,
}
"""Whether a set case with something left out is still of its regime, by the regime's name, for the others.

What two queries cost almost the same for depends on all classes where their probabilities do.
"""
