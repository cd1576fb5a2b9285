"""Strategy for close calls: images in which a query costs almost too much for a target, by one term or the other.

Among costs drawn at random one is usually the least by far, so a matching seldom notices a cost that is a little off.
Here any term that is off decides the matching the other way, half of the time. Boxes are of ordinary size or tiny:
among tiny ones every L1 distance is next to nothing, and an overlap that is off decides. Coordinates have digits that a
narrower dtype drops, so a term that is computed in one is off; among tiny boxes these digits would hide the overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import scipy  # whose parts are loaded when they are first used
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Domain
from detr_spec.matching.costs import matching_cost
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.drawn_masks import blank_masks, given_points, with_blank_masks
from detr_spec.strategies.numbers import Drawn
from detr_spec.strategies.promises import Promised, SetPromise
from detr_spec.strategies.regimes import SMALLEST_SIDE
from detr_spec.strategies.sets import FAMILIAR_CLASS_COUNTS
from detr_spec.values import Floats, Outputs, Target, round_to

MOST_IMAGES = 4
MOST_QUERIES = 16
MOST_CLASSES = 16
MORE_TARGETS = 2
"""How many more targets than queries an image may have."""

HIGHEST_LOGIT = 6.0
LOWER = 6.0
"""By how much the logits of classes beyond `MOST_CLASSES` are lower, so that all of them take little probability."""

NUDGES = (2.0**-8, 2.0**-13)
FINE_NUDGES = (2.0**-26, 2.0**-36, 2.0**-36)
"""How far the second query's logit is moved away from the one at which both cost the same; fine ones in float64.

The finer, the smaller the error that decides; but what rounding may decide shows nothing.
"""

HIGHEST_MASK_LOGIT = 4.0
"""Of masks, where the points are known at which they are compared; the second query's are near the first's."""

SCALES = (1.0, 1.0, 2.0**-10)
"""Of sides and distances: ordinary, and with sides below 0.001."""

LAST_DIGIT, FINE_LAST_DIGIT = 2.0**-18, 2.0**-30
"""What coordinates are multiples of: too fine for float16 and bfloat16, and for float32 in cases in float64."""


Prediction: TypeAlias = tuple[Floats, Floats, Floats | None]
"""Logits [Q, C], boxes [Q, 4] and masks [Q, h, w] of one image's queries, masks where the matching needs them."""


def close_calls(*, layers: tuple[int, int] = (1, 1)) -> Promised[SetCase]:
    """Images in which the first target nearly goes to another query, in each decoder layer to one of its own.

    A quarter of the cases have two queries, whose boxes are near each other, and one target; the others have 3 to 16
    queries, the first two of which are near the first of 1 to 18 targets, a third of the time as many as queries. There
    are 1 to 16 classes, or as many as VOC or COCO have. The second query's logit for the class of
    that target is sought at which the best matchings with and without the pair cost the same, and then nudged. Where
    there is none in ±6, as its box is too far off, the image stays a plain one.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return _close_calls(domain, layers)

    return Promised(strategy, SetPromise(layers=layers[0], queries=2, targets=1))


@st.composite
def _close_calls(draw: DrawFn, domain: Domain, layers: tuple[int, int]) -> SetCase:
    classes = st.integers(1, MOST_CLASSES) | st.sampled_from(FAMILIAR_CLASS_COUNTS)
    drawn = draw_configuration(draw, domain, num_classes=draw(classes), decoder_layers=draw(st.integers(*layers)))
    sample = given_points(draw, domain) if domain.profile.matches_masks else ()
    configuration = replace(drawn, masks=domain.profile.matches_masks, sample=sample)
    count = draw(st.integers(*domain.capped((1, MOST_IMAGES))))
    few = domain.small or domain.most is not None or draw(st.sampled_from((True, False, False, False)))
    queries = 2 if few else draw(st.integers(3, MOST_QUERIES))
    fewer, more = st.integers(1, queries), st.integers(queries + 1, queries + MORE_TARGETS)
    lengths = st.just(1) if few else fewer | st.just(queries) | more
    images = [_image(draw, configuration, queries, draw(lengths)) for _ in range(count)]
    layers_of_images = zip(*(layers for layers, _ in images), strict=True)
    predictions = [_outputs(predictions, configuration) for predictions in layers_of_images]
    return SetCase(
        configuration=configuration,
        regime="close-call",
        seed=draw(st.integers(0, 255)),
        outputs=replace(predictions[-1], auxiliary=tuple(predictions[:-1])),
        targets=tuple(target for _, target in images),
        sizes=np.ones((count, 2), dtype=np.int64),
    )


def _outputs(predictions: Sequence[Prediction], configuration: Configuration) -> Outputs:
    """One decoder layer, from the logits and boxes of each image."""
    logits, boxes, masks = zip(*predictions, strict=True)
    whole = None if any(own is None for own in masks) else np.stack(masks)
    return Outputs(round_to(np.stack(logits), configuration.dtype), np.stack(boxes), whole)


def _image(draw: DrawFn, configuration: Configuration, queries: int, length: int) -> tuple[list[Prediction], Target]:
    """What one image's queries predict in each decoder layer, and its targets."""
    labels = Drawn(draw).integers(0, configuration.num_classes - 1, (length,))
    scale = draw(st.sampled_from(SCALES))
    boxes = round_to(_boxes(draw, configuration, scale, length), configuration.dtype)
    target = with_blank_masks(Target(labels, boxes), configuration.profile)
    if target.masks is not None and configuration.sample:
        target = replace(target, masks=Drawn(draw).integers(0, 1, target.masks.shape).astype(np.bool_))
    return [
        _close_call(draw, configuration, target, scale, queries) for _ in range(configuration.decoder_layers)
    ], target


