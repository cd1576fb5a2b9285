"""Values as arrays of a framework for one call, and what is seen of them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from detr_conformance.testee import detr_testee
from detr_conformance.testee.detr_testee import Framework
from detr_spec.configuration import Configuration
from detr_spec.values import Floats, Observation, Outputs, Target, part_dtypes

Factory = Callable[[Configuration], Callable[..., Any]]

IMAGE_SIZE = (480, 640)
"""The (height, width) in pixels of images of which a case says none."""


class Inputs(detr_testee.Inputs):
    """The arrays of one call in the layout of its way, with what data sets and models have beside, where it asks."""

    def __init__(self, framework: Framework, configuration: Configuration) -> None:
        own = part_dtypes(configuration.dtype)
        names = {
            **dict.fromkeys(("logits", "masks", "edges"), own.logits),
            **dict.fromkeys(("boxes", "references"), own.boxes),
            "targets": own.targets,
        }
        dtypes = {part: _single(name) for part, name in names.items()}
        super().__init__(framework, configuration.profile, dtypes, configuration.device, configuration.call)

    def numbers(self, name: str, array: Floats, gradient: bool = False) -> Any:
        """An array in the dtype of logits; where asked it records gradients, as far as the call does."""
        return self.array(name, array, self.dtypes["logits"], gradient)

    def layer(self, layer: Outputs, name: str) -> dict[str, Any]:
        """What a layer predicts, beside the hidden states that models may give with it."""
        found = super().layer(layer, name)
        if self.call == "extra-keys":
            found["hidden_states"] = self.numbers(f"hidden states of {name}", layer.boxes, gradient=True)
        return found

    def arrays(self, target: Target, image: int) -> dict[str, Any]:
        """The parts of an image's target, beside what DETR's data sets say of an image and its objects."""
        if self.call != "extra-keys":
            return super().arrays(target, image)
        height, width = IMAGE_SIZE
        return {
            "area": target.boxes[:, 2] * width * target.boxes[:, 3] * height,
            "iscrowd": np.zeros(len(target), dtype=np.int64),
            "image_id": np.array([image]),
            **{name: np.array(IMAGE_SIZE) for name in ("orig_size", "size")},
            **super().arrays(target, image),
        }


def _single(name: str) -> str:
    """The dtype of arrays in one of `UNIFORM_DTYPES`: float32 for autocast, else what it names."""
    return "float32" if name == "autocast" else name


def observation(inputs: Inputs, parts: Mapping[str, Any]) -> Observation:
    """What is seen of the inputs after a call, and of those parts of its answer that are arrays."""
    seen = inputs.seen(parts)
    seen["mutated"], seen["attached"] = tuple(seen["mutated"]), frozenset(seen["attached"])
    seen["shapes"] = {name: tuple(shape) for name, shape in seen["shapes"].items()}
    return Observation(**seen)
