"""Invariants of the way of a call: whatever it is, the answer is that of the plain call. norm §7.

The numbers are the same, so the answers are compared as two answers of one implementation to one question. They need
not be equal bit for bit, because strided numbers may be computed by other instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypedDict

from detr_spec import boxes as box_definitions
from detr_spec.calls import CALLS, EVALUATED, LABEL_CALLS, LAYOUTS, PLAIN
from detr_spec.cases import BoxCase, Case, CostCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Assignment, BoxOperations, Criterion, Factory, Gradients, Matcher, PostProcess
from detr_spec.invariant import invariant
from detr_spec.invariants.assignment import require_same_total, total_of
from detr_spec.invariants.box_answers import NAMES, Operation, overlap_range, pairs_range, provided, require_same
from detr_spec.invariants.criterion_answers import DISTINCT_ORDINARY_REGIMES, require_same_losses
from detr_spec.invariants.detections import ask, image_candidates, require_same_detections
from detr_spec.invariants.gradient_answers import judged_layers, premise_moved, require_same_gradient
from detr_spec.invariants.matcher import CONTESTED_REGIMES
from detr_spec.invariants.shared import require_same_optimum, require_valid_matching
from detr_spec.matching.assignment import total_allowance
from detr_spec.matching.costs import image_costs
from detr_spec.strategies import (
    box_cases,
    called_cases,
    close_calls,
    cost_cases,
    detection_cases,
    either,
    mask_cases,
    set_cases,
)
from detr_spec.tolerance import Interval, lift
from detr_spec.values import Answer, Floats, LossGradients, Matching, Outputs, Targets, Value, round_to
from detr_spec.violation import NotProvided, PremiseFailed, Violation, require

SOURCE = "norm §4 to §6: the answer is a function of the numbers that are passed"

MODES = ("no-grad", "inference", "evaluation", "validation", "after-errors", "refilled", "extra-keys")
SET_CALLS = (*LAYOUTS, *MODES, *LABEL_CALLS, *LABEL_CALLS)
"""The ways of calling what takes a set; labels twice, as wrong ones of one image may lead to the same matching."""

CRITERION_CALLS = (*SET_CALLS, "frozen-boxes")


class Extents(TypedDict):
    """The least and the largest number of images, of queries and of targets."""

    images: tuple[int, int]
    queries: tuple[int, int]
    targets: tuple[int, int]


SEVERAL: Extents = {"images": (2, 3), "queries": (2, 6), "targets": (1, 5)}
"""Sizes at which a layout in memory shows."""


def in_plain_way(case: Case) -> Configuration:
    """The case's configuration, but called in the plain way; raises `NotProvided` where that is the case's own.

    Where the plain way matches groups of queries, which evaluation does not, that of evaluation takes its place.
    """
    if case.configuration.call == PLAIN:
        raise NotProvided("the implementation is called in the plain way alone")
    plain = replace(case.configuration, call=PLAIN)
    return plain if plain.scope == case.configuration.scope else replace(plain, call=EVALUATED[0])


def require_way(answer: Answer[Value], plain: Answer[Value], case: Case) -> None:
    """Raises `NotProvided` unless the answer was asked for in the case's way, which not every bridge knows.

    Raises `Violation` if the call changed inputs, or memory beside them, that the plain call leaves unchanged.
    """
    way = case.configuration.call
    if answer.observation.call != way:
        raise NotProvided(f"the implementation cannot be called {CALLS[way]}")
    changed = sorted({*(answer.observation.mutated or ())} - {*(plain.observation.mutated or ())})
    message = f"the call {CALLS[way]} changed its inputs, or what lies beside them: {', '.join(changed)}"
    require(not changed, message, expected=[], got=changed)


def both_answers(
    component: Factory[Callable[..., Answer[Value]]], case: Case, *arguments: object
) -> tuple[Value, Value]:
    """The values of the answers in the plain way and in the case's own; raises as `in_plain_way` and `require_way`."""
    plain = component(in_plain_way(case))(*arguments)
    answer = component(case.configuration)(*arguments)
    require_way(answer, plain, case)
    return plain.value, answer.value


