"""Invariants of post-processing: what a detection is, and which outputs it comes from. norm §5, P1–P5."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detr_spec.cases import SetCase
from detr_spec.detections.geometry import mappings, per_corner
from detr_spec.detections.rules import Candidates
from detr_spec.invariant import invariant
from detr_spec.invariants.detections import (
    ANY_CASE,
    SEVERAL_IMAGES,
    Build,
    best_class_rule,
    box_allowance,
    by_query,
    detect,
    image_candidates,
    in_unit_images,
    known_labels,
    largest_pairing,
    one_detection,
    ranked_rule,
    scaled_allowance,
    within,
)
from detr_spec.profile import DetectionRules
from detr_spec.tolerance import SMALLEST, SameNumbers, maximum, minimum
from detr_spec.values import Booleans, Detections, Floats, Integers
from detr_spec.violation import Violation, require, require_close, require_shape, require_within


@invariant(
    "postprocess.lengths",
    number="P1",
    formula="each image: scores [n], labels [n], boxes [n, 4]",
    source="norm §5: per image a dict of scores, labels and boxes",
    breaks="boxes of all queries beside the labels of some; an axis too many; one result for the whole batch",
    cases=ANY_CASE,
)
def lengths(component: Build, case: SetCase) -> None:
    """Each image has scores, labels and boxes of one length, boxes with four numbers.

    Whatever draws or evaluates detections walks the three side by side.
    """
    detect(component, case)


@invariant(
    "postprocess.dtypes",
    number="P1",
    formula="dtype(labels) = int64; scores and boxes are floating-point",
    source="norm §5; the labels are indices, as a maximum or a top-k gives them",
    breaks="labels stacked with scores as float; int32 from another framework; boxes rounded to whole pixels",
    cases=ANY_CASE,
)
def dtypes(component: Build, case: SetCase) -> None:
    """Labels are int64, scores and boxes are floating-point numbers, for no detections too.

    Labels index class names and category ids, and evaluators compare scores by value.
    """
    for image, detections in enumerate(detect(component, case)):
        require(
            detections.labels.dtype == np.int64,
            f"image {image}: labels are no int64",
            expected="int64",
            got=str(detections.labels.dtype),
        )
        for name, numbers in (("scores", detections.scores), ("boxes", detections.boxes)):
            floating = numbers.dtype.kind == "f"
            require(floating, f"image {image}: {name} are no floating-point numbers", got=str(numbers.dtype))


@invariant(
    "postprocess.pixels-of-each-axis",
    number="P2",
    formula=(
        "box(H, W) = (W, H, W, H) · box(1, 1); of a padded input, m · box(1, 1) − padding before the image, m the "
        "longer of H and W"
    ),
    source="norm §5: boxes × (W, H, W, H) of each image's own size, or without the padding of its input",
    breaks=(
        "height and width exchanged; a branch that returns boxes unscaled; W − 1 for W; padding of the wrong axis, "
        "twice as much, or left in; the ratio of the shorter side"
    ),
    cases=ANY_CASE,
)
def pixels_of_each_axis(component: Build, case: SetCase) -> None:
    """In an image of H × W pixels x is W times, and y is H times, what it is in an image of one pixel.

    Where the image was scaled by one ratio and padded, both are max(H, W) times that, less the padding.
    With height and width exchanged a detector looks right on square images, and on no other.
    """
    units, pixels = detect(component, in_unit_images(case)), detect(component, case)
    for image, (unit, scaled, size) in enumerate(zip(units, pixels, case.sizes, strict=True)):
        dtype, rules = case.configuration.dtype, case.configuration.profile.detection
        require_shape(f"image {image}: boxes", scaled.boxes, unit.boxes.shape)
        got, *ways = (_cut(boxes, size, rules) for boxes in (scaled.boxes, *mappings(unit.boxes, size, rules)))
        expected = min(ways, key=lambda way: _distance(way, got))
        slack = scaled_allowance(dtype, unit.boxes, size, got, expected, rules=rules)
        require_close(f"image {image} of height {size[0]} and width {size[1]}: boxes", got, expected, slack)


def _cut(boxes: Floats, size: Integers, rules: DetectionRules) -> Floats:
    """Boxes as far as they are inside an image, where those that reach into its padding may be clamped."""
    return boxes if rules.geometry == "resized" or not rules.clamp else np.clip(boxes, 0.0, per_corner(size))


def _distance(first: Floats, second: Floats) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(np.abs(first - second)).max(initial=0.0))


@invariant(
    "postprocess.doubled-sizes",
    number="P2",
    formula="box(2H, 2W) = 2 · box(H, W), exactly",
    source="norm §5: boxes are proportional to the size; a product with a power of two is not rounded",
    breaks="an offset of a pixel or of padding; boxes rounded to pixels, or cut at a fixed size",
    cases=ANY_CASE,
)
def doubled_sizes(component: Build, case: SetCase) -> None:
    """Doubling every height and width doubles the boxes exactly.

    Evaluation at another resolution then means the same; an offset of a pixel costs small objects their
    overlap.
    """
    once, twice = detect(component, case), detect(component, replace(case, sizes=case.sizes * 2))
    for image, (before, after) in enumerate(zip(once, twice, strict=True)):
        flushed = 2 * SMALLEST[case.configuration.dtype]
        require_close(f"image {image}, doubled: boxes", after.boxes, before.boxes * 2, flushed)


@invariant(
    "postprocess.own-size",
    number="P3",
    formula="boxes of image b depend on (H_b, W_b), and on no other image's size",
    source="norm §5: each image's own size",
    breaks="the first image's size for all; sizes in another order than the images; the padded batch's size",
    cases=SEVERAL_IMAGES,
)
def own_size(component: Build, case: SetCase) -> None:
    """An image's boxes do not change when the other images' sizes do.

    Images of a batch differ in size, and one that borrows another's has every box in the wrong place.
    """
    before = detect(component, case)
    for image in range(len(case.sizes)):
        others = np.arange(len(case.sizes)) != image
        sizes = np.where(others[:, None], case.sizes + 1 + np.arange(2), case.sizes)
        after = detect(component, replace(case, sizes=sizes))
        slack = box_allowance(case.configuration.dtype, before[image].boxes)
        what = f"image {image}, after another image's size changed: boxes"
        require_close(what, after[image].boxes, before[image].boxes, slack)


@invariant(
    "postprocess.foreground-labels",
    number="P4",
    formula="labels ∈ {0, …, K − 1}",
    source="norm §5: the maximum over the first K columns",
    breaks="the no-object class as a label; labels counted from 1; a position in Q·K taken for a class",
    cases=ANY_CASE,
)
def foreground_labels(component: Build, case: SetCase) -> None:
    """Every label is a foreground class, never no-object.

    A query that sees nothing still gives its best foreground class, with a low score; a label K has no name.
    """
    for image, detections in enumerate(detect(component, case)):
        foreign = ~known_labels(detections, case.classes(image))[1]
        require(
            not foreign.any(),
            f"image {image}: labels that are no class",
            expected=f"0 … {case.classes(image) - 1}",
            got=detections.labels[foreign].tolist(),
        )


@invariant(
    "postprocess.scores",
    number="P5",
    formula=(
        "one a query: s_i = max_(c<K) p_i(c); top-k: s_1 ≥ … ≥ s_k are the k greatest p_i(c); of the best queries: "
        "the k greatest s_i"
    ),
    source="norm §5; Carion et al. 2020, section 4; Zhu et al. 2021 for top-k over Q·K",
    breaks="softmax over the queries, or without the no-object column; sigmoid for it; top-k of best classes",
    cases=ANY_CASE,
)
def scores(component: Build, case: SetCase) -> None:
    """Scores are the probabilities that the profile selects: each query's highest, or the k highest of all.

    Thresholds and average precision rest on these numbers.
    """
    found, allowed = detect(component, case), image_candidates(case)
    if best_class_rule(case.configuration.profile):
        for what, detections, item in by_query(found, allowed, case.configuration):
            require_within(f"{what}: scores", detections.scores, item.best)
        return
    for image, (detections, item) in enumerate(zip(found, allowed, strict=True)):
        count = min(len(detections.scores), item.scores.value.size)
        require_within(f"image {image}: sorted scores", -np.sort(-detections.scores)[:count], item.ranked[:count])


@invariant(
    "postprocess.labels",
    number="P5",
    formula="p_i(label_i) = max_(c<K) p_i(c)",
    source="norm §5: labels = the maximum's place in the first K columns",
    breaks="labels counted from 1; the first column dropped instead of the last; the label of another query",
    applies=best_class_rule,
    cases=ANY_CASE,
)
def labels(component: Build, case: SetCase) -> None:
    """Each detection's label is its query's most probable foreground class; any of those that tie.

    A label that is off by one class is a confident wrong answer.
    """
    found = detect(component, case)
    for image, detections, item in by_query(found, image_candidates(case), case.configuration):
        given, known = known_labels(detections, item.scores.shape[1])
        reach = np.take_along_axis(item.scores.upper, given[:, None], axis=-1)[:, 0]
        wrong = np.flatnonzero(known & (reach < item.scores.lower.max(axis=-1)))
        if wrong.size:
            place = int(wrong[0])
            raise Violation(
                f"{image}, detection {place}: another class is more probable",
                expected=int(np.argmax(item.scores.value[place])),
                got=int(given[place]),
                class_scores=item.scores.value[place],
            )


@invariant(
    "postprocess.boxes-of-queries",
    number="P5",
    formula="box_i = (cx − w/2, cy − h/2, cx + w/2, cy + h/2) of query i, inside the image",
    source="norm §5: boxes → xyxy, all queries in query order",
    breaks="boxes left as cxcywh, or as xywh; boxes in another order than their scores",
    applies=best_class_rule,
    cases=ANY_CASE,
)
def boxes_of_queries(component: Build, case: SetCase) -> None:
    """Each detection's box is its own query's, as (x0, y0, x1, y1), as far as it is inside the image.

    It is judged in images of one pixel, and inside them: scaling and clamping have invariants of their own.
    """
    units = in_unit_images(case)
    found = detect(component, units)
    for image, detections, item in by_query(found, image_candidates(units), case.configuration):
        require_within(f"{image} of one pixel: boxes", _inside(detections.boxes), _inside(item.boxes))


def _inside(boxes: SameNumbers) -> SameNumbers:
    """Boxes in xyxy of an image of one pixel, as far as they are inside it."""
    return minimum(maximum(boxes, 0.0), 1.0)


@invariant(
    "postprocess.distinct-pairs",
    number="P5",
    formula=(
        "detection_j = (p_i(c), c, box_i) with distinct (i, c), or where a query gives one with distinct i, and "
        "p_i(c) = max_c′ p_i(c′)"
    ),
    source="Zhu et al. 2021: top-k over the Q·K scores, each with its class and its query's box",
    breaks=(
        "query and class exchanged in a position of Q·K; boxes of the first k queries; repeated pairs; scores sorted, "
        "and boxes or labels not"
    ),
    applies=ranked_rule,
    cases=ANY_CASE,
)
def distinct_pairs(component: Build, case: SetCase) -> None:
    """Each detection is a (query, class) pair of its own: that class's score, and that query's box.

    One query may be detected several times, as different classes, unless each gives one detection, of its best class.
    Any of the pairs that tie may be chosen. It is judged in images of one pixel, and inside them: scaling and clamping
    have invariants of their own.
    """
    units = in_unit_images(case)
    for image, (detections, item) in enumerate(zip(detect(component, units), image_candidates(units), strict=True)):
        given, known = known_labels(detections, item.scores.shape[1])
        possible = _possible_pairs(detections, given, item)
        lost = np.flatnonzero(known & (largest_pairing(possible) < 0))
        if lost.size:
            place = int(lost[0])
            reason = "comes more often than such pairs do" if possible[place].any() else "is no pair's"
            raise Violation(
                f"image {image} of one pixel: the score, label and box of detection {place} {reason}",
                expected={
                    "scores of that class": item.scores.value[:, given[place]],
                    "boxes": item.boxes.value,
                },
                got=one_detection(detections, place),
            )


def _possible_pairs(detections: Detections, given: Integers, allowed: Candidates) -> Booleans:
    """Whether each detection may be a (query, class) pair, or a query of its best class, by its class, score and box.

    Bool [n, Q·K], or [n, Q] where a query gives one.
    """
    queries, classes = allowed.scores.shape
    least, most = allowed.scores.lower[:, given].T, allowed.scores.upper[:, given].T
    boxes, right = _inside(detections.boxes)[:, None], _inside(allowed.boxes)
    agree = within(detections.scores[:, None], least, most) & within(boxes, right.lower, right.upper).all(axis=-1)
    if allowed.one_each:
        return np.asarray(agree & (most >= allowed.best.lower))
    possible = np.zeros((len(given), queries, classes), dtype=bool)
    rows, columns = np.nonzero(agree)
    possible[rows, columns, given[rows]] = True
    return possible.reshape(len(given), queries * classes)
