"""Strategies for large sizes: counts and indices that do not fit in one byte, totals that narrow floats cannot count.

Each case is large in the dimensions that are cheap together: many targets, images and classes with few queries, or many
queries with few images. All numbers come from a seed. Small domains have ordinary cases, as the invariants speak of any
size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import BoxCase, CostCase, RankCase, SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Domain
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.detections import detection_cases
from detr_spec.strategies.drawn_masks import blank_masks, given_points, with_blank_masks
from detr_spec.strategies.masks import mask_cases
from detr_spec.strategies.numbers import Seeded
from detr_spec.strategies.promises import Kind, Promised
from detr_spec.strategies.ranks import rank_cases
from detr_spec.strategies.regimes import CONFIDENT_LOGIT, Extent, Scene, general, order
from detr_spec.strategies.sets import outputs_of, rounded, set_cases
from detr_spec.strategies.simple import box_cases, cost_cases
from detr_spec.values import Floats, Integers, Outputs, Target, Targets, part_dtypes, round_to

BYTE = 256
MOST = 300
"""Lengths of a large dimension are from one more than a byte counts, to this."""

IMAGES = 17
TARGETS_OF_OTHERS = 112
"""With 257 targets in one image these make 2 049 in all, which float16 rounds to 2 048."""

WIDEST = {"float16": 43_000}
"""The widest images in float16, whose largest number is 65 504; a corner lies at up to 1.5 times the width."""

WIDEST_OF_OTHERS = 70_000
WIDER_THAN_INT16 = 2**15
MASK_SIDES = (192, 200)
"""Of masks with more pixels than an integer of two bytes counts, and with sums that float16 still holds."""

FEW_LAYERS = 12
"""The decoder layers of which the last auxiliary one has a number of two digits."""


def large_set_cases() -> Promised[SetCase]:
    """Sets with more than 256 targets in an image, or as many queries; the numbers beyond 256 are matched.

    "many-targets": 17 images of 2 to 4 queries and 260 to 300 classes; the first has 257 to 300 targets, of which the
    last are predicted, in classes beyond 256, and the total is odd and greater than 2 048. "many-queries": one image,
    whose last queries predict its targets. "many-pairs": one image of as many queries as targets or about so, half of
    which are predicted, so that the others are contested.
    """
    return _large(_set_case, set_cases(targets=(1, 5)))


def many_layer_cases() -> Promised[SetCase]:
    """Sets of 12 or 13 decoder layers, with few queries and targets."""
    return set_cases(layers=(FEW_LAYERS, FEW_LAYERS + 1), images=(1, 2), queries=(1, 3), targets=(1, 3))


def large_detection_cases() -> Promised[SetCase]:
    """One image of 257 to 300 queries and as many classes, 32 769 to 70 000 pixels wide and high, less in float16."""
    return _large(_detection_case, detection_cases())


def large_mask_cases() -> Promised[SetCase]:
    """One image of 1 or 2 queries and at most as many targets, whose masks have some 35 000 pixels of the object."""
    return _large(_mask_case, mask_cases(targets=(1, 5)))


def large_box_cases() -> Promised[BoxCase]:
    """Lists of 257 to 300 boxes, and of 1 to 3, or of 65 to 80."""
    return _large(_box_case, box_cases())


def large_cost_cases() -> Promised[CostCase]:
    """Cost matrices of 257 to 300 rows or columns, the last of which are cheapest, by 2 to 6, or by as many."""
    return _large(_cost_case, cost_cases())


def large_rank_cases() -> Promised[RankCase]:
    """Two ranks of one image each, with 1 025 targets and more: twice as many as the mean, and odd together."""
    return _large(_rank_case, rank_cases(loads=("uneven",)))


def _large(draw_case: Callable[[DrawFn, Domain], Kind], ordinary: Promised[Kind]) -> Promised[Kind]:
    """Large cases that promise what the ordinary ones do, of whatever size."""
    large = st.composite(draw_case)

    def strategy(domain: Domain) -> SearchStrategy[Kind]:
        return ordinary(domain) if domain.small or domain.most is not None else large(domain)

    return Promised(strategy, ordinary.admits)


def _many(draw: DrawFn) -> int:
    return draw(st.integers(BYTE + 1, MOST))


def _numbers(draw: DrawFn, dtype: str) -> Seeded:
    return Seeded(draw(st.integers(0, 2**32 - 1)), dtype)


def _set_case(draw: DrawFn, domain: Domain) -> SetCase:
    return draw(st.sampled_from((_many_targets, _many_queries, _many_pairs)))(draw, domain)


def _many_targets(draw: DrawFn, domain: Domain) -> SetCase:
    queries, classes = draw(st.integers(2, 4)), BYTE + draw(st.integers(4, MOST - BYTE))
    lengths = (BYTE + 1 + 2 * draw(st.integers(0, 20)), *(TARGETS_OF_OTHERS,) * (IMAGES - 1))
    configuration = draw_configuration(draw, domain, num_classes=classes)
    extent = Extent(1, queries, configuration.columns, configuration.num_classes, lengths, configuration.dtype)
    scene = general(_numbers(draw, configuration.dtype), extent)
    first, *others = scene.targets
    labels = first.labels.copy()
    labels[-queries:] = (configuration.num_classes - 1 - np.arange(queries)) % configuration.num_classes
    targets = (Target(labels, first.boxes), *others)
    return _case(draw, configuration, "many-targets", _predicting(scene, targets, np.arange(queries)))


def _many_queries(draw: DrawFn, domain: Domain) -> SetCase:
    queries, classes, length = _many(draw), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    configuration = draw_configuration(draw, domain, num_classes=classes)
    extent = Extent(1, queries, configuration.columns, configuration.num_classes, (length,), configuration.dtype)
    scene = general(_numbers(draw, configuration.dtype), extent)
    last = queries - 1 - np.arange(length)
    return _case(draw, configuration, "many-queries", _predicting(scene, scene.targets, last))


def _many_pairs(draw: DrawFn, domain: Domain) -> SetCase:
    queries, targets, classes = _many(draw), _many(draw), draw(st.integers(2, 8))
    configuration = draw_configuration(draw, domain, num_classes=classes)
    extent = Extent(1, queries, configuration.columns, configuration.num_classes, (targets,), configuration.dtype)
    numbers = _numbers(draw, configuration.dtype)
    scene = general(numbers, extent)
    predicting = order(numbers, queries)[: min(queries, targets) // 2]
    return _case(draw, configuration, "many-pairs", _predicting(scene, scene.targets, predicting))


def _predicting(scene: Scene, targets: tuple[Target, ...], queries: Integers) -> Scene:
    """The scene with these targets, the first image's last ones predicted by the queries, confidently."""
    logits, boxes = scene.logits.copy(), scene.boxes.copy()
    predicted = targets[0].take(np.arange(len(targets[0]))[-len(queries) :])
    logits[:, 0, queries] = -CONFIDENT_LOGIT
    logits[:, 0, queries, predicted.labels] = CONFIDENT_LOGIT
    boxes[:, 0, queries] = predicted.boxes
    return Scene(logits, boxes, targets)


