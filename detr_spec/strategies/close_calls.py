"""Strategy for close calls: two queries that cost almost the same for one target, by different terms.

Among costs drawn at random one is usually the least by far, so a matching seldom notices a cost that is a little off.
Here any term that is off decides the matching the other way, half of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.costs import matching_cost
from detr_spec.invariant import Cases, Domain
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.numbers import Drawn
from detr_spec.strategies.regimes import SMALLEST_SIDE
from detr_spec.values import Outputs, Target, round_to

HIGHEST_LOGIT = 6.0
STEPS = 30
NUDGES = (2.0**-8, -(2.0**-8), 2.0**-13, -(2.0**-13))
"""How far the second query's logit is moved away from the one at which both cost the same."""


def close_calls() -> Cases:
    """One image with two queries whose boxes are near each other, and one target.

    The second query's logit for the target's class is sought at which both cost the same, and then nudged. Where there
    is none in ±6, as its box is too far off, the case stays a plain one.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return _close_call(domain)

    return strategy


@st.composite
def _close_call(draw: DrawFn, domain: Domain) -> SetCase:
    numbers = Drawn(draw)
    configuration = draw_configuration(draw, domain, num_classes=draw(st.integers(1, 3)))
    label = draw(st.integers(0, configuration.num_classes - 1))
    boxes = np.concatenate([numbers.integers(8, 56, (2, 2)), numbers.integers(4, 56, (2, 2))], axis=1) / 64
    near = boxes[:1] + numbers.integers(-4, 4, (1, 4)) / 64
    target = Target(np.array([label]), boxes[1:])
    predicted = np.concatenate([boxes[:1], np.clip(near, [0, 0, SMALLEST_SIDE, SMALLEST_SIDE], 1.0)])
    logits = numbers.reals(-HIGHEST_LOGIT, HIGHEST_LOGIT, (2, configuration.columns))

    def lead(logit: float) -> float:
        """How much more the second query costs than the first."""
        logits[1, label] = logit
        first, second = matching_cost(logits, predicted, target, configuration)[:, 0]
        return float(second - first)

    logits[1, label] = _where_zero(lead) + draw(st.sampled_from(NUDGES))
    return SetCase(
        configuration=configuration,
        regime="close-call",
        seed=draw(st.integers(0, 255)),
        outputs=Outputs(round_to(logits[None], configuration.dtype), round_to(predicted[None], configuration.dtype)),
        targets=(Target(target.labels, round_to(target.boxes, configuration.dtype)),),
        sizes=np.array([[1, 1]]),
    )


def _where_zero(falling: Callable[[float], float]) -> float:
    """The place in ±6 where a falling function crosses 0, or the end that is nearest to it."""
    low, high = -HIGHEST_LOGIT, HIGHEST_LOGIT
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low
