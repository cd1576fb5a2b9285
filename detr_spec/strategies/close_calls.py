"""Strategy for close calls: images in which two queries that cost almost the same for one target, by different terms.

Among costs drawn at random one is usually the least by far, so a matching seldom notices a cost that is a little off.
Here any term that is off decides the matching the other way, half of the time. Boxes are of ordinary size or tiny:
among tiny ones every L1 distance is next to nothing, and an overlap that is off decides. Coordinates have digits that a
narrower dtype drops, so a term that is computed in one is off; among tiny boxes these digits would hide the overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from scipy.optimize import brentq

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.costs import matching_cost
from detr_spec.invariant import Domain
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.numbers import Drawn
from detr_spec.strategies.promises import Promised, SetPromise
from detr_spec.strategies.regimes import SMALLEST_SIDE
from detr_spec.values import Floats, Outputs, Target, round_to

MOST_IMAGES = 4
HIGHEST_LOGIT = 6.0
NUDGES = (2.0**-8, 2.0**-13)
FINE_NUDGES = (2.0**-26, 2.0**-34)
"""How far the second query's logit is moved away from the one at which both cost the same; fine ones in float64.

The finer, the smaller the error that decides; but what rounding may decide shows nothing.
"""

SCALES = (1.0, 2.0**-10)
"""Of sides and distances: ordinary, and with sides below 0.001."""

LAST_DIGIT, FINE_LAST_DIGIT = 2.0**-18, 2.0**-30
"""What coordinates are multiples of: too fine for float16 and bfloat16, and for float32 in cases in float64."""


def close_calls(*, layers: tuple[int, int] = (1, 1)) -> Promised:
    """Images with two queries whose boxes are near each other, and one target; in each decoder layer another two.

    The second query's logit for the target's class is sought at which both cost the same, and then nudged. Where there
    is none in ±6, as its box is too far off, the image stays a plain one.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return _close_calls(domain, layers)

    return Promised(strategy, SetPromise(layers=layers[0], queries=2, targets=1))


@st.composite
def _close_calls(draw: DrawFn, domain: Domain, layers: tuple[int, int]) -> SetCase:
    configuration = draw_configuration(
        draw, domain, num_classes=draw(st.integers(1, 3)), decoder_layers=draw(st.integers(*layers))
    )
    count = draw(st.integers(*domain.capped((1, MOST_IMAGES))))
    images = [_image(draw, configuration) for _ in range(count)]
    layers_of_images = zip(*(layers for layers, _ in images), strict=True)
    predictions = [_outputs(predictions, configuration.dtype) for predictions in layers_of_images]
    return SetCase(
        configuration=configuration,
        regime="close-call",
        seed=draw(st.integers(0, 255)),
        outputs=replace(predictions[-1], auxiliary=tuple(predictions[:-1])),
        targets=tuple(target for _, target in images),
        sizes=np.ones((count, 2), dtype=np.int64),
    )


def _outputs(predictions: Sequence[tuple[Floats, Floats]], dtype: str) -> Outputs:
    """One decoder layer, from the logits and boxes of each image."""
    logits, boxes = zip(*predictions, strict=True)
    return Outputs(round_to(np.stack(logits), dtype), np.stack(boxes))


def _image(draw: DrawFn, configuration: Configuration) -> tuple[list[tuple[Floats, Floats]], Target]:
    """The logits [2, C] and boxes [2, 4] of one image's queries, in each decoder layer, and its target."""
    label = draw(st.integers(0, configuration.num_classes - 1))
    scale = draw(st.sampled_from(SCALES))
    target = Target(np.array([label]), round_to(_boxes(draw, configuration, scale), configuration.dtype))
    return [_close_call(draw, configuration, target, scale) for _ in range(configuration.decoder_layers)], target


def _boxes(draw: DrawFn, configuration: Configuration, scale: float) -> Floats:
    """A box somewhere about the middle of the image; [1, 4]."""
    numbers = Drawn(draw)
    centres, sides = numbers.integers(-24, 24, (1, 2)) / 64, numbers.integers(4, 56, (1, 2)) / 64
    box: Floats = np.array([[0.5, 0.5, 0.0, 0.0]]) + scale * np.concatenate([centres, sides], axis=1)
    if scale < 1:
        return box
    last = FINE_LAST_DIGIT if configuration.dtype == "float64" else LAST_DIGIT
    return np.asarray(box + last * numbers.integers(-127, 127, (1, 4)))


def _close_call(draw: DrawFn, configuration: Configuration, target: Target, scale: float) -> tuple[Floats, Floats]:
    """The logits [2, C] and boxes [2, 4] of two queries that cost almost the same for the target."""
    numbers, (label,) = Drawn(draw), target.labels
    first = _boxes(draw, configuration, scale)
    near = first + scale * numbers.integers(-4, 4, (1, 4)) / 64
    smallest = scale * SMALLEST_SIDE
    predicted = round_to(np.concatenate([first, np.clip(near, [0, 0, smallest, smallest], 1.0)]), configuration.dtype)
    logits = numbers.reals(-HIGHEST_LOGIT, HIGHEST_LOGIT, (2, configuration.columns))

    def lead(logit: float) -> float:
        """How much more the second query costs than the first."""
        logits[1, label] = logit
        first, second = matching_cost(logits, predicted, target, configuration)[:, 0]
        return float(second - first)

    nudge = draw(st.sampled_from(FINE_NUDGES if configuration.dtype == "float64" else NUDGES))
    logits[1, label] = _where_zero(lead) + nudge * draw(st.sampled_from((1, -1)))
    return logits, predicted


def _where_zero(falling: Callable[[float], float]) -> float:
    """The place in ±6 where a falling function crosses 0, or the end that is nearest to it."""
    if falling(-HIGHEST_LOGIT) <= 0:
        return -HIGHEST_LOGIT
    if falling(HIGHEST_LOGIT) >= 0:
        return HIGHEST_LOGIT
    return float(brentq(falling, -HIGHEST_LOGIT, HIGHEST_LOGIT, xtol=FINE_NUDGES[-1] / 64))