@invariant(
    "matcher.ways-of-calling",
    number="M20",
    formula="M(x, y) called in any way = M(x, y) called in the plain way, or as cheap",
    source=SOURCE,
    breaks=(
        "`view` of what is not contiguous; pointers without strides; a cache that an exception leaves half written, or "
        "that goes by addresses; labels narrowed, or read as of another width"
    ),
    cases=called_cases(
        either(set_cases(regimes=CONTESTED_REGIMES, images=(2, 3), queries=(2, 7), targets=(1, 6)), close_calls()),
        SET_CALLS,
    ),
    rarity=6,
)
def matcher_ways(component: Factory[Matcher], case: SetCase) -> None:
    """The matching does not depend on the way of the call: memory layout, modes, other entries, calls before.

    Decoder layers come as slices of one tensor, evaluation runs without gradients, and a batch that was refused is
    followed by others.
    """
    expected, got = both_answers(component, case, case.outputs, case.targets)
    costs = image_costs(case.outputs.main, case.targets, case.configuration)
    for image, (before, after, cost) in enumerate(zip(expected, got, costs, strict=True)):
        what = f"image {image}, called {CALLS[case.configuration.call]}"
        _require_valid_before("the matching", before, cost, case.configuration)
        require_valid_matching(what, after, len(cost), cost.shape[1], case.configuration)
        require_same_optimum(what, before, after, cost, case.configuration)


def _require_valid_before(what: str, matching: Matching, cost: Interval, configuration: Configuration) -> None:
    try:
        require_valid_matching(what, matching, len(cost), cost.shape[1], configuration)
    except Violation as violation:
        raise PremiseFailed(f"{what} of the plain call is not valid") from violation


@invariant(
    "masks.ways-of-calling",
    number="C19",
    formula="L(x, y) with masks, called in any way = L(x, y) called in the plain way",
    source=SOURCE,
    breaks="masks flattened by `view`; padding read as pixels; masks of a loader turned over in place",
    cases=called_cases(mask_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), **SEVERAL), CRITERION_CALLS),
    cost=2,
    rarity=2,
)
@invariant(
    "criterion.ways-of-calling",
    number="C19",
    formula="L(x, y) called in any way = L(x, y) called in the plain way",
    source=SOURCE,
    breaks=(
        "`view` of what is not contiguous; a term left out in evaluation; running means; keys of a batch before; a "
        "cache that goes by addresses; labels narrowed"
    ),
    cases=called_cases(set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), **SEVERAL), CRITERION_CALLS),
    rarity=6,
)
def criterion_ways(component: Factory[Criterion], case: SetCase) -> None:
    """Losses do not depend on the way of the call: memory layout, gradients, modes, other entries, calls before.

    The loss of a validation run, without gradients and in evaluation mode, is compared with that of training. Masks
    come out of convolutions channels last, and out of data sets as corners of padded ones.
    """
    expected, got = both_answers(component, case, case.outputs, case.targets)
    when = f"called {CALLS[case.configuration.call]}"
    require_same_losses(when, case.configuration, (case.outputs, case.targets), got, expected)


@invariant(
    "gradients.ways-of-calling",
    number="G10",
    formula="∇L(x, y) called in any way = ∇L(x, y) called in the plain way",
    source=SOURCE,
    breaks="gradients written into memory by position; predictions changed in place; a mode that detaches a term",
    cases=called_cases(
        set_cases(regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), **SEVERAL),
        (*LAYOUTS, "evaluation", "after-errors", "refilled", "extra-keys", "frozen-boxes", *LABEL_CALLS),
    ),
    rarity=2,
)
def gradient_ways(component: Factory[Gradients], case: SetCase) -> None:
    """Gradients do not depend on the way of the call: memory layout, mode, other entries, calls before.

    A model's predictions are views of other tensors, and no leaves; gradients have to find their way through them.
    """
    plain, weights = replace(case, configuration=in_plain_way(case)), case.configuration.term_weights
    way = case.configuration.call
    kinds = ("logits",) if way == "frozen-boxes" else ("logits", "boxes")

    answers: list[Answer[LossGradients]] = []

    def kept(configuration: Configuration) -> Gradients:
        def call(outputs: Outputs, targets: Targets, table: Mapping[str, float]) -> Answer[LossGradients]:
            answers.append(component(configuration)(outputs, targets, table))
            return answers[-1]

        return call

    expected, got = judged_layers(kept, plain, weights), judged_layers(kept, case, weights)
    require_way(answers[1], answers[0], case)
    for before, after in zip(expected, got, strict=True):
        require_same_gradient(f"called {CALLS[way]}", after, before, kinds)
    premise_moved("logits", *(layer.gradient for layer in expected))


