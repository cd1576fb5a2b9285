"""Strategy for mixed precision: set-prediction cases whose parts are in several dtypes, where these are declared."""

from __future__ import annotations

from dataclasses import replace

from hypothesis.strategies import SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.strategies.promises import Promised
from detr_spec.values import MIXED_DTYPES, Floats, Outputs, round_to

SHRINKING = 1.0 - 2.0**-12
"""What float32 boxes are multiplied by, so that no narrower dtype holds any of their numbers but 0."""


def mixed_cases(cases: Promised[SetCase]) -> Promised[SetCase]:
    """Cases of a strategy in the mixed dtypes that are declared, and in the others where none is.

    Boxes in float32 have numbers that the narrow dtype does not hold.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return cases(domain.in_dtypes(domain.limits.mixed_dtypes or domain.limits.dtypes)).map(_with_fine_boxes)

    return Promised(strategy, cases.admits)


def _with_fine_boxes(case: SetCase) -> SetCase:
    parts = MIXED_DTYPES.get(case.configuration.dtype)
    if parts is None:
        return case
    targets = tuple(replace(target, boxes=_fine(target.boxes, parts.targets)) for target in case.targets)
    return replace(case, outputs=_with_boxes(case.outputs, parts.boxes), targets=targets)


def _with_boxes(outputs: Outputs, dtype: str) -> Outputs:
    auxiliary = tuple(_with_boxes(layer, dtype) for layer in outputs.auxiliary)
    return replace(outputs, boxes=_fine(outputs.boxes, dtype), auxiliary=auxiliary)


def _fine(boxes: Floats, dtype: str) -> Floats:
    return round_to(boxes * SHRINKING, dtype) if dtype == "float32" else boxes
