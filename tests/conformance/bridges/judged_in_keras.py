"""Judges DETR in Keras, and slips of it, in the framework that KERAS_BACKEND names; writes verdicts by name as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
import keras_detr
from judging import failure, judged
from keras import ops

from detr_conformance import keras_implementation
from detr_spec.configuration import Configuration

QUESTIONS = ("matcher.optimal-cost", "criterion.classification-value", "gradients.box-l1", "postprocess.scores")


class Detached(keras_detr.Criterion):
    """The classification loss has no gradient."""

    def of_layer(self, outputs: Any, targets: Any) -> Any:
        losses = super().of_layer(outputs, targets)
        return {**losses, "loss_ce": ops.stop_gradient(losses["loss_ce"])}


class Halved(keras_detr.Criterion):
    """The L1 loss is a mean over two."""

    def of_layer(self, outputs: Any, targets: Any) -> Any:
        losses = super().of_layer(outputs, targets)
        return {**losses, "loss_bbox": losses["loss_bbox"] / 2}


def unpadded(c: Configuration) -> Callable[..., Any]:
    """A matcher that takes padding for targets."""
    match = keras_detr.matcher(c)
    return lambda outputs, targets: match(outputs, {**targets, "valid": ops.ones_like(targets["valid"])})


def slipped(kind: type[keras_detr.Criterion]) -> Callable[..., Any]:
    return lambda c: kind(c.columns, keras_detr.matcher(c), c.weight_dict, c.class_loss.eos_coef)


SLIPS: dict[str, Any] = {
    "gradients.classification": {"criterion": slipped(Detached)},
    "criterion.l1-value": {"criterion": slipped(Halved)},
    "matcher.valid-pairs": {"matcher": unpadded},
}


def main() -> None:
    right = {name: judged(name, keras_detr.IMPLEMENTATION, 3) for name in QUESTIONS}
    wrong = {name: keras_implementation(name="slip", profile=keras_detr.PROFILE, **own) for name, own in SLIPS.items()}
    told = {
        "backend": keras.config.backend(),
        "dtypes": sorted({dtype for own in right.values() for dtype in own.dtypes}),
        "right": {name: own.verdict.value for name, own in right.items()},
        "found": {name: failure(name, own, 4) is not None for name, own in wrong.items()},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
