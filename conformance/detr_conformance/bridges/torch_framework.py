"""PyTorch as a framework: how tensors lie in memory, what they record, which mode is on, and how modules are built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance.bridges.framework import BridgedFramework, Mode
from detr_conformance.bridges.inputs import Factory
from detr_conformance.bridges.layouts import laid_out, refilled
from detr_conformance.testee.detr_testee import Torch
from detr_spec.calls import CALLS
from detr_spec.configuration import Configuration
from detr_spec.values import part_dtypes


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
        mode, inference = usual.of(configuration.call), configuration.call == "inference"
        if isinstance(module, nn.Module):
            module.train(mode.training)
        with torch.inference_mode(inference), torch.set_grad_enabled(mode.gradient), precision(configuration):
            yield

    def flipped(self, array: Tensor, axis: int) -> Tensor:
        """A new tensor with the numbers in reverse along an axis."""
        return array.flip(axis)

    def refilled(self, arrays: Sequence[Tensor], axes: tuple[int, ...]) -> contextlib.AbstractContextManager[None]:
        """A context in which the memory of the tensors holds other numbers: these in reverse along axes."""
        return refilled(arrays, axes, torch.no_grad)


TORCH = TorchFramework()


@contextlib.contextmanager
def precision(configuration: Configuration) -> Iterator[None]:
    """A context in which calls compute as the configuration's dtype says: with autocast to bfloat16, or without."""
    enabled = configuration.dtype == "autocast"
    with torch.autocast(torch.device(configuration.device).type, dtype=torch.bfloat16, enabled=enabled):
        yield
