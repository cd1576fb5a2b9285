"""Bridge to Paddle: functions or layers on its dynamic tensors, which lie in memory as the way of a call says.

Nothing of Paddle is loaded before the first implementation is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from detr_conformance.bridges.framework import BridgedFramework, Mode
from detr_conformance.bridges.framework_bridge import framework_implementation
from detr_conformance.bridges.inputs import Factory
from detr_conformance.bridges.layouts import laid_out, refilled
from detr_spec.calls import CALLS
from detr_spec.configuration import Configuration
from detr_spec.values import part_dtypes

LACKING = ("expanded", "inference", "read-only")
"""The ways of a call that Paddle has no means for: `expand` copies, and every tensor can be written to."""


class PaddleFramework(BridgedFramework):
    """Paddle in this process, without graphs that are compiled before they are run."""

    arrays = Tensor
    calls = tuple(call for call in CALLS if call not in LACKING)
    differentiable = True

    def devices(self) -> tuple[str, ...]:
        """The CPU, and a GPU where Paddle has one."""
        return ("cpu", "gpu") if paddle.device.cuda.device_count() else ("cpu",)

    def array(self, numbers: Any, dtype: str, device: str) -> Tensor:
        """A tensor of the numbers."""
        return paddle.to_tensor(np.asarray(numbers), dtype=dtype, place=device)

    def to_numpy(self, value: Any) -> np.ndarray[Any, Any]:
        """A tensor, or a number, as NumPy's; a tensor of bfloat16 as float32."""
        if not isinstance(value, Tensor):
            return np.asarray(value)
        narrow = value.dtype == paddle.bfloat16
        array: np.ndarray[Any, Any] = (value.astype("float32") if narrow else value).numpy()
        return array

    def device(self, array: Tensor) -> str:
        """Where a tensor is, such as gpu:0."""
        return str(array.place).removeprefix("Place(").removesuffix(")")

    def carries_gradient(self, array: Tensor) -> bool:
        """Whether a tensor in an answer carries a gradient."""
        return not array.stop_gradient

    def laid_out(self, array: Tensor, gradient: bool, call: str) -> tuple[Tensor, Tensor]:
        """All of the memory in the layout of the call, and the view of it that is the tensor."""
        gradient = gradient and paddle.is_grad_enabled()
        laid = laid_out(array, call)
        laid.memory.stop_gradient = not gradient
        view = laid.view(laid.memory)
        if gradient:
            view.retain_grads()
        return laid.memory, view

    def remembered(self, memory: Tensor) -> np.ndarray[Any, Any]:
        """A copy of the numbers."""
        return self.to_numpy(memory)

    def unchanged(self, memory: Tensor, before: np.ndarray[Any, Any]) -> bool:
        """Whether memory holds what it held, NaN being the same as NaN."""
        now = self.to_numpy(memory)
        return now.dtype == before.dtype and np.array_equal(now, before, equal_nan=now.dtype.kind == "f")

    def watched(self, matcher: Any, record: Callable[..., None]) -> Callable[[], None]:
        """Has calls of a layer recorded."""
        if not isinstance(matcher, nn.Layer):
            return lambda: None
        hook = matcher.register_forward_post_hook(
            lambda _, given, named, answer: record(given, named, answer), with_kwargs=True
        )
        end: Callable[[], None] = hook.remove
        return end

    def recorded(self, function: Callable[..., Any], given: Any, arrays: Any) -> tuple[Any, Any]:
        """The losses with their graph, and the backward pass, which gives None for tensors that are not connected."""
        losses = function(*given)

        def pull(weights: Mapping[str, float]) -> tuple[Any, Any]:
            total = sum(losses[key] * weight for key, weight in weights.items() if key in losses)
            if isinstance(total, Tensor) and not total.stop_gradient:
                total.backward()
            return total, [array.grad for array in arrays]

        return losses, pull

    def built(self, factory: Factory, configuration: Configuration) -> Callable[..., Any]:
        """The layer, in the configuration's dtype and on its device.

        Random weights are the same each time, and global seeds stay as they are.
        """
        paddle.disable_static()
        state = paddle.get_rng_state()
        paddle.seed(0)
        try:
            layer = factory(configuration)
        finally:
            paddle.set_rng_state(state)
        if isinstance(layer, nn.Layer):
            layer.to(device=configuration.device, dtype=part_dtypes(configuration.dtype).targets)
        return layer

    @contextlib.contextmanager
    def calling(self, module: Callable[..., Any], configuration: Configuration, usual: Mode) -> Iterator[None]:
        """A context in which a layer is called in the configuration's way, from the mode that is usual for it."""
        mode = usual.of(configuration.call)
        paddle.disable_static()
        if isinstance(module, nn.Layer):
            (module.train if mode.training else module.eval)()
        with paddle.set_grad_enabled(mode.gradient):
            yield

    def flipped(self, array: Tensor, axis: int) -> Tensor:
        """A new tensor with the numbers in reverse along an axis."""
        return array.flip(axis)

    def refilled(self, arrays: Sequence[Tensor], axes: tuple[int, ...]) -> contextlib.AbstractContextManager[None]:
        """A context in which the memory of the tensors holds other numbers: these in reverse along axes."""
        return refilled(arrays, axes, paddle.no_grad)


paddle_implementation = partial(framework_implementation, PaddleFramework())
"""An implementation from layers of Paddle, or functions on its tensors; any of them may be missing.

The parts are as `torch_implementation` has them. A criterion's own matching is read from its `matcher`, where that is a
layer.
"""
