"""The invariant of the mask losses' gradients: each is that of the definition under a fixed matching. norm §7, G1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import ORDINARY_REGIMES, known_matchings, loss_key, require_key
from detr_spec.invariants.gradient_answers import Build, gradients_of, require_slopes
from detr_spec.losses import matched_rows, num_boxes
from detr_spec.masks import MASK_TERMS, bilinear, common_size, mask_dice, mask_focal, matched_masks
from detr_spec.reverse import gradient
from detr_spec.strategies import mask_cases
from detr_spec.tolerance import Numbers, lift
from detr_spec.values import Booleans, Floats, Matching
from detr_spec.violation import premise, require

LOSSES: dict[str, Callable[[Numbers, Booleans, float], Numbers]] = {"mask": mask_focal, "dice": mask_dice}
"""The definition of each mask loss, of masks at the targets' size."""


@invariant(
    "gradients.masks",
    number="G1",
    formula="∂loss_mask/∂m̂ and ∂loss_dice/∂m̂ = the definition's slopes, and 0 for queries without a target",
    source="norm §4 and §7; Lin et al. 2017, equation 5; Milletari et al. 2016",
    breaks="a detached denominator of the dice loss, or (1 − p)²; an upsampling without graph; a scaled gradient",
    cases=mask_cases(regimes=ORDINARY_REGIMES, targets=(1, 5)),
    cost=2,
)
def masks(component: Build, case: SetCase) -> None:
    """The gradients of both mask losses with respect to predicted masks are the definitions' slopes.

    Training sees the gradient alone: masks grow and shrink by it, whatever value is logged.
    """
    for name in MASK_TERMS:
        _require_slopes(component, case, name)


def _require_slopes(component: Build, case: SetCase, name: str) -> None:
    """Raises `Violation` unless the gradient of one mask loss is that of its definition."""
    configuration, outputs, targets = case.configuration, case.outputs, case.targets
    assert outputs.masks is not None
    answer = gradients_of(component, case, {name: 1.0}, targets)
    key = loss_key(configuration, name)
    assert key is not None
    require_key(answer.losses, key)
    last = known_matchings(answer.losses, configuration, outputs, targets)[-1]
    premise(any(len(matching.queries) for matching in last), "nothing is matched")
    got = np.zeros(outputs.masks.shape) if (given := answer.layers[-1].masks) is None else given
    _require_zero_elsewhere(key, got, last)

    rows, rows_got = matched_rows(outputs.masks, last), matched_rows(got, last)
    truth, normaliser = matched_masks(targets, last), num_boxes(targets, last, configuration)

    def loss(moved: Numbers) -> Numbers:
        return LOSSES[name](bilinear(moved, *common_size(targets)), truth, normaliser)

    (expected,) = gradient(loss, lift(rows, configuration.dtype))
    known = require_slopes(f"the gradient of {key} by the matched masks", rows_got, expected)
    premise(known, "rounding in the dtype may move every gradient without bound")


def _require_zero_elsewhere(key: str, gradient: Floats, matchings: tuple[Matching, ...]) -> None:
    for image, matching in enumerate(matchings):
        for query in np.setdiff1d(np.arange(gradient.shape[1]), matching.queries):
            moved = gradient[image, query]
            message = f"{key} moves the mask of query {query} of image {image}, which has no target"
            require(bool((moved == 0).all()), message, expected=0.0, got=moved.tolist())