@invariant(
    "postprocess.ways-of-calling",
    number="P11",
    formula="detections called in any way = detections called in the plain way",
    source=SOURCE,
    breaks="`view` of what is not contiguous; a top-k over memory; other rules in training mode; caches by address",
    cases=called_cases(
        detection_cases(images=(2, 3)),
        (*LAYOUTS, "no-grad", "inference", "training", "validation", "after-errors", "refilled", "extra-keys"),
    ),
    rarity=6,
)
def postprocess_ways(component: Factory[PostProcess], case: SetCase) -> None:
    """Detections do not depend on the way of the call: memory layout, modes, other entries, calls before.

    Whoever watches detections while the model trains sees what evaluation will.
    """
    plain = replace(case, configuration=in_plain_way(case))
    expected, got = (ask(component(one.configuration), one) for one in (plain, case))
    require_way(got, expected, case)
    for image, (before, after, allowed) in enumerate(
        zip(expected.value, got.value, image_candidates(case), strict=True)
    ):
        what = f"image {image}, called {CALLS[case.configuration.call]}"
        require_same_detections(what, after, before, allowed, case.configuration)


@invariant(
    "boxes.ways-of-calling",
    number="B12",
    formula="every operation on boxes called in any way = the same called in the plain way",
    source=SOURCE,
    breaks="`view` of what is not contiguous; pointers without strides; `numpy()` of what records gradients",
    cases=called_cases(box_cases(count=(2, 4)), (*LAYOUTS, "with-gradient", "read-only")),
    rarity=2,
)
def box_ways(component: Factory[BoxOperations], case: BoxCase) -> None:
    """Operations on boxes do not depend on how the boxes lie in memory, nor on gradients.

    Boxes are columns of wider tables, and halves of concatenated ones.
    """
    plain, operations = component(in_plain_way(case)), component(case.configuration)
    way, dtype = CALLS[case.configuration.call], case.configuration.dtype
    centres = round_to(box_definitions.xyxy_to_cxcywh(case.first), dtype)
    count = min(len(case.first), len(case.second))
    paired = case.first[:count], case.second[:count]
    questions: dict[str, tuple[tuple[Floats, ...], Callable[[], Interval]]] = {
        "cxcywh_to_xyxy": ((centres,), lambda: box_definitions.cxcywh_to_xyxy(lift(centres, dtype))),
        "xyxy_to_cxcywh": ((case.first,), lambda: box_definitions.xyxy_to_cxcywh(lift(case.first, dtype))),
        "iou": ((case.first, case.second), partial(pairs_range, "iou", case, case.first, case.second)),
        "giou": ((case.first, case.second), partial(pairs_range, "giou", case, case.first, case.second)),
        "elementwise_giou": (paired, partial(overlap_range, "giou", case, *paired)),
    }
    asked: dict[str, Operation] = provided(operations, questions)
    for name, operation in asked.items():
        arguments, right = questions[name]
        expected, got = getattr(plain, name)(*arguments), operation(*arguments)
        require_way(got, expected, case)
        require_same(f"{NAMES.get(name, name)}, called {way},", got.value, expected.value, right)


@invariant(
    "assignment.ways-of-calling",
    number="S10",
    formula="the total of the assignment of C called in any way = that called in the plain way",
    source=SOURCE,
    breaks="rows read one after the other in memory; a block of a batch's costs taken for a matrix of its own",
    cases=called_cases(
        cost_cases(regimes=("general", "negative", "huge"), size=(2, 6)),
        (*LAYOUTS, "read-only", "after-errors", "refilled"),
    ),
    rarity=3,
)
def assignment_ways(component: Factory[Assignment], case: CostCase) -> None:
    """The assignment does not depend on how the costs lie in memory, nor on calls before.

    A batch's costs are one matrix, of which each image's are columns.
    """
    (cost,) = case.costs
    matchings = both_answers(lambda configuration: component(configuration).solve, case, cost)
    expected, got = (total_of("the assignment", matching, cost) for matching in matchings)
    what = f"called {CALLS[case.configuration.call]}, the assignment has another total"
    require_same_total(what, got, expected, total_allowance(cost, case.configuration.dtype), cost)
