"""Invariants of gradients: each is that of the definition under a fixed matching. norm §7, G1–G6."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.invariant import invariant, judging, with_boxes, with_no_object
from detr_spec.invariants.criterion_answers import ORDINARY_REGIMES, excess
from detr_spec.invariants.gradient_answers import (
    Build,
    bounded,
    gradients_of,
    judged_layers,
    premise_moved,
    require_zero,
)
from detr_spec.invariants.shared import layer_names, without_objects
from detr_spec.losses import classification_has_value
from detr_spec.strategies import ALL_REGIMES, mask_cases, set_cases
from detr_spec.tolerance import SPACING, summation_growth
from detr_spec.values import Floats, LayerGradient, LossGradients
from detr_spec.violation import premise, require

ALL_CASES = set_cases(layers=(1, 3))
MATCHED_CASES = set_cases(regimes=(*ALL_REGIMES, "saturated"), layers=(1, 3), targets=(1, 5))
UNMET_CASES = set_cases(
    regimes=[name for name in ALL_REGIMES if name not in ("confident", "empty")], layers=(1, 3), targets=(1, 5)
)
"""Cases with targets that are not predicted exactly, which is a kink."""
SATURATED_CASES = set_cases(regimes=("saturated",), layers=(1, 2))

CLASSIFICATION = {"classification": 1.0}


@invariant(
    "gradients.classification",
    number="G1",
    formula="∂loss_ce/∂z = w[t] (softmax(z) − 1[c = t]) / Σ w, or the focal loss's",
    source="norm §7; Carion et al. 2020, equation 2; Lin et al. 2017, equation 5",
    breaks="the no-object weight in the value alone; a detached factor (1 − p)^γ; a clipped or scaled gradient",
    cases=ALL_CASES,
    applies=judging("classification"),
    rarity=3,
)
def classification(component: Build, case: SetCase) -> None:
    """The gradient of the classification loss with respect to every logit is the definition's slope.

    Training sees the gradient alone: a right value with a wrong gradient is a run that looks well and learns
    something else.
    """
    layers = judged_layers(component, case, CLASSIFICATION)
    known = [layer.require_logit_slopes() for layer in layers]
    premise(any(known), "rounding in the dtype may move every gradient without bound")


def _require_box_slopes(component: Build, case: SetCase, weights: Mapping[str, float]) -> None:
    layers = judged_layers(component, case, weights)
    known = [layer.require_box_slopes() for layer in layers]
    premise(any(known), "rounding in the dtype may move every gradient without bound")


@invariant(
    "gradients.box-l1",
    number="G1",
    formula="∂loss_bbox/∂b̂ = sign(b̂ − b) / num_boxes where b̂ ≠ b, and between −1 and 1 elsewhere",
    source="norm §7; Carion et al. 2020, section 3.1",
    breaks="a detached term; the gradient of a smooth L1 or L2 distance; another normaliser in the backward pass",
    cases=UNMET_CASES,
    applies=judging("box_l1"),
    rarity=2,
)
def box_l1(component: Build, case: SetCase) -> None:
    """The gradient of the L1 loss with respect to matched boxes is the definition's slope.

    It is what moves a box that does not overlap its target at all; premise: no coordinate coincides.
    """
    _require_box_slopes(component, case, {"box_l1": 1.0})


@invariant(
    "gradients.box-giou",
    number="G1",
    formula="∂loss_giou/∂b̂ = −∂GIoU(b̂, b)/∂b̂ / num_boxes, at a kink between the slopes on its sides",
    source="norm §7; Rezatofighi et al. 2019, algorithm 1",
    breaks="a detached enclosing area or union; areas clamped by an epsilon; indices in place of boxes; no graph",
    cases=UNMET_CASES,
    applies=judging("box_giou"),
    rarity=2,
)
def box_giou(component: Build, case: SetCase) -> None:
    """The gradient of the GIoU loss with respect to matched boxes is the definition's slope.

    Without the enclosing area's part, boxes apart from their targets never find them; premise: no two corners
    coincide.
    """
    _require_box_slopes(component, case, {"box_giou": 1.0})


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
    names = case.configuration.moving("masks")
    known = [
        layer.require_mask_slopes()
        for name in names
        for layer in judged_layers(component, case, {name: 1.0})
        if layer.layer.masks is not None
    ]
    premise(any(known), "nothing is matched, or rounding in the dtype may move every gradient without bound")


@invariant(
    "gradients.weighted-total",
    number="G1",
    formula="∂(Σ_k w_k loss_k)/∂(z_l, b̂_l) = the definition's slope for each decoder layer l",
    source="norm §4 and §6: Σ weight · loss over the keys that losses and weights share, then backward",
    breaks="auxiliary losses from a detached copy; gradients clipped or scaled inside the criterion; a shared buffer",
    cases=MATCHED_CASES,
    rarity=3,
)
def weighted_total(component: Build, case: SetCase) -> None:
    """The gradient of the weighted sum of all losses is the definition's slope in every decoder layer.

    It is what the optimiser is given.
    """
    layers = judged_layers(component, case, case.configuration.term_weights)
    known = [(layer.require_logit_slopes(), layer.require_box_slopes()) for layer in layers]
    if case.configuration.profile.matches_masks:
        known += [(layer.require_mask_slopes(), False) for layer in layers]
    premise(any(map(any, known)), "no gradient is known")


@invariant(
    "gradients.none-through-matching",
    number="G2",
    formula="∂loss_ce/∂b̂ = 0 and ∂(loss_bbox + loss_giou)/∂z = 0",
    source="norm §3: no gradient flows through the matching, whose costs read logits and boxes both",
    breaks="a softened or differentiable matching; loss_ce weighted by an IoU that is not detached",
    cases=ALL_CASES,
)
def none_through_matching(component: Build, case: SetCase) -> None:
    """Boxes and masks get no gradient from the classification loss, which moves logits, and logits none from theirs.

    They meet in the matching alone; a gradient through it moves boxes so that the matching gets cheaper, not
    so that they fit.
    """
    moving = {kind: case.configuration.moving(kind) for kind in ("logits", "boxes", "masks")}
    answers = {
        kind: gradients_of(component, case, dict.fromkeys(names, 1.0), case.targets).layers
        for kind, names in moving.items()
        if names
    }
    for kind, layers in answers.items():
        for other in answers.keys() - {kind}:
            for name, layer in zip(layer_names(case.outputs), layers, strict=True):
                require_zero(f"the losses of {kind} move {other} of {name}", getattr(layer, other))
        if kind == "logits" or any(map(len, case.targets)):
            premise_moved(kind, *layers)


@invariant(
    "gradients.every-prediction-connected",
    number="G3",
    formula="∂(Σ_k w_k loss_k)/∂z_l and ∂(Σ_k w_k loss_k)/∂b̂_l exist for every layer l, for any number of targets",
    source="norm §4: with all images empty, loss_bbox = loss_giou = 0 with a graph and zero gradients",
    breaks="a constant 0 for a batch without objects; early returns; auxiliary outputs from under no_grad",
    cases=ALL_CASES,
)
def every_prediction_connected(component: Build, case: SetCase) -> None:
    """The training loss depends on every layer's logits and boxes, with targets and without any.

    In distributed training a parameter that some rank does not use stalls the run, or ends it: one batch
    without objects is enough.
    """
    configuration = case.configuration
    weights = configuration.term_weights
    premise(min(weights.values()) > 0, "a term has no weight")
    layers: list[LayerGradient] = []
    for targets, when in ((case.targets, ""), (without_objects(case.targets), " when there are no objects")):
        answer = gradients_of(component, case, weights, targets)
        loose = _loose(answer, case)
        require(not loose, f"the loss is not connected to {', '.join(loose)}{when}", expected=[], got=loose)
        layers += answer.layers
    premise_moved("logits", *layers)


def _parts_of(gradient: LayerGradient) -> dict[str, Floats | None]:
    """What a gradient is by, by name, of what every decoder layer predicts."""
    return {"logits": gradient.logits, "boxes": gradient.boxes, "masks": gradient.masks}


def _loose(answer: LossGradients, case: SetCase) -> list[str]:
    """The predictions that a judged term moves, and that have no gradient."""
    return [
        f"the {kind} of {name}"
        for name, gradient in zip(layer_names(case.outputs), answer.layers, strict=True)
        for kind, part in _parts_of(gradient).items()
        if part is None and case.configuration.moving(kind)
    ]


@invariant(
    "gradients.unmatched-boxes-zero",
    number="G4",
    formula="∂(Σ_k w_k loss_k)/∂b̂_i = 0 for every query i without a target",
    source="norm §4: box losses are sums over matched pairs",
    breaks=(
        "box losses of all queries; an auxiliary layer's boxes indexed by the last layer's matching; 0 · NaN where the "
        "losses of flat boxes are computed and then masked"
    ),
    cases=set_cases(regimes=(*ALL_REGIMES, "degenerate"), layers=(1, 3), queries=(2, 6), targets=(0, 4)),
    applies=with_boxes,
    rarity=3,
)
def unmatched_boxes_zero(component: Build, case: SetCase) -> None:
    """The boxes of queries without a target get a gradient of exactly zero.

    Nothing says where such a box should be; what pulls at it wears down the queries' spread over the image.
    """
    layers = judged_layers(component, case, case.configuration.term_weights)
    premise(any(layer.without_boxes.any() for layer in layers), "every query is matched")
    for layer in layers:
        for image, query in np.argwhere(layer.without_boxes):
            got = layer.boxes[image, query]
            message = f"the box of query {query} of image {image} in {layer.name} has a gradient, and no target"
            require(bool((got == 0).all()), message, expected=[0.0] * 4, got=got.tolist())
    premise_moved("boxes", *(layer.gradient for layer in layers))


@invariant(
    "gradients.unmatched-logits-not-zero",
    number="G4",
    formula="∂loss_ce/∂z_i ≠ 0 for every query i without a target",
    source="norm §4: every query enters loss_ce; one without a target is trained towards no object",
    breaks="loss_ce of matched queries alone; a detached background part; hard-negative mining that is not declared",
    cases=set_cases(layers=(1, 3), queries=(2, 6), targets=(0, 4)),
    applies=judging("classification"),
)
def unmatched_logits_not_zero(component: Build, case: SetCase) -> None:
    """The logits of queries without a target get a gradient, unless rounding may hide it.

    These are what teaches a query to stay silent, and without them every object is found many times.
    """
    layers = judged_layers(component, case, CLASSIFICATION)
    certain = [
        layer.unmatched & ((layer.range.logits.lower > 0) | (layer.range.logits.upper < 0)).any(axis=-1)
        for layer in layers
    ]
    premise(any(queries.any() for queries in certain), "no query without a target has a gradient above rounding")
    for layer, queries in zip(layers, certain, strict=True):
        for image, query in np.argwhere(queries):
            message = f"the logits of query {query} of image {image} in {layer.name} have no gradient"
            expected = layer.range.logits.value[image, query].tolist()
            got = layer.logits[image, query]
            require(bool((np.abs(got) > 0).any()), message, expected=expected, got=got.tolist())


@invariant(
    "gradients.logits-sum-to-zero",
    number="G5",
    formula="Σ_c ∂loss_ce/∂z_ic = 0 for every query i",
    source="norm §7: softmax does not change when a constant is added to all logits of a query",
    breaks="a detached log Σ exp; labels smoothed to a sum other than 1; the no-object column left out of the softmax",
    cases=ALL_CASES,
    applies=judging("classification", with_no_object),
)
def logits_sum_to_zero(component: Build, case: SetCase) -> None:
    """The gradients of the classification loss with respect to one query's logits sum to zero.

    What raises one class lowers the others by as much; otherwise the logits drift together until they
    overflow.
    """
    layers = judged_layers(component, case, CLASSIFICATION)
    for layer in layers:
        expected = np.abs(layer.range.logits.value).sum(axis=-1)
        known = bounded(layer.range.logits).all(axis=-1) & (expected > 0)
        lost = summation_growth(layer.logits.shape[-1]) * SPACING["float64"]
        sums, magnitude = layer.logits.sum(axis=-1), np.abs(layer.logits).sum(axis=-1)
        # A gradient that is too large by a factor is accused by its definition alone.
        scale = excess(magnitude, expected)
        ends = layer.range.logits.lower.sum(axis=-1), layer.range.logits.upper.sum(axis=-1)
        widths = [scale * ends[0] - lost * magnitude, scale * ends[1] + lost * magnitude]
        for image, query in np.argwhere(known & ~((sums >= widths[0]) & (sums <= widths[1]))):
            require(
                False,
                f"the gradients of the logits of query {query} of image {image} in {layer.name} do not sum to zero",
                expected=0.0,
                got=float(sums[image, query]),
                allowance=(float(widths[0][image, query]), float(widths[1][image, query])),
            )
    premise_moved("logits", *(layer.gradient for layer in layers))


@invariant(
    "gradients.finite-when-saturated",
    number="G6",
    formula="z ∈ {−120, −60, 0, 60, 120} ⇒ every ∂loss/∂z and ∂loss/∂b̂ is finite",
    source="norm §7: G6",
    breaks="log(softmax(z)), log(sigmoid(z)) without an epsilon; 0/0 in a derivative of (1 − p)^γ; exp without a shift",
    cases=SATURATED_CASES,
)
def finite_when_saturated(component: Build, case: SetCase) -> None:
    """All gradients are finite for logits up to ±120, with targets and without any.

    A value can be finite where its gradient is 0 · ∞; one NaN ends the run, and only the most confident
    detections cause it.
    """
    weights = case.configuration.term_weights
    layers: list[LayerGradient] = []
    for targets, when in ((case.targets, ""), (without_objects(case.targets), ", without objects")):
        if not classification_has_value(case.configuration, targets):
            continue
        answer = gradients_of(component, case, weights, targets)
        layers += answer.layers
        for name, gradient in zip(layer_names(case.outputs), answer.layers, strict=True):
            for kind, part in _parts_of(gradient).items():
                broken = [] if part is None else part[~np.isfinite(part)].tolist()
                require(
                    not broken, f"gradients of the {kind} of {name} are not finite{when}", expected="finite", got=broken
                )
    premise_moved("logits", *layers)
