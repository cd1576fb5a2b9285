"""The losses of one decoder layer under a given matching. norm §4; Carion et al. 2020, section 3.1.

`set_losses` evaluates the terms of a configuration for a case: each by its neutral name ("classification", "box_l1",
"box_giou", "mask", "dice", "class_error", "cardinality" …), an interval in which a right answer lies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from detr_spec.activations import sigmoid
from detr_spec.configuration import Configuration, replace
from detr_spec.masks import ComparedMasks, compared_in_losses, matched_masks, matched_pixels
from detr_spec.parameters import held
from detr_spec.profile import Profile
from detr_spec.terms import Layer, Teacher, Term
from detr_spec.tolerance import SPACING, Interval, SameNumbers, absolute, concatenate, interval, lift
from detr_spec.values import Array, Booleans, Floats, Integers, Matching, Outputs, Targets, part_dtypes, round_to
from detr_spec.written import pixels_of, truth_of

COUNTED_METRICS = ("class_error", "cardinality")
"""Metrics that count queries, whatever losses of boxes are divided by."""
MEASURED_METRICS = ("box_centre", "box_size")
"""Metrics that are parts of a loss of boxes."""
METRICS = (*COUNTED_METRICS, *MEASURED_METRICS)
"""What is reported beside the terms, and not trained on."""
MOVED = ("logits", "boxes", "masks", "edges")
"""The predictions that terms move."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Beside:
    """What the losses of a layer depend on beside its own predictions and pairs.

    normaliser: what box losses are divided by, [], where that is not `num_boxes`. total_weight, decoder_queries: as in
    `Layer`. teacher: the last of its layers.
    """

    normaliser: Interval | None = None
    total_weight: Interval | None = None
    teacher: Outputs | None = None
    decoder_queries: tuple[int, int] | None = None


ALONE = Beside()


class Definitions(Mapping[str, Interval]):
    """Losses by neutral name, each evaluated when it is first asked for: most checks look at one alone."""

    def __init__(self, formulas: Mapping[str, Callable[[], Interval]]) -> None:
        self._formulas, self._found = dict(formulas), dict[str, Interval]()

    def __getitem__(self, name: str) -> Interval:
        if name not in self._found:
            self._found[name] = self._formulas[name]()
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._formulas)

    def __len__(self) -> int:
        return len(self._formulas)

    def __or__(self, others: Definitions) -> Definitions:
        """These, but the others' where both have one of a name."""
        return Definitions(self._formulas | others._formulas)


def by_pairs(configuration: Configuration) -> Configuration:
    """The configuration of losses that are divided by the number of their pairs."""
    return replace(configuration, profile=replace(configuration.profile, denominator="matches"))


def boxes_counted(targets: Targets, matchings: Sequence[Matching], configuration: Configuration) -> int:
    """The number of targets in a batch, or of matched pairs, as the profile counts."""
    if configuration.profile.denominator == "matches":
        return sum(len(matching.queries) for matching in matchings)
    return configuration.scope.targets_counted * sum(len(target) for target in targets)


def num_boxes(targets: Targets, matchings: Sequence[Matching], configuration: Configuration) -> float:
    """What box losses are divided by on one process: the number of targets (or matches), at least 1."""
    return float(max(boxes_counted(targets, matchings, configuration), 1))


def num_boxes_of_ranks(counts: Sequence[int], configuration: Configuration) -> tuple[Interval, ...]:
    """What each rank divides box losses by, [], given what each counts: the mean over the ranks, at least 1.

    Or their sum, or its own count, at least 1, where the profile says so. The division may be done in the dtype of
    metrics.
    """
    if configuration.profile.rank_reduction == "local":
        return tuple(lift(float(max(count, 1)), configuration.dtype) for count in counts)
    divisor = len(counts) if configuration.profile.rank_reduction == "mean" else 1
    number, narrow = np.asarray(max(sum(counts) / divisor, 1.0)), metric_dtype(configuration.dtype)
    slack = 0.0 if round_to(number, narrow) == number else SPACING[narrow] * number
    return (Interval(number, number - slack, number + slack, configuration.dtype),) * len(counts)


def weight_of_ranks(classes: Sequence[Integers], configuration: Configuration) -> Interval | None:
    """What each rank divides its class loss by where ranks are summed: the weight of all their queries, [].

    classes: those that the queries of each rank are trained towards, [B, Q]. None where each rank's is its own.
    """
    if configuration.profile.rank_reduction != "sum":
        return None
    every = np.concatenate([own.reshape(-1) for own in classes])
    term = held(configuration, configuration.dtype).class_loss
    weights = term.query_weights(every, configuration.num_classes)
    return None if weights is None else interval((weights * lift(np.ones(1), configuration.dtype)).sum())