def _boxes(draw: DrawFn, configuration: Configuration, scale: float, count: int) -> Floats:
    """Boxes somewhere about the middle of the image; [n, 4]."""
    numbers = Drawn(draw)
    centres, sides = numbers.integers(-24, 24, (count, 2)) / 64, numbers.integers(4, 56, (count, 2)) / 64
    boxes: Floats = np.array([[0.5, 0.5, 0.0, 0.0]]) + scale * np.concatenate([centres, sides], axis=1)
    if scale < 1:
        return boxes
    last = FINE_LAST_DIGIT if configuration.dtype == "float64" else LAST_DIGIT
    return np.asarray(boxes + last * numbers.integers(-127, 127, (count, 4)))


def _close_call(draw: DrawFn, configuration: Configuration, target: Target, scale: float, queries: int) -> Prediction:
    """What queries predict of which the second costs almost too much for the first target."""
    numbers, label = Drawn(draw), target.labels[0]

    def near(box: Floats, steps: int) -> Floats:
        smallest = scale * SMALLEST_SIDE
        return np.clip(box + scale * numbers.integers(-steps, steps, (1, 4)) / 64, [0, 0, smallest, smallest], 1.0)

    boxes = _boxes(draw, configuration, scale, queries - 1)
    first, others = boxes[:1] if queries == 2 else near(target.boxes[:1], 6), boxes[1:]
    predicted = round_to(np.concatenate([first, near(first, 4), others]), configuration.dtype)
    logits = _logits(numbers, queries, configuration.columns)
    masks = blank_masks(configuration.profile, queries)
    if masks is not None and configuration.sample:
        masks = numbers.reals(-HIGHEST_MASK_LOGIT, HIGHEST_MASK_LOGIT, masks.shape)
        masks[1] = masks[0] + numbers.integers(-16, 16, masks.shape[1:]) / 64

    def lead(logit: float) -> float:
        """How much more the best matching costs that has the second query and the first target than one without."""
        logits[1, label] = logit
        return price_of_pair(matching_cost(logits, predicted, target, configuration, masks), 1, 0)

    nudge = draw(st.sampled_from(FINE_NUDGES if configuration.dtype == "float64" else NUDGES))
    logits[1, label] = _where_zero(lead) + nudge * draw(st.sampled_from((1, -1)))
    return logits, predicted, masks


def _logits(numbers: Drawn, queries: int, columns: int) -> Floats:
    """Logits [Q, C] in ±6, those of many columns repeated from the first, but lower."""
    logits = numbers.reals(-HIGHEST_LOGIT, HIGHEST_LOGIT, (queries, min(columns, MOST_CLASSES + 1)))
    place = np.arange(columns)
    return np.asarray(logits[:, place % logits.shape[1]] - LOWER * (place >= logits.shape[1]))


def price_of_pair(cost: Floats, row: int, column: int) -> float:
    """How much more the best assignment with that pair costs than the best without it."""
    rest = np.delete(np.delete(cost, row, axis=0), column, axis=1)
    without = cost.copy()
    # More than all of what is paid otherwise, so the pair is avoided.
    without[row, column] = 1 + 2 * np.abs(cost).sum()
    return float(cost[row, column] + _least_total(rest) - _least_total(without))


def _least_total(cost: Floats) -> float:
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    return float(cost[rows, columns].sum())


def _where_zero(falling: Callable[[float], float]) -> float:
    """The place in ±6 where a falling function crosses 0, or the end that is nearest to it."""
    if falling(-HIGHEST_LOGIT) <= 0:
        return -HIGHEST_LOGIT
    if falling(HIGHEST_LOGIT) >= 0:
        return HIGHEST_LOGIT
    return float(scipy.optimize.brentq(falling, -HIGHEST_LOGIT, HIGHEST_LOGIT, xtol=FINE_NUDGES[-1] / 64))
