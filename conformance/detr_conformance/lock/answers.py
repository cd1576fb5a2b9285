"""What an implementation answers to a case, as named arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from detr_spec.boxes import xyxy_to_cxcywh
from detr_spec.cases import BoxCase, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.implementation import Assignment, BoxOperations, Decoder, Heads, Model
from detr_spec.invariants.detections import declared_sizes
from detr_spec.reported import weight_table
from detr_spec.values import Detections, Floats, Losses, LossGradients, Matching, Outputs, round_to


def answers_of(component: str, build: Callable[..., Any], case: Any) -> dict[str, Floats]:
    """All numbers of an implementation's answer to a case, float64, by the path to them, such as layers[0].logits.

    build: the guarded factory of the component, whose exceptions pass through.
    """
    answer = _ANSWERS[component](build(case.configuration), case)
    return {path: np.array(numbers, dtype=np.float64) for path, numbers in numbers_of(answer)}


def numbers_of(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers and arrays in a value, each with its path: fields, entries and items; what is None has none."""
    if is_dataclass(value):
        for field in fields(value):
            yield from numbers_of(getattr(value, field.name), f"{path}.{field.name}" if path else field.name)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from numbers_of(value[key], f"{path}[{key}]" if path else key)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from numbers_of(item, f"{path}[{place}]")
    elif value is not None and not isinstance(value, bool):
        yield path, value


def _boxes(operations: BoxOperations, case: BoxCase) -> dict[str, Floats]:
    count = min(len(case.first), len(case.second))
    arguments = {
        "cxcywh_to_xyxy": (round_to(xyxy_to_cxcywh(case.first), case.configuration.dtype),),
        "xyxy_to_cxcywh": (case.first,),
        "iou": (case.first, case.second),
        "giou": (case.first, case.second),
        "elementwise_giou": (case.first[:count], case.second[:count]),
    }
    provided = {name: getattr(operations, name) for name in arguments}
    return {name: call(*arguments[name]).value for name, call in provided.items() if call is not None}


def _assignment(solver: Assignment, case: CostCase) -> dict[str, tuple[Matching, ...]]:
    alone = {"problem": tuple(solver.solve(cost).value for cost in case.costs)}
    return alone if solver.solve_batch is None else {**alone, "batch": solver.solve_batch(case.costs).value}


def _matcher(matcher: Any, case: SetCase) -> dict[str, tuple[Matching, ...]]:
    return {"image": matcher(case.outputs, case.targets).value}


def _criterion(criterion: Any, case: SetCase) -> Losses:
    losses: Losses = criterion(case.outputs, case.targets).value
    return losses


def _gradients(gradients: Any, case: SetCase) -> LossGradients:
    table = weight_table(case.configuration, case.configuration.term_weights)
    found: LossGradients = gradients(case.outputs, case.targets, table).value
    return found


def _distributed(distributed: Any, case: RankCase) -> dict[str, tuple[Losses, ...]]:
    return {"rank": distributed(case.batches).value}


def _postprocess(postprocess: Any, case: SetCase) -> dict[str, tuple[Detections, ...]]:
    return {"image": postprocess(case.outputs, declared_sizes(case.sizes, case.configuration.profile)).value}


def _heads(heads: Heads, case: HiddenCase) -> Outputs:
    return heads.forward(case.hidden).value


def _decoder(decoder: Decoder, case: FeatureCase) -> dict[str, Floats | None]:
    last = None if decoder.last is None else decoder.last(case.features).value
    return {"stacked": decoder.stacked(case.features).value, "last": last}


def _model(model: Model, case: ImagesCase) -> Outputs:
    return model.call(case.images).value


_ANSWERS: dict[str, Callable[[Any, Any], Any]] = {
    "boxes": _boxes,
    "assignment": _assignment,
    "matcher": _matcher,
    "criterion": _criterion,
    "masks": _criterion,
    "gradients": _gradients,
    "distributed": _distributed,
    "postprocess": _postprocess,
    "heads": _heads,
    "decoder": _decoder,
    "model": _model,
}