def _case(draw: DrawFn, configuration: Configuration, regime: str, scene: Scene) -> SetCase:
    outputs, targets = _with_blank_masks(rounded(scene, configuration.dtype), configuration)
    return SetCase(
        configuration=replace(configuration, masks=configuration.profile.matches_masks),
        regime=regime,
        seed=draw(st.integers(0, 255)),
        outputs=outputs,
        targets=targets,
        sizes=np.ones((len(scene.targets), 2), dtype=np.int64),
    )


def _with_blank_masks(scene: Scene, configuration: Configuration) -> tuple[Outputs, Targets]:
    """A scene's outputs and targets, with masks that tell no query from another where the dialect needs masks."""
    profile = configuration.profile
    outputs = outputs_of(scene).each(masks=lambda layer: blank_masks(profile, *layer.logits.shape[:2]))
    return outputs, tuple(with_blank_masks(target, profile) for target in scene.targets)


def _mask_case(draw: DrawFn, domain: Domain) -> SetCase:
    queries = draw(st.integers(1, 2))
    length, classes = draw(st.integers(1, queries)), draw(st.integers(1, 3))
    height, width = draw(st.integers(*MASK_SIDES)), draw(st.integers(*MASK_SIDES))
    sample = given_points(draw, domain)
    configuration = replace(draw_configuration(draw, domain, num_classes=classes), sample=sample)
    numbers = _numbers(draw, configuration.dtype)
    extent = Extent(1, queries, configuration.columns, configuration.num_classes, (length,), configuration.dtype)
    case = _case(draw, configuration, "many-pixels", general(numbers, extent))
    masks = numbers.reals(-6.0, 6.0, (1, queries, height // 4, width // 4))
    target = replace(case.targets[0], masks=numbers.integers(0, 15, (length, height, width)) > 0)
    return replace(
        case,
        configuration=replace(case.configuration, masks=True),
        outputs=replace(case.outputs, masks=masks),
        targets=(target,),
        sizes=np.array([[height, width]], dtype=np.int64),
    )


def _detection_case(draw: DrawFn, domain: Domain) -> SetCase:
    configuration = draw_configuration(draw, domain, num_classes=_many(draw))
    if "top_k" not in configuration.fixed:
        configuration = replace(configuration, top_k=_many(draw))
    extent = Extent(1, _many(draw), configuration.columns, configuration.num_classes, (1,), configuration.dtype)
    numbers = _numbers(draw, configuration.dtype)
    scene = _with_sure_queries(numbers, general(numbers, extent), configuration.num_classes)
    widest = WIDEST.get(part_dtypes(configuration.dtype).boxes, WIDEST_OF_OTHERS)
    sizes = [draw(st.integers(WIDER_THAN_INT16 + 1, widest)) for _ in range(2)]
    return replace(_case(draw, configuration, "large-image", scene), sizes=np.array([sizes]))


def _with_sure_queries(numbers: Seeded, scene: Scene, classes: int) -> Scene:
    """The scene with every other query sure of one class, so that some scores exceed a threshold."""
    logits, sure = scene.logits.copy(), np.arange(0, scene.logits.shape[2], 2)
    logits[:, :, sure] = -CONFIDENT_LOGIT
    logits[0, 0, sure, (classes - 1 - sure) % classes] = numbers.reals(0.0, 6.0, (len(sure),))
    return replace(scene, logits=logits)


def _box_case(draw: DrawFn, domain: Domain) -> BoxCase:
    configuration = draw_configuration(draw, domain, num_classes=1)
    numbers, fewer = _numbers(draw, configuration.dtype), draw(st.integers(1, 3) | st.integers(65, 80))

    def boxes(count: int) -> Floats:
        near = numbers.reals(-0.5, 1.0, (count, 2))
        return round_to(np.concatenate([near, near + numbers.reals(1 / 64, 1.0, (count, 2))], 1), configuration.dtype)

    return BoxCase(
        configuration=configuration,
        regime="long-list",
        seed=draw(st.integers(0, 255)),
        first=boxes(_many(draw)),
        second=boxes(fewer),
    )


def _cost_case(draw: DrawFn, domain: Domain) -> CostCase:
    configuration = draw_configuration(draw, domain, num_classes=1)
    many, fewer = _many(draw), draw(st.integers(2, 6) | st.integers(BYTE + 1, MOST))
    cost = _numbers(draw, configuration.dtype).reals(0.0, 8.0, (many, fewer))
    cost[-fewer:] -= 8.0
    cost = round_to(cost.T if draw(st.booleans()) else cost, configuration.dtype)
    return CostCase(configuration=configuration, regime="long-side", seed=draw(st.integers(0, 255)), costs=(cost,))


def _rank_case(draw: DrawFn, domain: Domain) -> RankCase:
    configuration = draw_configuration(draw, domain, num_classes=2)
    lengths = 1025 + 2 * draw(st.integers(0, 20)), 1026 + 2 * draw(st.integers(0, 20))
    extent = Extent(
        1, draw(st.integers(1, 3)), configuration.columns, configuration.num_classes, lengths, configuration.dtype
    )
    scene = rounded(general(_numbers(draw, configuration.dtype), extent), configuration.dtype)
    whole, targets = _with_blank_masks(scene, configuration)
    return RankCase(
        configuration=replace(configuration, masks=configuration.profile.matches_masks),
        regime="many-targets",
        seed=draw(st.integers(0, 255)),
        batches=tuple((whole.take(images=[image]), (target,)) for image, target in enumerate(targets)),
    )
