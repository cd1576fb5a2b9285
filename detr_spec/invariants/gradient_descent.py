"""Invariants of what a gradient is for: a step lowers the loss, many steps learn, and steps repeat. norm §7, G7–G9."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.detections.evaluation import average_precision
from detr_spec.detections.rules import detections
from detr_spec.invariant import invariant
from detr_spec.invariants.criterion_answers import DISTINCT_ORDINARY_REGIMES
from detr_spec.invariants.gradient_answers import (
    Build,
    JudgedLayer,
    bounded,
    gradients_of,
    judged_layers,
    premise_moved,
    require_same_gradient,
)
from detr_spec.invariants.matcher_terms import adds_coordinates
from detr_spec.invariants.shared import one_to_one
from detr_spec.profile import Profile
from detr_spec.strategies import learning_cases, set_cases
from detr_spec.values import FINE_DTYPES, Floats, Outputs, round_to
from detr_spec.violation import Violation, premise, require

FIRST_STEP = 2.0**-4
"""The longest step against a gradient, in logits, and in sides of boxes."""

SHORTER = 2.0**-3
LAST_OF_STEPS = 12
"""Each step is that part of the one before, and so many are tried."""

CLEAR = 8.0
"""How many times what float64 may lose the promised fall of the loss is, for a step to be judged by it."""


@invariant(
    "gradients.descent",
    number="G7",
    formula="L(x − t ∇L(x)) < L(x) for small t > 0, L the definition in float64, the matching held",
    source="norm §7: G7; the gradient is the direction of steepest ascent",
    breaks="a flipped sign; gradients of permuted queries or images; a box term that ascends where boxes are disjoint",
    cases=set_cases(layers=(1, 2), targets=(1, 5)),
)
def descent(component: Build, case: SetCase) -> None:
    """In every decoder layer, a small step against the gradient lowers the loss, under the same matching.

    It is all that training relies on. A loss whose target follows the logits is left out. Premise: no box is at a kink,
    and the gradient is above its rounding.
    """
    terms, weights = case.configuration.terms, case.configuration.term_weights
    still = {name: weight for name, weight in weights.items() if "target from logits" not in terms[name].laws}
    layers = judged_layers(component, case, still)
    judged = [_descends(layer) for layer in layers]
    premise(any(judged), "no gradient is clearly above rounding")


def _descends(layer: JudgedLayer) -> bool:
    """Raises `Violation` if no step lowers the layer's loss; false if no step is long enough to be judged by.

    Where the right gradient is at least twice its rounding, any in its range has a slope of at least half its
    square, so a step short enough for the loss to be straight must lower it.
    """
    images, queries = layer.box_places
    known = bounded(layer.range.boxes)[images, queries].all(axis=-1)
    (pairs,) = np.nonzero(known & (layer.objective.box_steps(FIRST_STEP) > 0))
    images, queries = images[pairs], queries[pairs]
    expected = np.concatenate([layer.range.logits.value.ravel(), layer.range.boxes.value[images, queries].ravel()])
    width = np.concatenate(
        [
            (layer.range.logits.upper - layer.range.logits.lower).ravel(),
            (layer.range.boxes.upper - layer.range.boxes.lower)[images, queries].ravel(),
        ]
    )
    if not np.isfinite(width).all() or not (expected**2).sum() > 2 * (np.abs(expected) * width).sum():
        return False
    objective, rows = layer.objective, layer.objective.rows[pairs]
    against, against_rows = layer.logits, layer.boxes[images, queries]
    lost = objective.noise(pairs)

    def loss(step: float) -> float:
        moved = objective.of_logits(layer.layer.logits - step * against)
        return float(moved + objective.of_boxes(rows - step * against_rows, pairs))

    squared = float((against**2).sum() + (against_rows**2).sum())
    start, tried = loss(0.0), []
    for step in _steps(layer, pairs, against, against_rows):
        if not step * squared > CLEAR * lost:
            break
        tried.append(loss(step))
        if tried[-1] < start:
            return True
    if not tried and np.isfinite(squared):
        return False
    raise Violation(
        f"no step against the gradient of {layer.name} lowers the loss",
        expected=f"below {start}",
        got=tried,
        losses=[start, *tried],
    )


def _steps(layer: JudgedLayer, pairs: np.ndarray, logits: Floats, rows: Floats) -> Iterator[float]:
    """Ever shorter steps, the first of which moves no logit by more than a fraction, and no box across a kink."""
    room = layer.objective.box_steps(FIRST_STEP)[pairs][:, None]
    with np.errstate(divide="ignore"):
        limits = [FIRST_STEP / np.abs(logits).max(initial=0.0), (room / np.abs(rows)).min(initial=np.inf)]
    longest = float(min(limits))
    if np.isfinite(longest):
        yield from (longest * SHORTER**place for place in range(LAST_OF_STEPS))


ENOUGH = 0.99
STEPS = 300
BOX_RATE = 1.0
LOGIT_RATE = 2.0
"""Over the weights of the box losses together, and over that of the classification loss."""

DECAY = 1e-3
"""The rate of boxes at the last step, as a share of the first; it falls in the second half."""

LARGEST_EPSILON = 1e-6
"""The most that is added to an area or put in its place, in units of the image's, with which small boxes are learnt."""

