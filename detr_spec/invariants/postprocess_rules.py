"""Invariants of post-processing: what cannot change the detections, and what is declared. norm §5, P6–P10."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import Candidates, count_range
from detr_spec.invariant import invariant
from detr_spec.invariants.calls import in_plain_way, require_way
from detr_spec.invariants.detections import (
    ANY_CASE,
    SEVERAL_IMAGES,
    Build,
    ask,
    declared_sizes,
    detect,
    exceeds_pairs,
    image_candidates,
    in_unit_images,
    kept_queries,
    pair_count,
    ranked_rule,
    require_same_detections,
    score_allowance,
)
from detr_spec.invariants.shared import require_no_gradient, require_refusal, require_unchanged
from detr_spec.parameters import parameter
from detr_spec.strategies import called_cases, detection_cases
from detr_spec.values import Detections, Integers
from detr_spec.violation import Violation, premise, require, require_within


def _with_certain_number(case: SetCase) -> list[tuple[int, Candidates]]:
    """The images in which no score is at the threshold; ends the check where there is none."""
    allowed = list(enumerate(image_candidates(case)))
    certain = [(image, item) for image, item in allowed if len(set(count_range(item, case.configuration))) == 1]
    premise(bool(certain), "every image has a score at the threshold")
    return certain


@invariant(
    "postprocess.permuted-queries",
    number="P6",
    formula="detections(π(outputs)) = π(detections(outputs)); with top-k, the same set",
    source="norm §5; Carion et al. 2020: the predictions are a set",
    breaks="queries beyond some number left out; scores that depend on the query's place",
    cases=ANY_CASE,
)
def permuted_queries(component: Build, case: SetCase) -> None:
    """Permuting the queries permutes the detections, or leaves the set of the k best as it is.

    The order of queries carries no meaning, so nothing may be read from it.
    """
    configuration = case.configuration
    order = case.permutation(case.outputs.queries, "queries")
    before = detect(component, case)
    after = detect(component, replace(case, outputs=case.outputs.with_decoder_queries(order)))
    certain = _with_certain_number(case)
    told = [(image, item) for image, item in certain if len(before[image].scores) in count_range(item, configuration)]
    premise(bool(told), "no image has the right number of detections")
    for image, item in told:
        turned = _in_query_order(after[image], item, configuration, order)
        what = f"image {image}, after permuting the queries"
        require_same_detections(what, turned, before[image], item, configuration)


def _in_query_order(
    found: Detections, allowed: Candidates, configuration: Configuration, order: Integers
) -> Detections:
    """Detections of permuted queries in the order before, where there is one of each kept query."""
    kept = kept_queries(allowed, configuration)
    if ranked_rule(configuration.profile) or kept is None or len(kept) != len(found.scores):
        return found
    back = np.argsort(order[np.isin(order, kept)])
    return Detections(found.scores[back], found.labels[back], found.boxes[back])


@invariant(
    "postprocess.images-one-by-one",
    number="P7",
    formula="detections(batch)_b = detections(image b alone)",
    source="norm §5: per image",
    breaks="top-k over the whole batch; a softmax over the images; queries and images exchanged",
    cases=SEVERAL_IMAGES,
)
def images_one_by_one(component: Build, case: SetCase) -> None:
    """A batch gives each image the detections that it has alone.

    All images are given one size here, since whose size is used has an invariant of its own.
    """
    equal = replace(case, sizes=np.tile(case.sizes[:1], (len(case.sizes), 1)))
    together = detect(component, equal)
    for image, item in _with_certain_number(equal):
        alone = detect(component, _single(equal, image))[0]
        require_same_detections(f"image {image}, beside the others", together[image], alone, item, case.configuration)


def _single(case: SetCase, image: int) -> SetCase:
    return replace(
        case,
        outputs=case.outputs.take(images=[image]),
        targets=case.targets[image : image + 1],
        sizes=case.sizes[image : image + 1],
    )


@invariant(
    "postprocess.nothing-dropped",
    number="P8",
    formula="n = Q, or k with top-k",
    source="norm §5: all Q queries; no threshold, no suppression",
    breaks="an undeclared threshold; non-maximum suppression; queries of the no-object class left out",
    applies=lambda profile: not profile.detection.threshold and not profile.detection.drops_no_object,
    cases=ANY_CASE,
    rarity=3,
)
def nothing_dropped(component: Build, case: SetCase) -> None:
    """Without a declared threshold each image has all its Q, or its k, detections, however low their scores.

    Average precision counts the low ones too, and a set prediction needs no suppression of duplicates.
    """
    premise(not exceeds_pairs(case), "k exceeds the number of (query, class) pairs")
    _require_counts(detect(component, case), case)


@invariant(
    "postprocess.threshold",
    number="P8",
    formula="detections = those with s > threshold",
    source="norm §5: for use, keep scores above a threshold",
    breaks="≥ for >; a threshold on the logit, or on another class's score; one that is ignored or fixed",
    applies=lambda profile: profile.detection.threshold,
    cases=ANY_CASE,
)
def threshold(component: Build, case: SetCase) -> None:
    """With a declared threshold exactly the detections whose score exceeds it are there.

    What is shown to people depends on it.
    """
    configuration = case.configuration
    least = float(parameter(configuration.threshold, configuration.dtype).lower)
    found = detect(component, case)
    for image, detections in enumerate(found):
        low = detections.scores[~(detections.scores > least)]
        require(
            low.size == 0,
            f"image {image}: scores do not exceed the threshold",
            expected=least,
            got=low.tolist(),
        )
    _require_counts(found, case)


@invariant(
    "postprocess.no-object-dropped",
    number="P8",
    formula="detections = those with max_c p(c) ≥ p(no object)",
    source="norm §5 and §9: where it is declared, a query whose best class is no object gives no detection",
    breaks="all queries returned; a query dropped for a low score; no object looked for in another column",
    applies=lambda profile: profile.detection.drops_no_object,
    cases=ANY_CASE,
)
def no_object_dropped(component: Build, case: SetCase) -> None:
    """Where it is declared, exactly the queries that say some class more firmly than no object give detections.

    It takes the place of a threshold where detections are shown to people, or are segments of a whole image.
    """
    _require_counts(detect(component, case), case)


def _require_counts(found: tuple[Detections, ...], case: SetCase) -> None:
    """Raises `Violation` unless each image has as many detections as the rule and the threshold allow."""
    for image, (detections, item) in enumerate(zip(found, image_candidates(case), strict=True)):
        least, most = count_range(item, case.configuration)
        require(
            least <= len(detections.scores) <= most,
            f"image {image}: a wrong number of detections",
            expected=least if least == most else f"{least} … {most}",
            got=len(detections.scores),
            scores=detections.scores,
        )


@invariant(
    "postprocess.descending-scores",
    number="P8",
    formula="s_1 ≥ s_2 ≥ …",
    source="Zhu et al. 2021; a top-k gives its values in descending order",
    breaks="an unsorted top-k; detections put back into query order",
    applies=ranked_rule,
    cases=ANY_CASE,
)
def descending_scores(component: Build, case: SetCase) -> None:
    """The k best detections come with descending scores.

    Users cut the list after the first few, and evaluators that limit detections do the same.
    """
    for image, (detections, item) in enumerate(zip(detect(component, case), image_candidates(case), strict=True)):
        slack = score_allowance(item, detections.scores)
        rising = np.flatnonzero(np.diff(detections.scores) > slack)
        require(
            rising.size == 0,
            f"image {image}: scores rise, after position {rising[:1].tolist()}",
            allowance=slack,
            got=detections.scores.tolist(),
        )


@invariant(
    "postprocess.clamping",
    number="P8",
    formula="clamp: 0 ≤ x ≤ W, 0 ≤ y ≤ H; otherwise x0 = W(cx − w/2) < 0 stays negative",
    source="norm §5: no clamp, unless the profile declares one",
    breaks="boxes cut without saying so; a declared clamp that misses a side, or exchanges H and W",
    cases=ANY_CASE,
)
def clamping(component: Build, case: SetCase) -> None:
    """Boxes reach beyond the image as predicted, or end at its edge where the profile declares a clamp.

    A box that is cut has another overlap with its target than the one that was trained. All queries of an
    image predict one box here, so that it does not matter which are selected.
    """
    boxes = np.broadcast_to(case.outputs.boxes[:, :1], case.outputs.boxes.shape)
    same = replace(case, outputs=replace(case.outputs, boxes=boxes))
    if case.configuration.profile.detection.clamp:
        _require_inside(detect(component, same), same)
    else:
        _require_beyond(detect(component, in_unit_images(same)), in_unit_images(same))


def _require_inside(found: tuple[Detections, ...], case: SetCase) -> None:
    for image, (detections, (height, width)) in enumerate(zip(found, case.sizes, strict=True)):
        edge = np.array([width, height, width, height])
        outside = ~((detections.boxes >= 0) & (detections.boxes <= edge)).all(axis=-1)
        require(
            not outside.any(),
            f"image {image} of height {height} and width {width}: boxes leave the image",
            got=detections.boxes[outside].tolist(),
        )


def _require_beyond(found: tuple[Detections, ...], case: SetCase) -> None:
    """Raises `Violation` if a box ends inside an image of one pixel where it is predicted to reach beyond."""
    right = [item.boxes[:1] for item in image_candidates(case)]
    premise(any(((item.upper < 0) | (item.lower > 1)).any() for item in right), "no box reaches beyond its image")
    for image, (detections, item) in enumerate(zip(found, right, strict=True)):
        cut = ((item.upper < 0) & (detections.boxes >= 0)) | ((item.lower > 1) & (detections.boxes <= 1))
        if cut.any():
            place = int(np.flatnonzero(cut.any(axis=-1))[0])
            raise Violation(
                f"image {image} of one pixel: box {place} ends at the edge",
                expected=item.value[0].tolist(),
                got=detections.boxes[place].tolist(),
            )


@invariant(
    "postprocess.k-beyond-all-pairs",
    number="P9",
    formula="k > Q·K: n = Q·K, or refused",
    source="norm §7, P9: as declared; what happens differs between implementations of top-k",
    breaks="a top-k that raises for few queries or classes; a result padded to k",
    applies=lambda profile: profile.detection.takes_k,
    cases=detection_cases(beyond=True),
)
def k_beyond_all_pairs(component: Build, case: SetCase) -> None:
    """Where k exceeds the number of (query, class) pairs, all are returned or the call refused, as declared.

    It happens whenever someone trains one class with fewer queries than the customary 100.
    """
    premise(exceeds_pairs(case), "k is within the number of (query, class) pairs")
    configuration = case.configuration
    if configuration.profile.detection.top_k_overflow == "all":
        found = detect(component, case)
        _require_counts(found, case)
        for image, (detections, item) in enumerate(zip(found, image_candidates(case), strict=True)):
            sorted_scores = -np.sort(-detections.scores)
            require_within(f"image {image}: sorted scores", sorted_scores, item.ranked[: len(sorted_scores)])
        return
    postprocess = component(configuration)
    sizes = declared_sizes(case.sizes, configuration.profile)
    repeats = -(-configuration.top_k // pair_count(case))
    enough = case.outputs.with_decoder_queries(np.tile(np.arange(case.outputs.queries), repeats))
    require_refusal(
        f"k = {configuration.top_k} for {pair_count(case)} (query, class) pairs",
        sound=lambda: postprocess(enough, sizes),
        broken=lambda: postprocess(case.outputs, sizes),
    )


@invariant(
    "postprocess.no-gradient",
    number="P10",
    formula="∂detections/∂outputs is not recorded",
    source="norm §5: no gradient",
    breaks="a missing no_grad: detections kept for an epoch's evaluation keep every graph alive",
    cases=called_cases(ANY_CASE, ("with-gradient",)),
)
def no_gradient(component: Build, case: SetCase) -> None:
    """Detections carry no gradient, though the outputs do.

    Evaluation collects the detections of a whole data set; with graphs attached, memory fills up. Everywhere else
    post-processing is given outputs that record no gradient, as evaluation has them.
    """
    plain = ask(component(in_plain_way(case)), case)
    answer = ask(component(case.configuration), case)
    require_way(answer, plain, case)
    require_no_gradient(answer, "detections")


@invariant(
    "postprocess.inputs-unchanged",
    number="P10",
    formula="outputs and sizes are the same before and after",
    source="norm §7, P10",
    breaks="boxes scaled in place; a softmax written into the logits; keys removed from the dictionary",
    cases=ANY_CASE,
)
def inputs_unchanged(component: Build, case: SetCase) -> None:
    """The call does not change its inputs.

    The same outputs go to the criterion and to the evaluator; boxes scaled in place are wrong for the other.
    """
    require_unchanged(ask(component(case.configuration), case))


@invariant(
    "postprocess.repeatable",
    number="P10",
    formula="detections(outputs) is the same after another call",
    source="norm §5: detections are a function of the outputs and the sizes",
    breaks="state kept between calls, such as the first batch's size; a random choice among ties",
    cases=ANY_CASE,
)
def repeatable(component: Build, case: SetCase) -> None:
    """The same outputs give the same detections again, whatever was asked of the module before.

    A result that cannot be had again cannot be looked into.
    """
    used = component(case.configuration)
    ask(used, replace(case, sizes=case.sizes + 1 + np.arange(2)))
    for image, (before, after) in enumerate(zip(detect(component, case), ask(used, case).value, strict=True)):
        for name in ("scores", "labels", "boxes"):
            numbers = getattr(before, name), getattr(after, name)
            require(
                bool(np.array_equal(*numbers, equal_nan=numbers[0].dtype.kind == "f")),
                f"image {image}: {name} differ between two calls",
                expected=numbers[0].tolist(),
                got=numbers[1].tolist(),
            )
