"""Asking post-processing, and comparing detections with what the outputs allow and with one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy  # whose parts are loaded when they are first used

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.detections.rules import Candidates, candidates, kept_range
from detr_spec.implementation import PostProcess
from detr_spec.profile import DetectionRules, Profile
from detr_spec.strategies import detection_cases
from detr_spec.tolerance import SMALLEST, SPACING
from detr_spec.values import Answer, Booleans, Detections, Floats, Integers
from detr_spec.violation import Violation, premise, require, require_close, require_equal, require_shape

Build = Callable[[Configuration], PostProcess]

ANY_CASE = detection_cases()
SEVERAL_IMAGES = detection_cases(images=(2, 3))

BOX_ROUNDINGS = 4
"""Half a side, a corner, and a product, in any order; a far corner may be reached from the near one."""

PADDED_ROUNDINGS = 10
"""These, and a ratio, a scaled side, what it leaves of the input, and a difference and a quotient, of either."""


def declared_sizes(sizes: Integers, profile: Profile) -> Integers:
    """Sizes [B, 2] as (height, width) in the order in which the profile passes them."""
    return sizes if profile.detection.size_order == "height-width" else sizes[:, ::-1].copy()


def best_class_rule(profile: Profile) -> bool:
    """Whether each query gives one detection, in the order of queries."""
    return not profile.detection.is_ranked


def ranked_rule(profile: Profile) -> bool:
    """Whether the best come first: (query, class) pairs, or queries of their best class."""
    return profile.detection.is_ranked


def pairs_rule(profile: Profile) -> bool:
    """Whether a query may be detected several times, as different classes."""
    return profile.detection.rule == "top-k"


def pair_count(case: SetCase) -> int:
    """How many pairs of query and class can be detections in the image that has fewest: Q·K, or Q, one each."""
    fewest = min(map(case.classes, range(case.outputs.batch)))
    return case.outputs.queries * (fewest if pairs_rule(case.configuration.profile) else 1)


def exceeds_pairs(case: SetCase) -> bool:
    """Whether more detections are asked for than there are such pairs."""
    return case.configuration.profile.detection.takes_k and case.configuration.top_k > pair_count(case)


def premise_accepted(case: SetCase) -> None:
    """Ends the check where the profile says that the case is refused."""
    refused = case.configuration.profile.detection.top_k_overflow == "refuse" and exceeds_pairs(case)
    premise(not refused, "k exceeds the number of (query, class) pairs")


def ask(postprocess: PostProcess, case: SetCase) -> Answer[tuple[Detections, ...]]:
    """The answer to a case; raises `Violation` unless each image has scores [n], labels [n] and boxes [n, 4].

    Ends the check where the profile says that the case is refused.
    """
    premise_accepted(case)
    answer = postprocess(case.outputs, declared_sizes(case.sizes, case.configuration.profile))
    require_equal("a wrong number of images has detections", len(answer.value), len(case.sizes))
    for image, found in enumerate(answer.value):
        require(
            np.ndim(found.scores) == 1,
            f"image {image}: scores have shape {list(np.shape(found.scores))}",
            expected="[n]",
        )
        require_shape(f"image {image}: labels", found.labels, (len(found.scores),))
        require_shape(f"image {image}: boxes", found.boxes, (len(found.scores), 4))
    return answer


def detect(component: Build, case: SetCase) -> tuple[Detections, ...]:
    """The detections of each image, as `ask` gives them, from a component built for the case."""
    return ask(component(case.configuration), case).value


def in_unit_images(case: SetCase) -> SetCase:
    """The case with images of one pixel, where the order and the scale of sizes cannot matter."""
    return replace(case, sizes=np.ones_like(case.sizes))


def image_candidates(case: SetCase) -> list[Candidates]:
    """What can be detected in each image."""
    parts = zip(case.outputs.logits, case.outputs.boxes, case.sizes, strict=True)
    return [
        candidates(logits, boxes, size, case.configuration, case.outputs.phrases_of(image))
        for image, (logits, boxes, size) in enumerate(parts)
    ]


def kept_queries(allowed: Candidates, configuration: Configuration) -> Integers | None:
    """The queries that give a detection, in order, one each at most; None where it is too close to say."""
    surely, maybe = kept_range(allowed, configuration)
    return np.flatnonzero(surely) if (surely == maybe).all() else None


def by_query(
    found: tuple[Detections, ...], allowed: list[Candidates], configuration: Configuration
) -> list[tuple[str, Detections, Candidates]]:
    """The images whose detections can be told by query: a name, detections, their queries' candidates.

    Ends the check where there is none: where a score is at the threshold, or a wrong number of queries was
    dropped, which is another invariant's matter.
    """
    told = []
    for image, (detections, item) in enumerate(zip(found, allowed, strict=True)):
        queries = kept_queries(item, configuration)
        if queries is not None and len(queries) == len(detections.scores):
            told.append((f"image {image}", detections, Candidates(item.scores[queries], item.boxes[queries])))
    premise(bool(told), "no image's detections can be told by query")
    return told


def known_labels(detections: Detections, num_classes: int) -> tuple[Integers, Booleans]:
    """The labels as class indices, and which of them are some class's; the others are given as 0."""
    with np.errstate(invalid="ignore"):
        known = (detections.labels >= 0) & (detections.labels < num_classes) & (detections.labels % 1 == 0)
    return np.where(known, detections.labels, 0).astype(np.int64), known


