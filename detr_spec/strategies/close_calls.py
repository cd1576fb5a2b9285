"""Strategy for close calls: images in which two queries that cost almost the same for one target, by different terms.

Among costs drawn at random one is usually the least by far, so a matching seldom notices a cost that is a little off.
Here any term that is off decides the matching the other way, half of the time. Boxes are of ordinary size or tiny:
among tiny ones every L1 distance is next to nothing, and an overlap that is off decides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from scipy.optimize import brentq

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.costs import matching_cost
from detr_spec.invariant import Cases, Domain
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.numbers import Drawn
from detr_spec.strategies.regimes import SMALLEST_SIDE
from detr_spec.values import Floats, Outputs, Target, round_to

MOST_IMAGES = 4
HIGHEST_LOGIT = 6.0
NUDGES = (2.0**-8, 2.0**-13)
FINE_NUDGES = (2.0**-18, 2.0**-26)
"""How far the second query's logit is moved away from the one at which both cost the same; fine ones in float64.

The finer, the smaller the error that decides; but what rounding may decide shows nothing.
"""

SCALES = (1.0, 2.0**-10)
"""Of sides and distances: ordinary, and with sides below 0.001."""


def close_calls() -> Cases:
    """Images with two queries whose boxes are near each other, and one target.

    The second query's logit for the target's class is sought at which both cost the same, and then nudged. Where there
    is none in ±6, as its box is too far off, the image stays a plain one.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return _close_calls(domain)

    return strategy


@st.composite
def _close_calls(draw: DrawFn, domain: Domain) -> SetCase:
    configuration = draw_configuration(draw, domain, num_classes=draw(st.integers(1, 3)))
    count = draw(st.integers(*domain.capped((1, MOST_IMAGES))))
    logits, boxes, targets = zip(*(_close_call(draw, configuration) for _ in range(count)), strict=True)
    return SetCase(
        configuration=configuration,
        regime="close-call",
        seed=draw(st.integers(0, 255)),
        outputs=Outputs(
            round_to(np.stack(logits), configuration.dtype), round_to(np.stack(boxes), configuration.dtype)
        ),
        targets=tuple(Target(target.labels, round_to(target.boxes, configuration.dtype)) for target in targets),
        sizes=np.ones((count, 2), dtype=np.int64),
    )


def _close_call(draw: DrawFn, configuration: Configuration) -> tuple[Floats, Floats, Target]:
    """One image: the logits [2, C] and boxes [2, 4] of its queries, and its target."""
    numbers = Drawn(draw)
    label = draw(st.integers(0, configuration.num_classes - 1))
    scale = draw(st.sampled_from(SCALES))
    centres, sides = numbers.integers(-24, 24, (2, 2)) / 64, numbers.integers(4, 56, (2, 2)) / 64
    boxes = np.concatenate([0.5 + scale * centres, scale * sides], axis=1)
    near = boxes[:1] + scale * numbers.integers(-4, 4, (1, 4)) / 64
    smallest = scale * SMALLEST_SIDE
    target = Target(np.array([label]), boxes[1:])
    predicted = np.concatenate([boxes[:1], np.clip(near, [0, 0, smallest, smallest], 1.0)])
    logits = numbers.reals(-HIGHEST_LOGIT, HIGHEST_LOGIT, (2, configuration.columns))

    def lead(logit: float) -> float:
        """How much more the second query costs than the first."""
        logits[1, label] = logit
        first, second = matching_cost(logits, predicted, target, configuration)[:, 0]
        return float(second - first)

    nudge = draw(st.sampled_from(FINE_NUDGES if configuration.dtype == "float64" else NUDGES))
    logits[1, label] = _where_zero(lead) + nudge * draw(st.sampled_from((1, -1)))
    return logits, predicted, target


def _where_zero(falling: Callable[[float], float]) -> float:
    """The place in ±6 where a falling function crosses 0, or the end that is nearest to it."""
    if falling(-HIGHEST_LOGIT) <= 0:
        return -HIGHEST_LOGIT
    if falling(HIGHEST_LOGIT) >= 0:
        return HIGHEST_LOGIT
    return float(brentq(falling, -HIGHEST_LOGIT, HIGHEST_LOGIT, xtol=FINE_NUDGES[-1] / 64))