SMALLEST_SIDE = 2.0**-12
"""Where sides end that a wrong gradient shrinks without end; targets are larger."""


def pulls_from_everywhere(profile: Profile) -> bool:
    """Whether boxes are drawn to their targets, one to each, from afar and from near, small ones like large ones."""
    pulls = "pulls from afar" in profile.box_loss.laws and "scale-invariant" in profile.overlap_loss.laws
    by_boxes = adds_coordinates(profile) and one_to_one(profile) and not profile.matches_masks
    return pulls and profile.judges("classification") and by_boxes


@invariant(
    "gradients.learnability",
    number="G8",
    formula="(z, b̂) ← (z, b̂) − rate · ∇(Σ_k w_k loss_k), 300 times ⇒ AP ≥ 0.99",
    source="norm §6; the COCO evaluator (Lin et al. 2014) on targets of COCO 2017",
    breaks="a gradient that points elsewhere: another sign, another query's; a matching that never settles",
    cases=learning_cases(),
    cost=50,
    applies=pulls_from_everywhere,
    rarity=4,
)
def learnability(component: Build, case: SetCase) -> None:
    """Gradient descent on the loss, from random logits and boxes, finds every object of real images: AP ≥ 0.99.

    Whatever else is wrong, a loss is one of detection if what minimises it detects. Premise: every term has a weight,
    GIoU and the L1 distance weigh as much as classes in the matching, the L1 distance as much as GIoU in the loss, and
    no epsilon of box areas exceeds 1e-6.
    """
    configuration, targets = case.configuration, case.targets
    premise(configuration.dtype in FINE_DTYPES, "small boxes need a finer dtype")
    count = sum(map(len, targets))
    premise(count > 0, "there are no objects")
    weights = configuration.term_weights
    _premise_learnable(configuration)
    # The losses are means over objects, so that the step of one object would shrink with their number.
    of_logits, of_boxes = (sum(weights[name] for name in configuration.moving(kind)) for kind in ("logits", "boxes"))
    logit_rate, box_rate = count * LOGIT_RATE / of_logits, count * BOX_RATE / of_boxes
    logits, boxes = case.outputs.logits, case.outputs.boxes
    for step in range(STEPS):
        rounded = round_to(logits, configuration.dtype)
        finite = np.isfinite(rounded) | ~np.isfinite(case.outputs.logits)
        require(bool(finite.all()), "descent moves the logits without bound", expected="finite")
        outputs = replace(case.outputs, logits=rounded, boxes=round_to(boxes, configuration.dtype))
        moved = _gradient(component, case, outputs)
        logits = logits - logit_rate * moved[0]
        boxes = _stepped(boxes, box_rate * DECAY ** max(2 * step / STEPS - 1, 0) * moved[1])
    # Images that are square fill any input, so that boxes are relative to both.
    sizes = np.repeat(case.sizes.max(axis=1, keepdims=True), 2, axis=1)
    found = [
        detections(logits[image], boxes[image], size, configuration, case.outputs.phrases_of(image))
        for image, size in enumerate(sizes)
    ]
    precision = average_precision(found, targets, sizes)
    require(
        precision >= ENOUGH,
        f"gradient descent learns no more than AP {precision:.3f} in {STEPS} steps",
        expected=ENOUGH,
        got=precision,
    )