def within(numbers: Floats, lower: Floats, upper: Floats) -> Booleans:
    """Where numbers lie in their range; NaN never does."""
    with np.errstate(invalid="ignore"):
        return np.asarray((numbers >= lower) & (numbers <= upper))


def largest_pairing(possible: Booleans) -> Integers:
    """Each row's column in a largest one-to-one pairing of a matrix of possible pairs [n, m], or −1; [n]."""
    pairing = scipy.sparse.csgraph.maximum_bipartite_matching(scipy.sparse.csr_array(possible), perm_type="column")
    return np.asarray(pairing, dtype=np.int64)


def box_allowance(dtype: str, *boxes: Floats, roundings: int = BOX_ROUNDINGS) -> Floats:
    """How far apart two answers of one implementation for the same boxes [n, 4] in xyxy may be.

    Both are rounded a few times, from numbers no larger than the larger coordinate on the same axis.
    """
    per_axis = np.abs(np.stack(boxes)).reshape(len(boxes), -1, 2, 2).max(axis=(0, 2))
    slack = 2 * roundings * (SPACING[dtype] * per_axis + SMALLEST[dtype])
    return np.concatenate([slack, slack], axis=-1)


def scaled_allowance(dtype: str, unit: Floats, size: Integers, *boxes: Floats, rules: DetectionRules) -> Floats:
    """How far apart boxes [n, 4] of an image of (height, width) may be from those of one pixel, scaled.

    Where padding is taken from them, they are rounded when they are larger: relative to the longer side of the image.
    """
    if rules.geometry == "resized":
        return box_allowance(dtype, *boxes)
    before = (np.abs(unit) + 1.0) * max(size)
    return box_allowance(dtype, *boxes, before, roundings=PADDED_ROUNDINGS)


def score_allowance(allowed: Candidates, *scores: Floats) -> float:
    """How far apart two answers of one implementation for the same score may be: the widest range of any.

    In proportion more for scores beyond 1, which none is, so that a wrong scale is accused by its own
    invariant.
    """
    largest = max((float(np.max(np.abs(part), initial=1.0)) for part in scores), default=1.0)
    return float((allowed.scores.upper - allowed.scores.lower).max(initial=0.0)) * largest