def target_classes(shape: tuple[int, int], targets: Targets, matchings: Sequence[Matching], no_object: int) -> Integers:
    """The class that each query is trained towards: its matched target's label, or `no_object`; int64 [B, Q]."""
    classes = np.full(shape, no_object, dtype=np.int64)
    for image, (target, matching) in enumerate(zip(targets, matchings, strict=True)):
        classes[image, matching.queries] = target.labels[matching.targets]
    return classes


def metric_dtype(dtype: str) -> str:
    """What a metric may be counted in: float32 where the losses are float64, as DETR does, else the losses' dtype."""
    return "float32" if dtype == "float64" else dtype


def class_error(logits: Floats, positive: Booleans, dtype: str) -> Interval:
    """100 − top-1 accuracy (%) of matched queries, all columns compared; 100 when nothing is matched; [m, C] → [].

    positive: which logits are those of the query's target, [m, C]. Where one of these ties with another, either answer
    is right.
    """
    if len(logits) == 0:
        return lift(100.0, dtype)
    own = np.where(positive, logits, -np.inf).max(axis=-1)
    rival = np.where(positive, -np.inf, logits).max(axis=-1)
    return _percentage_wrong(own > rival, own >= rival, dtype)


def _percentage_wrong(surely_right: Booleans, maybe_right: Booleans, dtype: str) -> Interval:
    ends = [100.0 - 100.0 * float(right.mean()) for right in (maybe_right, surely_right)]
    spread = lift(100.0, dtype) * lift(1.0, dtype) / 1.0
    slack = float(spread.upper - spread.lower)
    return Interval(np.asarray(ends[1]), np.asarray(ends[0] - slack), np.asarray(ends[1] + slack), dtype)


def _counted(logits: Floats, rule: str, dtype: str) -> tuple[Booleans, Booleans]:
    """Which queries are surely, and which may be, counted as predicted objects; [..., C] → two of [...].

    The sigmoid of 0 is 1/2 in every dtype, and rounding never lifts the sigmoid of a negative logit above 1/2.
    """
    if rule == "score-above-half":
        highest = logits.max(axis=-1)
        return sigmoid(lift(highest, dtype)).lower > 0.5, highest > 0
    last = logits[..., -1]
    others = logits[..., :-1].max(axis=-1, initial=-np.inf)
    return others > last, others >= last


def cardinality_error(logits: Floats, targets: Targets, configuration: Configuration) -> Interval:
    """The mean over images of |#counted queries − n_b|, counted as the profile says; logits [B, Q, C] → []."""
    surely, maybe = _counted(logits, configuration.profile.cardinality, configuration.dtype)
    lengths = np.array([len(target) for target in targets])
    least, most = surely.sum(axis=-1), maybe.sum(axis=-1)
    largest = np.maximum(np.abs(least - lengths), np.abs(most - lengths))
    smallest = np.maximum(np.maximum(least - lengths, lengths - most), 0)
    dtype = metric_dtype(configuration.dtype)
    ends = [lift(part.astype(float), dtype).sum() / float(len(targets)) for part in (smallest, largest)]
    return Interval(ends[1].value, ends[0].lower, ends[1].upper, dtype)


def _box_metrics(shown: Layer, profile: Profile) -> Definitions:
    """The L1 distance of the centres of matched pairs, and that of their sides, as far as the profile reports them."""
    columns = {"box_centre": (0, 2), "box_size": (2, 4)}
    reported = {name: own for name, own in columns.items() if getattr(profile.keys, name) is not None}
    return Definitions({name: partial(_distance, shown, *own) for name, own in reported.items()})


def _distance(shown: Layer, first: int, end: int) -> Interval:
    """The L1 distance of some coordinates of matched pairs, over num_boxes; []."""
    return interval(absolute(shown.boxes - shown.truth)[:, first:end].reshape(-1).sum() / shown.normaliser)


def matched_rows(arrays: Array, matchings: Sequence[Matching]) -> Array:
    """The matched queries' rows of [B, Q, ...], image after image; [m, ...]."""
    rows = [arrays[image, matching.queries] for image, matching in enumerate(matchings)]
    return cast(Array, np.concatenate(rows))


def matched_places(matchings: Sequence[Matching]) -> tuple[Integers, Integers]:
    """The image and query indices of all matched pairs, in the order of `matched_rows`; [m] twice."""
    images = [np.full(len(matching.queries), image, dtype=np.int64) for image, matching in enumerate(matchings)]
    queries = [np.asarray(matching.queries, dtype=np.int64) for matching in matchings]
    return np.concatenate(images), np.concatenate(queries)