def _premise_learnable(configuration: Configuration) -> None:
    """Ends the check unless the least loss is that of the right classes in the right boxes, and steps lead there.

    Without boxes in the matching nothing binds a target to a box. Rates and steps are chosen for weights like those
    that dialects train with: GIoU moves boxes that are apart slowly, and a matching by classes settles late. Between
    boxes that are far apart only the L1 distance decides, and between small ones that are near only GIoU.
    """
    weights = configuration.term_weights
    premise(min(weights.values()) > 0, "a term has no weight")
    premise(weights["box_l1"] >= weights["box_giou"], "GIoU weighs more in the loss than the L1 distance")
    rules = configuration.profile.boxes
    epsilon = max(rules.iou_epsilon, rules.giou_epsilon, rules.least_divisor or 0.0)
    premise(epsilon <= LARGEST_EPSILON, "an epsilon hides what small boxes overlap")
    boxes = min(configuration.cost_bbox, configuration.cost_giou)
    premise(boxes >= configuration.cost_class, "classes weigh more in the matching than a box term")
    premise(
        configuration.class_loss.teaches(), "objects, or what is no object, have no part in the classification loss"
    )


def _gradient(component: Build, case: SetCase, outputs: Outputs) -> tuple[Floats, Floats]:
    """The gradient with respect to logits and boxes; zeros for what is not connected."""
    now = SetCase(configuration=case.configuration, outputs=outputs, targets=case.targets, sizes=case.sizes)
    (last,) = gradients_of(component, now, case.configuration.term_weights, case.targets).layers
    parts = [
        np.zeros(predictions.shape) if part is None else part
        for part, predictions in ((last.logits, outputs.logits), (last.boxes, outputs.boxes))
    ]
    require(
        all(bool(np.isfinite(part).all()) for part in parts),
        "a gradient is not finite while the loss is minimised",
        expected="finite",
    )
    return parts[0], parts[1]


def _stepped(boxes: Floats, gradient: Floats) -> Floats:
    """Boxes after a step of gradient descent in the parameters of R-CNN: centres in units of the box, log sides.

    So a step moves a small box by as small a part of itself as a large one. The results stay boxes in [0, 1].
    """
    centres, sides = boxes[..., :2], boxes[..., 2:]
    moved = np.clip(centres - sides**2 * gradient[..., :2], 0.0, 1.0)
    with np.errstate(over="ignore"):
        scaled = np.clip(sides * np.exp(-sides * gradient[..., 2:]), SMALLEST_SIDE, 1.0)
    return np.concatenate([moved, scaled], axis=-1)


@invariant(
    "gradients.repeatable",
    number="G9",
    formula="∇L(x, y) from one criterion, after ∇L(x′, y) from it = ∇L(x, y) from a new one",
    source="norm §6: one criterion serves every training step, each with a backward pass of its own",
    breaks="a running loss that keeps the graph of the step before; a hook or a factor that an earlier batch left",
    cases=set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), queries=(2, 6), targets=(1, 5)),
)
def repeatable(component: Build, case: SetCase) -> None:
    """A criterion gives the same gradients to the same batch, whatever it was given before.

    What keeps part of the step before fails at the second step, or trains on predictions that are gone.
    """
    configuration, weights = case.configuration, case.configuration.term_weights
    used = component(configuration)
    others = case.outputs.take(queries=case.permutation(case.outputs.queries, "queries"))
    before = SetCase(configuration=configuration, outputs=others, targets=case.targets, sizes=case.sizes)
    gradients_of(lambda _: used, before, weights, case.targets)
    again, fresh = judged_layers(lambda _: used, case, weights), judged_layers(component, case, weights)
    for layer, new in zip(again, fresh, strict=True):
        require_same_gradient("in the second call of one criterion", layer, new)
    premise_moved("logits", *(layer.gradient for layer in fresh))