def require_same_detections(
    what: str, after: Detections, before: Detections, allowed: Candidates, configuration: Configuration
) -> None:
    """Raises `Violation` unless two answers for one image agree, as far as ties leave them no choice.

    One detection a query: position by position, labels where one class alone can be the best. Top-k: the
    scores from the highest to the lowest; and the detections, in any order, where no other pair could be
    among the k best.
    """
    count = len(before.scores)
    require_equal(f"{what}: the number of detections changed", len(after.scores), count)
    margin = score_allowance(allowed, after.scores, before.scores)
    if best_class_rule(configuration.profile):
        require_close(f"{what}: scores", after.scores, before.scores, margin)
        require_close(
            f"{what}: boxes",
            after.boxes,
            before.boxes,
            box_allowance(configuration.dtype, after.boxes, before.boxes) + _padding_allowance(allowed, configuration),
        )
        _require_same_labels(what, after, before, allowed, configuration)
        return
    require_close(f"{what}: sorted scores", -np.sort(-after.scores), -np.sort(-before.scores), margin)
    if _is_certain(allowed, count):
        _require_same_set(what, after, before, allowed, margin, configuration)


def _require_same_labels(
    what: str, after: Detections, before: Detections, allowed: Candidates, configuration: Configuration
) -> None:
    queries = kept_queries(allowed, configuration)
    if queries is None or len(queries) != len(before.labels):
        return
    scores = allowed.scores[queries]
    contenders = (scores.upper >= scores.lower.max(axis=-1, keepdims=True)).sum(axis=-1)
    changed = np.flatnonzero((contenders == 1) & (after.labels != before.labels))
    require(
        changed.size == 0,
        f"{what}: labels changed, at {changed.tolist()}",
        expected=before.labels[changed].tolist(),
        got=after.labels[changed].tolist(),
    )


def _is_certain(allowed: Candidates, count: int) -> bool:
    """Whether the `count` highest scores are those of certain pairs, for all scores in their ranges."""
    scores = allowed.best if allowed.one_each else allowed.scores
    order = np.argsort(-scores.value.ravel(), kind="stable")
    lower, upper = scores.lower.ravel()[order], scores.upper.ravel()[order]
    return bool(lower[:count].min(initial=np.inf) > upper[count:].max(initial=-np.inf))


def _padding_allowance(allowed: Candidates, configuration: Configuration) -> float:
    """What is allowed beside the rounding of boxes where padding is taken from larger ones: a coordinate's range."""
    if configuration.profile.detection.geometry == "resized":
        return 0.0
    return float((allowed.boxes.upper - allowed.boxes.lower).max(initial=0.0))


def _require_same_set(
    what: str, after: Detections, before: Detections, allowed: Candidates, margin: float, configuration: Configuration
) -> None:
    """Raises `Violation` unless the detections can be paired one to one, each with one that agrees."""
    count = len(before.scores)
    rows, columns = (index.ravel() for index in np.indices((count, count)))
    rounding = box_allowance(configuration.dtype, after.boxes, before.boxes).max(initial=0.0)
    slack = rounding + _padding_allowance(allowed, configuration)
    alike = (
        (after.labels[rows] == before.labels[columns])
        & _near(after.scores[rows], before.scores[columns], margin)
        & _near(after.boxes[rows], before.boxes[columns], slack).all(axis=-1)
    ).reshape(count, count)
    lost = np.flatnonzero(largest_pairing(alike) < 0)
    if lost.size:
        raise Violation(
            f"{what}: a detection is new",
            expected=[one_detection(before, place) for place in range(count)],
            got=one_detection(after, int(lost[0])),
            allowance={"score": margin, "box": slack},
        )


def _near(first: Floats, second: Floats, margin: float) -> Booleans:
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(first - second) <= margin) | (first == second))


def one_detection(detections: Detections, place: int) -> dict[str, object]:
    """One detection in plain numbers."""
    return {
        "score": float(detections.scores[place]),
        "label": detections.labels[place].item(),
        "box": detections.boxes[place].tolist(),
    }
