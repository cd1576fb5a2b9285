"""Strategies for set-prediction cases: outputs of some decoder layers, targets, image sizes, in a named regime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.strategies.configurations import draw_configuration
from detr_spec.strategies.drawn_masks import LARGE_SHARE, masks_fit, with_masks
from detr_spec.strategies.numbers import Drawn, Numbers, Seeded
from detr_spec.strategies.promises import Promised, SetPromise
from detr_spec.strategies.regimes import COCO_CLASSES, REGIMES, SMALLEST_SIDE, Extent, Scene
from detr_spec.values import NARROW_DTYPES, Floats, Outputs, part_dtypes, round_to

ALL_REGIMES = tuple(name for name in REGIMES if name != "undecided")
"""All but the one that is made for metrics, which go by the highest logit of a query."""

DISTINCT_REGIMES = tuple(name for name in ALL_REGIMES if name not in ("tied", "saturated"))
"""Regimes in which the optimum is usually unique."""

FAMILIAR_CLASS_COUNTS = (20, 80, 90, 91)
"""Those of VOC and COCO, at which code may do otherwise than at others."""


def set_cases(
    *,
    regimes: Sequence[str] = ALL_REGIMES,
    layers: tuple[int, int] = (1, 1),
    images: tuple[int, int] = (1, 3),
    queries: tuple[int, int] = (1, 6),
    targets: tuple[int, int] = (0, 5),
    least_classes: int = 1,
) -> Promised[SetCase]:
    """Set-prediction cases of the given regimes; sizes are inclusive ranges for the small cases.

    Large cases have up to 40 queries, 20 targets, and 20 classes or as many as VOC or COCO; others have up to 4
    classes, and the regime "one-class" has one. Where the dialect compares the shapes of boxes, all have a height. An
    image has at most as many targets as queries, except in the regime "more-targets-than-queries". Raises `ValueError`
    for a regime that does not exist.
    """
    unknown = [name for name in regimes if name not in REGIMES]
    if unknown:
        raise ValueError(f"no regime is called {unknown[0]!r}; the regimes are {', '.join(REGIMES)}")

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        capped = (domain.capped(bounds) for bounds in (images, queries, targets))
        return _set_case(domain, tuple(regimes), layers, tuple(capped), least_classes)

    promise = SetPromise(layers[0], images[0], queries[0], targets[0])

    def admits(domain: Domain, drawn: SetCase, left: SetCase) -> bool:
        return promise(domain, drawn, left) and masks_fit(left.outputs, left.targets, domain.profile.masks)

    return Promised(strategy, admits)


@st.composite
def _set_case(
    draw: DrawFn,
    domain: Domain,
    regimes: tuple[str, ...],
    layers: tuple[int, int],
    bounds: tuple[tuple[int, int], ...],
    least_classes: int,
) -> SetCase:
    images, queries, targets = bounds
    no_coco = domain.small or "num_classes" in domain.limits.fixed
    regime = draw(st.sampled_from([name for name in regimes if name != "coco" or not no_coco]))
    large = not domain.small and (regime == "coco" or draw(st.integers(1, LARGE_SHARE)) == LARGE_SHARE)
    factor = 6 if large else 1
    num_classes = draw(_class_counts(regime, least_classes, large))
    configuration = draw_configuration(draw, domain, num_classes=num_classes, decoder_layers=draw(st.integers(*layers)))
    query_count = draw(st.integers(queries[0], queries[1] * factor))
    longest = max(min(targets[1] * (4 if large else 1), query_count), targets[0])
    batch = draw(st.integers(*images))
    extent = Extent(
        layers=configuration.decoder_layers,
        queries=query_count,
        columns=configuration.columns,
        classes=configuration.num_classes,
        lengths=_lengths(draw, regime, batch, (targets[0], longest), query_count),
        dtype=configuration.dtype,
    )
    numbers: Numbers = Drawn(draw)
    if large:
        numbers = Seeded(draw(st.integers(0, 2**32 - 1)), configuration.dtype)
    scene = REGIMES[regime](numbers, extent)
    scene = with_heights(scene, configuration.dtype) if domain.profile.compares_shapes else scene
    scene = rounded(scene, configuration.dtype)
    case = SetCase(
        configuration=configuration,
        regime=regime,
        seed=draw(st.integers(0, 255)),
        outputs=outputs_of(scene),
        targets=scene.targets,
        sizes=1 + 4 * numbers.integers(0, 249, (batch, 2)),
    )
    return with_masks(draw, domain, case) if domain.profile.matches_masks else case


def _class_counts(regime: str, least: int, large: bool) -> SearchStrategy[int]:
    if regime == "one-class":
        return st.just(1)
    if regime == "coco":
        return st.just(COCO_CLASSES)
    return st.integers(least, 20) | st.sampled_from(FAMILIAR_CLASS_COUNTS) if large else st.integers(least, 4)


def _lengths(draw: DrawFn, regime: str, batch: int, bounds: tuple[int, int], queries: int) -> tuple[int, ...]:
    if regime == "more-targets-than-queries":
        bounds = (queries, queries + 3)
    lengths = Drawn(draw).integers(*bounds, (batch,))
    if regime == "more-targets-than-queries":
        lengths[draw(st.integers(0, batch - 1))] = queries + 1
    if regime == "empty":
        lengths[: draw(st.integers(1, batch))] = 0
    return tuple(int(length) for length in lengths)


def with_heights(scene: Scene, dtype: str) -> Scene:
    """The scene with a height in place of none, and of one that the corners of boxes in a narrow dtype may lose."""
    parts = part_dtypes(dtype)

    def high(boxes: Floats, own: str) -> Floats:
        least = SMALLEST_SIDE if own in NARROW_DTYPES else 0.0
        return np.concatenate(
            [boxes[..., :3], np.where(boxes[..., 3:] > least, boxes[..., 3:], SMALLEST_SIDE)], axis=-1
        )

    targets = tuple(replace(target, boxes=high(target.boxes, parts.targets)) for target in scene.targets)
    return Scene(scene.logits, high(scene.boxes, parts.boxes), targets)


def rounded(scene: Scene, dtype: str) -> Scene:
    """The scene in numbers that the dtypes of its parts hold: some of the grid's are too fine for the narrow ones."""
    parts = part_dtypes(dtype)
    targets = tuple(replace(target, boxes=round_to(target.boxes, parts.targets)) for target in scene.targets)
    return Scene(round_to(scene.logits, parts.logits), round_to(scene.boxes, parts.boxes), targets)


def outputs_of(scene: Scene) -> Outputs:
    """What a scene's decoder layers predict, the last with those before it as auxiliary ones."""
    layers = [Outputs(logits, boxes) for logits, boxes in zip(scene.logits, scene.boxes, strict=True)]
    return Outputs(layers[-1].logits, layers[-1].boxes, auxiliary=tuple(layers[:-1]))
