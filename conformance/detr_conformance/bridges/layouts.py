"""The memory of tensors of PyTorch and of Paddle, which have these methods in common, in a way of calling."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

IN_GAPS = -1
"""What integers are in memory that belongs to no input; floating-point numbers are NaN, and booleans true there."""


@dataclass(frozen=True)
class Laid:
    """A tensor as a way of calling lays it out: all of the memory, and the view of it that holds the tensor."""

    memory: Any
    view: Callable[[Any], Any]


def laid_out(tensor: Any, call: str) -> Laid:
    """The numbers of a tensor in the layout of a way of calling; the tensor itself in the others."""
    shape = tuple(tensor.shape)
    if call == "expanded":
        kept = tuple(slice(0, 1) if _repeats(tensor, axis) else slice(None) for axis in range(tensor.ndim))
        return Laid(tensor[kept].clone(), lambda memory: memory.expand(shape))
    if call == "transposed":
        axes = tuple(reversed(range(tensor.ndim)))
        return Laid(tensor.permute(axes).contiguous(), lambda memory: memory.permute(axes))
    if call == "sliced":
        return _within(tensor, (3, *shape), (1,))
    if call == "gaps":
        return _within(tensor, tuple(2 * size + 1 for size in shape), (slice(1, None, 2),) * tensor.ndim)
    return Laid(tensor, lambda memory: memory)


def _repeats(tensor: Any, axis: int) -> bool:
    """Whether there are several slices along the axis, and all are the same."""
    return tensor.shape[axis] > 1 and bool((tensor == tensor.narrow(axis, 0, 1)).all())


def _within(tensor: Any, shape: tuple[int, ...], index: tuple[Any, ...]) -> Laid:
    memory = tensor.new_full(shape, math.nan if tensor.is_floating_point() else IN_GAPS)
    memory[index] = tensor
    return Laid(memory, lambda memory: memory[index])


@contextlib.contextmanager
def refilled(
    tensors: Sequence[Any],
    axes: tuple[int, ...],
    without_gradients: Callable[[], contextlib.AbstractContextManager[Any]],
) -> Iterator[None]:
    """A context in which the memory of the tensors holds other numbers: these in reverse along axes.

    A tensor is turned along those of the axes that it has.
    """
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    with without_gradients():
        for tensor, own in before:
            tensor[...] = own.flip([axis for axis in axes if axis < own.ndim])
    try:
        yield
    finally:
        with without_gradients():
            for tensor, own in before:
                tensor[...] = own
