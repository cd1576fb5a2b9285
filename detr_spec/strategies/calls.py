"""Strategies for the ways of a call: cases of another strategy, to be called in one of several ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.calls import LABEL_CALLS, PLAIN
from detr_spec.cases import BoxCase, Case, CostCase, FeatureCase, HiddenCase, ImagesCase, SetCase
from detr_spec.invariant import Domain
from detr_spec.strategies.masks import fit_masks
from detr_spec.strategies.promises import CROWDED_REGIMES, Kind, Promised
from detr_spec.values import Floats, Integers, Outputs, Target

HIGH_LABEL = 128
"""The first label that int8 does not hold; with it as many as a case may have fit in uint8."""

IMPROBABLE_LOGIT = -120.0
DECISIVE_WEIGHT = 64.0


def called_cases(cases: Promised[Kind], ways: Sequence[str]) -> Promised[Kind]:
    """Cases of a strategy, each to be called in one of the ways that the limits allow; in the plain one if none is.

    In the way "expanded" all images of a batch are the first one, as are all boxes and all rows of a cost matrix. With
    labels in a dtype of their own, classes decide, two images have as many targets, and labels go beyond 128.
    """

    def strategy(domain: Domain) -> SearchStrategy[Kind]:
        return _called_case(cases(domain), [way for way in ways if way in domain.limits.calls] or [PLAIN])

    def admits(domain: Domain, drawn: Kind, left: Kind) -> bool:
        return cases.admits(domain, drawn, left) and (left.configuration.call != "expanded" or _repeats(left))

    return Promised(strategy, admits)


def _repeats(case: Case) -> bool:
    """Whether all images of a set have the same targets; what else is repeated stays so, whatever is left out."""
    return not isinstance(case, SetCase) or len(set(map(_contents, case.targets))) == 1


def _contents(target: Target) -> tuple[tuple[tuple[int, ...], bytes] | None, ...]:
    arrays = target.labels, target.boxes, target.masks
    return tuple(None if array is None else (array.shape, array.tobytes()) for array in arrays)


@st.composite
def _called_case(draw: DrawFn, cases: SearchStrategy[Kind], ways: list[str]) -> Kind:
    way, drawn = draw(st.sampled_from(ways)), draw(cases)
    case: Case = _REPEATED[type(drawn)](drawn) if way == "expanded" else drawn
    if way in LABEL_CALLS and isinstance(case, SetCase):
        case = _told_by_labels(case)
    return cast(Kind, replace(case, configuration=replace(case.configuration, call=way)))


def _first(count: int) -> Integers:
    return np.zeros(count, dtype=np.int64)


def _same_images(case: SetCase) -> SetCase:
    count = len(case.targets)
    targets, sizes = case.targets[:1] * count, case.sizes[_first(count)]
    outputs = fit_masks(case.outputs.take(images=_first(count)), targets)
    return replace(case, outputs=outputs, targets=targets, sizes=sizes)


def _told_by_labels(case: SetCase) -> SetCase:
    """The case with 128 classes more, which nothing predicts: before the others in every other image, else after them.

    Classes decide whom a query is matched to. The first two images have as many targets, so that those of one can stand
    for those of the other.
    """
    count = case.configuration.num_classes
    late = np.arange(len(case.targets))[::-1] % 2 == 0

    def widened(outputs: Outputs) -> Outputs:
        classes, no_object = np.split(outputs.logits, [count], axis=-1)
        others = np.full((*classes.shape[:2], HIGH_LABEL), IMPROBABLE_LOGIT)
        low, high = np.concatenate([classes, others], axis=-1), np.concatenate([others, classes], axis=-1)
        logits = np.concatenate([np.where(late[:, None, None], high, low), no_object], axis=-1)
        return replace(outputs, logits=logits, auxiliary=tuple(map(widened, outputs.auxiliary)))

    shortest = min(map(len, case.targets[:2]))
    lengths = [shortest if place < 2 and case.regime not in CROWDED_REGIMES else None for place in range(len(late))]
    targets = tuple(
        replace(target, labels=target.labels + HIGH_LABEL * shifted).take(np.arange(len(target))[:length])
        for target, shifted, length in zip(case.targets, late, lengths, strict=True)
    )
    weight = case.configuration.cost_class if "cost_class" in case.configuration.fixed else DECISIVE_WEIGHT
    configuration = replace(case.configuration, num_classes=count + HIGH_LABEL, cost_class=weight)
    return replace(case, configuration=configuration, outputs=widened(case.outputs), targets=targets)


def _same_boxes(case: BoxCase) -> BoxCase:
    first, second = (boxes[_first(len(boxes))] for boxes in (case.first, case.second))
    return replace(case, first=first, second=second)


def _same_rows(case: CostCase) -> CostCase:
    def repeated(cost: Floats) -> Floats:
        return cost[_first(len(cost))] if len(cost) else cost

    return replace(case, costs=tuple(map(repeated, case.costs)))


def _same_maps(case: FeatureCase) -> FeatureCase:
    whole, same = case.features, _first(len(case.features.features))
    features, positions, padding = whole.features[same], whole.positions[same], whole.padding[same]
    return replace(case, features=replace(whole, features=features, positions=positions, padding=padding))


_REPEATED: dict[type, Callable[[Any], Case]] = {
    SetCase: _same_images,
    BoxCase: _same_boxes,
    CostCase: _same_rows,
    HiddenCase: lambda case: replace(case, hidden=case.hidden[:, _first(case.hidden.shape[1])]),
    FeatureCase: _same_maps,
    ImagesCase: lambda case: replace(case, images=tuple(image[_first(len(image))] for image in case.images)),
}
"""How the numbers of a case come to be repeated, by its kind."""
