"""Values as tensors for one call to a PyTorch module, and what is seen of them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detr_conformance.bridges.torch_calls import laid_out
from detr_conformance.testee.detr_testee import joined
from detr_spec.configuration import Configuration
from detr_spec.values import Booleans, Floats, Integers, Observation, Outputs, Target, Targets, part_dtypes

Factory = Callable[[Configuration], Callable[..., Any]]

IMAGE_SIZE = (480, 640)
"""The (height, width) in pixels of images of which a case says none."""

OF_IMAGES = ("image_id", "orig_size", "size")
"""What data sets say of an image, and not of each of its objects."""

LABEL_DTYPES = {"int32-labels": torch.int32, "uint8-labels": torch.uint8}
"""The dtypes of labels in the ways of calling that differ in these."""


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


def to_numpy(value: Any) -> np.ndarray[Any, Any]:
    """A tensor (or what converts to one) as an array; floating-point numbers as float64."""
    tensor = torch.as_tensor(value).detach().cpu()
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()


class Inputs:
    """The tensors of one call, and what they were, so that changes are noticed."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._dtypes = part_dtypes(configuration.dtype)
        self._tensors: dict[str, tuple[Tensor, Tensor]] = {}
        self._containers: list[tuple[str, Any, Any]] = []
        self.counts: list[int] = []

    def numbers(self, name: str, array: Floats, gradient: bool = False, dtype: str | None = None) -> Tensor:
        """A tensor in a dtype, or that of logits; where asked it records gradients, as far as the call does."""
        return self._kept(name, array, dtype_of(dtype or self._dtypes.logits), gradient and torch.is_grad_enabled())

    def integers(self, name: str, array: Integers) -> Tensor:
        """A tensor of integers."""
        return self._kept(name, array, torch.int64)

    def booleans(self, name: str, array: Booleans) -> Tensor:
        """A bool tensor."""
        return self._kept(name, array, torch.bool)

    @property
    def call(self) -> str:
        """The way of the call."""
        return self._configuration.call

    @property
    def device(self) -> str:
        """Where the tensors are, as torch names it in full, such as "cuda:0"."""
        return str(torch.empty(0, device=self._configuration.device).device)

    def _kept(self, name: str, array: np.ndarray[Any, Any], dtype: torch.dtype, gradient: bool = False) -> Tensor:
        """A tensor in the layout of the configuration's call, whose memory is looked at afterwards."""
        numbers = torch.tensor(array, dtype=dtype, device=self._configuration.device)
        laid = laid_out(numbers, self._configuration.call)
        tensor = laid.view(laid.memory.requires_grad_(gradient))
        if gradient:
            tensor.retain_grad()
        self._tensors[name] = (laid.memory, laid.memory.detach().clone())
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
            keys.boxes: self.numbers(
                f"boxes of {name}", layer.boxes, not self._has("frozen-boxes"), self._dtypes.boxes
            ),
        }
        if layer.masks is not None:
            tensors[keys.masks] = self.numbers(f"masks of {name}", layer.masks, gradient=True)
        if self._has("extra-keys"):
            tensors["hidden_states"] = self.numbers(f"hidden states of {name}", layer.boxes, gradient=True)
        return tensors

    def targets(self, targets: Targets) -> Any:
        """The targets in the profile's key names: one dictionary an image, or one of arrays for all."""
        keys, rules = self._configuration.profile.keys, self._configuration.profile.targets
        self.counts = [len(target) if target.valid is None else int(target.valid.sum()) for target in targets]
        arrays = [self._arrays(target, image) for image, target in enumerate(targets)]
        if rules.layout == "listed":
            each = (self._target(own, f" of image {image}") for image, own in enumerate(arrays))
            return self.container("targets", [self.container(f"target {n}", own) for n, own in enumerate(each)])
        whole = joined(arrays, (*OF_IMAGES, "target_size"), rules.layout == "padded")
        counts = self.container(keys.target_counts, list(self.counts))
        return self.container("targets", {**self._target(whole, ""), keys.target_counts: counts})

    def _target(self, arrays: Mapping[str, Any], of: str) -> dict[str, Tensor]:
        keys, dtypes = self._configuration.profile.keys, {"f": dtype_of(self._dtypes.targets), "b": torch.bool}
        labels = self._configuration.profile.targets.label_dtype
        integers = {"labels": LABEL_DTYPES.get(self.call, getattr(torch, labels))}
        return {
            getattr(keys, name, name): self._kept(
                f"{name.replace('_', ' ')}{of}", array, dtypes.get(array.dtype.kind, integers.get(name, torch.int64))
            )
            for name, array in arrays.items()
        }

    def _arrays(self, target: Target, image: int) -> dict[str, Any]:
        """The parts of an image's target, by fields of `Keys`, or by names that data sets have for what is none."""
        parts = {
            "labels": target.labels,
            "target_boxes": target.boxes,
            "target_size": target.size,
            "target_masks": target.masks,
            "target_valid": target.valid,
        }
        others = self._of_data_set(target, image) if self._has("extra-keys") else {}
        return others | {name: array for name, array in parts.items() if array is not None}

    def _of_data_set(self, target: Target, image: int) -> dict[str, Any]:
        """What DETR's data sets say of an image and its objects beside labels, boxes and masks."""
        height, width = IMAGE_SIZE
        return {
            "area": target.boxes[:, 2] * width * target.boxes[:, 3] * height,
            "iscrowd": np.zeros(len(target), dtype=np.int64),
            "image_id": np.array([image]),
            **{name: np.array(IMAGE_SIZE) for name in ("orig_size", "size")},
        }

    def _has(self, call: str) -> bool:
        return self._configuration.call == call

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
        call=inputs.call,
    )
