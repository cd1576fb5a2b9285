"""Values as tensors for one call to a PyTorch module, and what is seen of them afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detr_spec.configuration import Configuration
from detr_spec.values import Booleans, Floats, Integers, Observation, Outputs, Target, Targets

Factory = Callable[[Configuration], Callable[..., Any]]


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
        module.to(dtype=dtype_of(configuration), device=configuration.device)
    return module


def devices() -> tuple[str, ...]:
    """The devices that torch can compute on, here and now."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@contextlib.contextmanager
def precision(configuration: Configuration) -> Iterator[None]:
    """A context in which calls compute as the configuration's dtype says: with autocast to bfloat16, or without."""
    enabled = configuration.dtype == "autocast"
    with torch.autocast(torch.device(configuration.device).type, dtype=torch.bfloat16, enabled=enabled):
        yield


def dtype_of(configuration: Configuration) -> torch.dtype:
    """The torch dtype of a case's tensors: float32 for autocast, else what the configuration names."""
    dtype = torch.float32 if configuration.dtype == "autocast" else getattr(torch, configuration.dtype)
    assert isinstance(dtype, torch.dtype)
    return dtype


def to_numpy(value: Any) -> np.ndarray[Any, Any]:
    """A tensor (or what converts to one) as an array; floating-point numbers as float64."""
    tensor = torch.as_tensor(value).detach().cpu()
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()


class Inputs:
    """The tensors of one call, and what they were, so that changes are noticed."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._tensors: dict[str, tuple[Tensor, Tensor]] = {}
        self._containers: list[tuple[str, Any, Any]] = []

    def numbers(self, name: str, array: Floats, gradient: bool = False) -> Tensor:
        """A contiguous tensor in the configuration's dtype, a leaf that records gradients where asked."""
        dtype, device = dtype_of(self._configuration), self._configuration.device
        tensor = torch.tensor(array, dtype=dtype, device=device).contiguous()
        return self._kept(name, tensor.requires_grad_(gradient))

    def integers(self, name: str, array: Integers) -> Tensor:
        """An int64 tensor."""
        return self._kept(name, torch.tensor(array, dtype=torch.int64, device=self._configuration.device))

    def booleans(self, name: str, array: Booleans) -> Tensor:
        """A bool tensor."""
        return self._kept(name, torch.tensor(array, dtype=torch.bool, device=self._configuration.device))

    @property
    def device(self) -> str:
        """Where the tensors are, as torch names it in full, such as "cuda:0"."""
        return str(torch.empty(0, device=self._configuration.device).device)

    def _kept(self, name: str, tensor: Tensor) -> Tensor:
        self._tensors[name] = (tensor, tensor.detach().clone())
        return tensor

    def container(self, name: str, value: Any) -> Any:
        """A dictionary or list that the call may not change."""
        self._containers.append((name, value, value.copy()))
        return value

    def outputs(self, outputs: Outputs) -> dict[str, Any]:
        """The outputs in the profile's key names; the auxiliary list is there only if there are auxiliary layers."""
        layers = [self._layer(layer, f"layer {place}") for place, layer in enumerate(outputs.layers)]
        main = layers[-1]
        if layers[:-1]:
            key = self._configuration.profile.keys.auxiliary
            main[key] = self.container(key, layers[:-1])
        keys = self._configuration.profile.keys
        for key, apart in ((keys.encoder, outputs.encoder), (keys.denoising, outputs.denoising)):
            if apart is not None:
                main[key] = self._layer(apart, key)
        given: dict[str, Any] = self.container("outputs", main)
        return given

    def _layer(self, layer: Outputs, name: str) -> dict[str, Any]:
        keys = self._configuration.profile.keys
        tensors = {
            keys.logits: self.numbers(f"logits of {name}", layer.logits, gradient=True),
            keys.boxes: self.numbers(f"boxes of {name}", layer.boxes, gradient=True),
        }
        if layer.masks is not None:
            tensors[keys.masks] = self.numbers(f"masks of {name}", layer.masks, gradient=True)
        return tensors

    def targets(self, targets: Targets) -> list[dict[str, Tensor]]:
        """The targets in the profile's key names, one dictionary an image."""
        built = [self._target(target, image) for image, target in enumerate(targets)]
        given: list[dict[str, Tensor]] = self.container("targets", built)
        return given

    def _target(self, target: Target, image: int) -> dict[str, Tensor]:
        keys = self._configuration.profile.keys
        tensors = {
            keys.labels: self.integers(f"labels of image {image}", target.labels),
            keys.target_boxes: self.numbers(f"target boxes of image {image}", target.boxes),
        }
        if target.masks is not None:
            tensors[keys.target_masks] = self.booleans(f"masks of image {image}", target.masks)
        given: dict[str, Tensor] = self.container(f"target {image}", tensors)
        return given

    def mutated(self) -> tuple[str, ...]:
        """The names of the inputs that no longer hold what they held."""
        changed = [name for name, (now, before) in self._tensors.items() if not _same(now, before)]
        return (*changed, *(name for name, now, before in self._containers if not _same_items(now, before)))


def _same(first: Tensor, second: Tensor) -> bool:
    same_kind = first.shape == second.shape and first.dtype == second.dtype
    return same_kind and (first.equal(second) or torch.allclose(first, second, rtol=0, atol=0, equal_nan=True))


def _same_items(now: Any, before: Any) -> bool:
    if isinstance(now, dict):
        return list(now) == list(before) and all(now[key] is before[key] for key in before)
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))


def observation(inputs: Inputs, parts: Mapping[str, Any]) -> Observation:
    """What is seen of the inputs after a call, and of those parts of its answer that are tensors."""
    tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
    return Observation(
        mutated=inputs.mutated(),
        attached=frozenset(name for name, tensor in tensors.items() if tensor.requires_grad),
        differentiable=True,
        dtypes={name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()},
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        devices={name: str(tensor.device) for name, tensor in tensors.items()},
        device=inputs.device,
    )
