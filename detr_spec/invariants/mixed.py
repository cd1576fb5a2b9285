"""Invariants of mixed precision, as training has it: narrow predictions beside targets in float32. norm §7.

What depends on logits alone is checked in the narrow dtype, in which right implementations may compute it. Box terms
are checked in float32 as far as frameworks promote: a difference of a narrow box and a float32 target is in float32,
and so must be the target, whose numbers the narrow dtype does not hold. Corners of narrow boxes may be narrow.
"""

from __future__ import annotations

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.implementation import Criterion, Factory, Gradients, Matcher, PostProcess
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import DISTINCT_ORDINARY_REGIMES, judged, layered_terms, require_layer
from detr_spec.invariants.detections import detect, image_candidates, within
from detr_spec.invariants.gradient_answers import judged_layers
from detr_spec.invariants.matcher import CONTESTED_REGIMES, answered
from detr_spec.invariants.shared import require_optimal_matchings
from detr_spec.strategies import detection_cases, mask_cases, mixed_cases, set_cases
from detr_spec.values import MIXED_DTYPES
from detr_spec.violation import NotProvided, Violation, premise

TOLD_REGIMES = tuple(name for name in CONTESTED_REGIMES if name != "minute-boxes")
"""Those in which narrow predictions tell which matching is best: nothing is known of the overlaps of minute boxes."""

SOURCE = "norm §4: the losses are those of the numbers that are passed, whatever their dtypes"


def require_mixed(case: SetCase) -> None:
    """Raises `NotProvided` unless the case is in mixed precision, which the implementation then declares."""
    if case.configuration.dtype not in MIXED_DTYPES:
        raise NotProvided("mixed precision is not among the declared dtypes")


@invariant(
    "matcher.mixed-precision",
    number="M21",
    formula="z in float16 or bfloat16, b̂ in that or in float32, b in float32 ⇒ Σ C_ij = min over assignments",
    source="norm §3; the matching is a function of the numbers that are passed",
    breaks="a distance of boxes that asks for one dtype; targets rounded to three digits; costs without a dtype",
    cases=mixed_cases(set_cases(regimes=TOLD_REGIMES, queries=(2, 7), targets=(1, 6))),
)
def matcher_in_mixed_precision(component: Factory[Matcher], case: SetCase) -> None:
    """Narrow predictions beside targets in float32 are matched at least cost, where that is declared.

    A model that trains in mixed precision answers in narrow dtypes, and a data set speaks in float32.
    """
    require_mixed(case)
    matchings = answered(component, case.configuration, case.outputs, case.targets)
    require_optimal_matchings("the matching", matchings, case.outputs.main, case.targets, case.configuration)


@invariant(
    "masks.mixed-precision",
    number="C20",
    formula="m̂ in float16 or bfloat16, m in bool ⇒ loss_mask and loss_dice = their definitions",
    source=SOURCE,
    breaks="masks of targets made like the predicted boxes; sums over pixels in float16, where they overflow",
    cases=mixed_cases(mask_cases(regimes=DISTINCT_ORDINARY_REGIMES, targets=(1, 5))),
    cost=2,
)
@invariant(
    "criterion.mixed-precision",
    number="C20",
    formula="z in float16 or bfloat16, b̂ in that or in float32, b in float32 ⇒ each loss = its definition",
    source=SOURCE,
    breaks=(
        "a buffer made like the logits into which scores or boxes in float32 are put (rf-detr#299, #446); targets "
        "rounded to the predictions' dtype; num_boxes counted in bfloat16"
    ),
    cases=mixed_cases(set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5))),
)
def criterion_in_mixed_precision(component: Factory[Criterion], case: SetCase) -> None:
    """Narrow predictions beside targets in float32 have the losses of their definitions, where that is declared.

    Mixed precision is how most detectors are trained, and no test on float32 tensors alone runs what it runs. A mask
    has thousands of pixels, whose sums a narrow dtype cannot hold.
    """
    require_mixed(case)
    names, masks = layered_terms(case.configuration), case.configuration.moving("masks")
    answer = judged(component, case.configuration, case.outputs, case.targets)
    for layer in answer.layers:
        require_layer(answer, layer, (*names, *masks) if layer is None else names)


@invariant(
    "gradients.mixed-precision",
    number="G11",
    formula="∂(Σ_k w_k loss_k)/∂(z_l, b̂_l, m̂_l) = the definition's slope, for narrow z_l, and b̂_l narrow or not",
    source="norm §4 and §6: Σ weight · loss over the keys that losses and weights share, then backward",
    breaks="a copy in float32 that is detached; gradients that underflow in float16; a backward pass of one dtype",
    cases=mixed_cases(set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5))),
)
def gradients_in_mixed_precision(component: Factory[Gradients], case: SetCase) -> None:
    """Narrow predictions beside targets in float32 get the gradients of the definitions, where that is declared.

    What is converted to float32 on the way has to be converted back.
    """
    require_mixed(case)
    layers = judged_layers(component, case, case.configuration.term_weights)
    known = [
        (
            layer.require_logit_slopes(),
            layer.require_box_slopes(),
            layer.range.masks is not None and layer.require_mask_slopes(),
        )
        for layer in layers
    ]
    premise(any(map(any, known)), "no gradient is known")


@invariant(
    "postprocess.mixed-precision",
    number="P12",
    formula="z in float16 or bfloat16, b̂ in float32 ⇒ each detection's box = that of its query, in float32",
    source="norm §5: boxes → xyxy, in pixels",
    breaks="boxes and scores in one tensor, of the logits' dtype, which rounds pixels beyond 256; sizes cast to it",
    cases=mixed_cases(detection_cases()),
)
def postprocess_in_mixed_precision(component: Factory[PostProcess], case: SetCase) -> None:
    """Narrow logits do not make float32 boxes coarse, where mixed precision is declared.

    In bfloat16 a box in an image of 1 000 pixels is off by up to 2 of them.
    """
    require_mixed(case)
    for image, (detections, item) in enumerate(zip(detect(component, case), image_candidates(case), strict=True)):
        agree = within(detections.boxes[:, None], item.boxes.lower, item.boxes.upper)
        lost = np.flatnonzero([not one.all(axis=-1).any() for one in agree])
        if lost.size:
            raise Violation(
                f"image {image}: the box of detection {lost[0]} is no query's",
                expected={"boxes": item.boxes.value},
                got=detections.boxes[lost[0]].tolist(),
            )
