"""Values as tensors for one call to a PyTorch module, and what is seen of them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detr_conformance.bridges.torch_calls import laid_out
from detr_conformance.testee.detr_testee import TorchInputs
from detr_spec.configuration import Configuration
from detr_spec.values import Floats, Observation, Outputs, Target, part_dtypes

Factory = Callable[[Configuration], Callable[..., Any]]

IMAGE_SIZE = (480, 640)
"""The (height, width) in pixels of images of which a case says none."""


def built(factory: Factory, configuration: Configuration) -> Callable[..., Any]:
    """The module, in the configuration's dtype and on its device.

    Random weights are the same each time, and global seeds stay as they are.
    """
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(0)
    try:
        module = factory(configuration)
    finally:
        generator.set_state(state)
    if isinstance(module, nn.Module):
        module.to(dtype=dtype_of(part_dtypes(configuration.dtype).targets), device=configuration.device)
    return module


def devices() -> tuple[str, ...]:
    """The devices that torch can compute on, here and now."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of tensors in one of `UNIFORM_DTYPES`: float32 for autocast, else what it names."""
    dtype = torch.float32 if name == "autocast" else getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


class Inputs(TorchInputs):
    """The tensors of one call in the layout of its way, with what data sets and models have beside, where it asks."""

    def __init__(self, configuration: Configuration) -> None:
        own, device = part_dtypes(configuration.dtype), configuration.device
        names = {
            **dict.fromkeys(("logits", "masks", "edges"), own.logits),
            **dict.fromkeys(("boxes", "references"), own.boxes),
            "targets": own.targets,
        }
        dtypes = {part: dtype_of(name) for part, name in names.items()}
        super().__init__(configuration.profile, dtypes, device, configuration.call)

    def numbers(self, name: str, array: Floats, gradient: bool = False) -> Tensor:
        """A tensor in the dtype of logits; where asked it records gradients, as far as the call does."""
        tensor: Tensor = self.tensor(name, array, self.dtypes["logits"], gradient)
        return tensor

    def laid_out(self, tensor: Tensor, gradient: bool) -> tuple[Tensor, Tensor]:
        """All of the memory in the layout of the call, and the view of it that is the tensor."""
        laid = laid_out(tensor, self.call)
        view = laid.view(laid.memory.requires_grad_(gradient))
        if gradient:
            view.retain_grad()
        return laid.memory, view

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


def observation(inputs: Inputs, parts: Mapping[str, Any]) -> Observation:
    """What is seen of the inputs after a call, and of those parts of its answer that are tensors."""
    seen = inputs.seen(parts)
    seen["mutated"], seen["attached"] = tuple(seen["mutated"]), frozenset(seen["attached"])
    seen["shapes"] = {name: tuple(shape) for name, shape in seen["shapes"].items()}
    return Observation(**seen)