def shown_layer(
    configuration: Configuration,
    layer: Outputs,
    targets: Targets,
    matchings: Sequence[Matching],
    beside: Beside = ALONE,
) -> Layer:
    """A decoder layer as its terms see it, under a matching of each image, in intervals of a single number each."""
    dtypes = part_dtypes(configuration.dtype)
    images, queries = matched_places(matchings)
    normaliser, teacher = beside.normaliser, beside.teacher
    if normaliser is None:
        normaliser = lift(num_boxes(targets, matchings, configuration), configuration.dtype)
    return Layer(
        logits=lift(layer.counted_logits, dtypes.logits),
        classes=target_classes((layer.batch, layer.queries), targets, matchings, configuration.num_classes),
        boxes=lift(matched_rows(layer.boxes, matchings), dtypes.boxes),
        truth=concatenate(
            [
                truth_of(target, configuration.profile, dtypes.targets)[matching.targets]
                for target, matching in zip(targets, matchings, strict=True)
            ]
        ),
        images=images,
        queries=queries,
        normaliser=normaliser,
        total_weight=beside.total_weight,
        teacher=None
        if teacher is None or teacher.edges is None
        else Teacher(logits=lift(teacher.logits, dtypes.logits), edges=lift(teacher.edges, dtypes.logits)),
        decoder_queries=beside.decoder_queries,
        rules=configuration.profile.boxes.held(configuration.dtype),
        pixels=pixels_of(targets) if configuration.profile.boxes.units == "pixels" else None,
        masks=None
        if layer.masks is None
        else partial(
            shown_masks, configuration, lift(matched_rows(layer.masks, matchings), dtypes.logits), targets, matchings
        ),
        edges=None if layer.edges is None else lift(layer.edges, dtypes.logits),
        references=None if layer.references is None else lift(layer.references, dtypes.boxes),
        phrases=layer.phrases,
        tokens=layer.tokens,
    )


def shown_masks(
    configuration: Configuration, matched: SameNumbers, targets: Targets, matchings: Sequence[Matching]
) -> ComparedMasks:
    """The matched queries' masks and those of their targets, where the profile compares them; [m, h, w] → [m, N].

    The targets' masks are padded to the common size, and the padding counts, or is left out.
    """
    rules, truth = configuration.profile.masks, matched_masks(targets, matchings)
    own = matched_pixels(targets, matchings) if rules.padding == "left-out" else None
    return compared_in_losses(matched, truth, rules, configuration.points, own)


def set_losses(
    configuration: Configuration,
    layer: Outputs,
    targets: Targets,
    matchings: Sequence[Matching],
    beside: Beside = ALONE,
) -> Definitions:
    """All losses and metrics of one decoder layer under a matching of each image, by neutral name.

    Mask losses are included where the layer has masks and they are asked for; what earlier layers alone have, where
    there is a teacher.
    """
    shown = shown_layer(configuration, layer, targets, matchings, beside)

    def error() -> Interval:
        logits, positive = matched_rows(layer.logits, matchings), matched_rows(shown.positive, matchings)
        return class_error(logits, positive, metric_dtype(configuration.dtype))

    cardinality = partial(cardinality_error, layer.logits, targets, configuration)
    counted = Definitions({"class_error": error, "cardinality": cardinality})
    return _losses_of(configuration, layer, shown, MOVED) | counted


def term_losses(
    configuration: Configuration,
    layer: Outputs,
    targets: Targets,
    matchings: Sequence[Matching],
    beside: Beside = ALONE,
    moving: Collection[str] = MOVED,
) -> Definitions:
    """As `set_losses`, with metrics of boxes alone. moving: the predictions that terms move; others are left out."""
    shown = shown_layer(configuration, layer, targets, matchings, beside)
    return _losses_of(configuration, layer, shown, moving)


def _losses_of(configuration: Configuration, layer: Outputs, shown: Layer, moving: Collection[str]) -> Definitions:
    there = [name for name in moving if getattr(layer, name) is not None]
    terms = {
        name: partial(_evaluated, term, shown)
        for name, term in held(configuration, configuration.dtype).terms.items()
        if term.moves in there and (term.layers != "earlier" or shown.teacher is not None)
    }
    found = Definitions(terms)
    return found | _box_metrics(shown, configuration.profile) if "boxes" in there else found


def _evaluated(term: Term, shown: Layer) -> Interval:
    return interval(term.value(shown))


def classification_has_value(configuration: Configuration, targets: Targets) -> bool:
    """Whether the classification loss of a batch has a value; one that is not judged may have."""
    return configuration.class_loss.has_value(sum(map(len, targets)))
