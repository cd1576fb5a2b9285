"""PyTorch as a framework: how tensors lie in memory, what they record, which mode is on, and how modules are built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance.bridges.framework import BridgedFramework, Mode
from detr_conformance.bridges.inputs import Factory
from detr_conformance.testee.detr_testee import Torch
from detr_spec.calls import CALLS
from detr_spec.configuration import Configuration
from detr_spec.values import part_dtypes

IN_GAPS = -1
"""What integers are in memory that belongs to no input; floating-point numbers are NaN, and booleans true there."""

_GRADIENT = {"with-gradient": True, "no-grad": False, "inference": False, "validation": False}
_TRAINING = {"training": True, "evaluation": False, "validation": False}


class TorchFramework(Torch, BridgedFramework):
    """PyTorch in this process: every way of a call but that with arrays that cannot be written to."""

    calls = tuple(call for call in CALLS if call != "read-only")

    def built(self, factory: Factory, configuration: Configuration) -> Callable[..., Any]:
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
            name = part_dtypes(configuration.dtype).targets
            dtype = torch.float32 if name == "autocast" else getattr(torch, name)
            module.to(dtype=dtype, device=configuration.device)
        return module

    def laid_out(self, array: Tensor, gradient: bool, call: str) -> tuple[Tensor, Tensor]:
        """All of the memory in the layout of the call, and the view of it that is the tensor."""
        gradient = gradient and torch.is_grad_enabled()
        laid = laid_out(array, call)
        view = laid.view(laid.memory.requires_grad_(gradient))
        if gradient:
            view.retain_grad()
        return laid.memory, view

    @contextlib.contextmanager
    def calling(self, module: Callable[..., Any], configuration: Configuration, usual: Mode) -> Iterator[None]:
        """A context in which a module is called in the configuration's way, from the mode that is usual for it."""
        call = configuration.call
        if isinstance(module, nn.Module):
            module.train(_TRAINING.get(call, usual.training))
        gradient = _GRADIENT.get(call, usual.gradient)
        with torch.inference_mode(call == "inference"), torch.set_grad_enabled(gradient), precision(configuration):
            yield

    def flipped(self, array: Tensor, axis: int) -> Tensor:
        """A new tensor with the numbers in reverse along an axis."""
        return array.flip(axis)

    @contextlib.contextmanager
    def refilled(self, arrays: Sequence[Tensor], axes: tuple[int, ...]) -> Iterator[None]:
        """A context in which the memory of the tensors holds other numbers: these in reverse along axes.

        A tensor is turned along those of the axes that it has.
        """
        tensors = [(tensor, tensor.detach().clone()) for tensor in arrays]
        with torch.no_grad():
            for tensor, own in tensors:
                tensor.copy_(own.flip([axis for axis in axes if axis < own.ndim]))
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, own in tensors:
                    tensor.copy_(own)


TORCH = TorchFramework()


@contextlib.contextmanager
def precision(configuration: Configuration) -> Iterator[None]:
    """A context in which calls compute as the configuration's dtype says: with autocast to bfloat16, or without."""
    enabled = configuration.dtype == "autocast"
    with torch.autocast(torch.device(configuration.device).type, dtype=torch.bfloat16, enabled=enabled):
        yield


@dataclass(frozen=True)
class Laid:
    """A tensor as a way of calling lays it out: all of the memory, and the view of it that holds the tensor."""

    memory: Tensor
    view: Callable[[Tensor], Tensor]


def laid_out(tensor: Tensor, call: str) -> Laid:
    """The numbers of a tensor in the layout of a way of calling; the tensor itself in the others."""
    shape = tuple(tensor.shape)
    if call == "expanded":
        kept = tuple(slice(0, 1) if _repeats(tensor, axis) else slice(None) for axis in range(tensor.ndim))
        return Laid(tensor[kept].clone(), lambda memory: memory.expand(shape))
    if call == "transposed":
        axes = tuple(reversed(range(tensor.ndim)))
        return Laid(tensor.permute(axes).contiguous(), lambda memory: memory.permute(axes))
    if call == "sliced":
        return _within(tensor, (3, *shape), lambda memory: memory[1])
    if call == "gaps":
        odd = (slice(1, None, 2),) * tensor.ndim
        return _within(tensor, tuple(2 * size + 1 for size in shape), lambda memory: memory[odd])
    return Laid(tensor, lambda memory: memory)


def _repeats(tensor: Tensor, axis: int) -> bool:
    """Whether there are several slices along the axis, and all are the same."""
    first = tensor.narrow(axis, 0, min(1, tensor.shape[axis]))
    return tensor.shape[axis] > 1 and bool(torch.eq(tensor, first).all())


def _within(tensor: Tensor, shape: tuple[int, ...], view: Callable[[Tensor], Tensor]) -> Laid:
    memory = tensor.new_full(shape, torch.nan if tensor.is_floating_point() else IN_GAPS)
    view(memory).copy_(tensor)
    return Laid(memory, view)
