"""What an implementation answers to a case, as named arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from detr_spec.boxes import xyxy_to_cxcywh
from detr_spec.cases import BoxCase, CostCase, FeatureCase, HiddenCase, ImagesCase, RankCase, SetCase
from detr_spec.implementation import Assignment, BoxOperations, Decoder, Heads, Model
from detr_spec.invariants.detections import declared_sizes
from detr_spec.values import Floats, Losses, Matching, Outputs, round_to

Named = Iterator[tuple[str, Any]]


def answers_of(component: str, build: Callable[..., Any], case: Any) -> dict[str, Floats]:
    """All numbers of an implementation's answer to a case, float64, by the name of the part of the answer.

    build: the guarded factory of the component, whose exceptions pass through.
    """
    named = _ANSWERS[component](build(case.configuration), case)
    return {name: np.array(numbers, dtype=np.float64) for name, numbers in named}


def _boxes(operations: BoxOperations, case: BoxCase) -> Named:
    count = min(len(case.first), len(case.second))
    arguments = {
        "cxcywh_to_xyxy": (round_to(xyxy_to_cxcywh(case.first), case.configuration.dtype),),
        "xyxy_to_cxcywh": (case.first,),
        "iou": (case.first, case.second),
        "giou": (case.first, case.second),
        "elementwise_giou": (case.first[:count], case.second[:count]),
    }
    for name, given in arguments.items():
        operation = getattr(operations, name)
        if operation is not None:
            yield name, operation(*given).value


def _pairs(name: str, matching: Matching) -> Named:
    yield f"{name} queries", matching.queries
    yield f"{name} targets", matching.targets


def _assignment(solver: Assignment, case: CostCase) -> Named:
    for number, cost in enumerate(case.costs):
        yield from _pairs(f"problem {number}", solver.solve(cost).value)
    if solver.solve_batch is not None:
        for number, matching in enumerate(solver.solve_batch(case.costs).value):
            yield from _pairs(f"batch, problem {number}", matching)


def _matcher(matcher: Any, case: SetCase) -> Named:
    for image, matching in enumerate(matcher(case.outputs, case.targets).value):
        yield from _pairs(f"image {image}", matching)


def _losses(losses: Losses, prefix: str = "") -> Named:
    for key, value in sorted(losses.values.items()):
        yield f"{prefix}{key}", value
    for layer, matchings in enumerate(losses.matchings or ()):
        for image, matching in enumerate(matchings):
            yield from _pairs(f"{prefix}layer {layer}, image {image}", matching)


def _criterion(criterion: Any, case: SetCase) -> Named:
    yield from _losses(criterion(case.outputs, case.targets).value)


def _gradients(gradients: Any, case: SetCase) -> Named:
    found = gradients(case.outputs, case.targets, case.configuration.weight_dict).value
    yield from _losses(found.losses)
    yield "total", found.total
    for number, layer in enumerate(found.layers):
        for name, gradient in (("logits", layer.logits), ("boxes", layer.boxes)):
            if gradient is not None:
                yield f"gradient of layer {number}, {name}", gradient


def _distributed(distributed: Any, case: RankCase) -> Named:
    for rank, losses in enumerate(distributed(case.batches).value):
        yield from _losses(losses, f"rank {rank}, ")


def _postprocess(postprocess: Any, case: SetCase) -> Named:
    sizes = declared_sizes(case.sizes, case.configuration.profile)
    for image, found in enumerate(postprocess(case.outputs, sizes).value):
        for name in ("scores", "labels", "boxes"):
            yield f"image {image}, {name}", getattr(found, name)


def _outputs(outputs: Outputs) -> Named:
    for number, layer in enumerate(outputs.layers):
        yield f"layer {number}, logits", layer.logits
        yield f"layer {number}, boxes", layer.boxes


def _heads(heads: Heads, case: HiddenCase) -> Named:
    yield from _outputs(heads.forward(case.hidden).value)


def _decoder(decoder: Decoder, case: FeatureCase) -> Named:
    yield "stacked", decoder.stacked(case.features).value
    if decoder.last is not None:
        yield "last", decoder.last(case.features).value


def _model(model: Model, case: ImagesCase) -> Named:
    yield from _outputs(model.call(case.images).value)


_ANSWERS: dict[str, Callable[[Any, Any], Named]] = {
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
