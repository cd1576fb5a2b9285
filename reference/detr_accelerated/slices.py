"""The gradient of layers that are slices of one tensor, written there once.

Models make the logits of all layers at once, [L, B, Q, C], and hand out slices. Autograd's own way back is to fill a
tensor of that size with zeros for each slice, to copy the slice's gradient into it, and to add all of these. Where the
gradients of the slices lie side by side in one piece of memory, that memory is the sum already.

The graph stays as it is: whoever watches a slice, retains its gradient or uses it elsewhere meets an ordinary tensor.
Only what the nodes of the slices are handed, after all hooks of tensors, says where in the memory it lies; and what
they make of it remains a note of places, until all of them are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

SLICING = ("SelectBackward0", "SliceBackward0", "UnbindBackward0")
"""The nodes of what takes slices of a tensor."""

Interval = tuple[int, int]


def places_in_memory(layers: Sequence[Tensor]) -> list[int] | None:
    """Return which place each layer has in memory that they fill together, or None where they do not."""
    first = layers[0]
    memory, size = first.untyped_storage().data_ptr(), first.numel()
    if size == 0 or any(
        layer.untyped_storage().data_ptr() != memory or not layer.is_contiguous() or layer.numel() != size
        for layer in layers
    ):
        return None
    starts = [int(layer.storage_offset()) for layer in layers]
    places = [(start - min(starts)) // size for start in starts]
    return places if sorted(starts) == [min(starts) + size * place for place in range(len(layers))] else None


class SliceGradients:
    """The gradients of the layers of one batch, which may lie side by side."""

    def __init__(self, layers: Sequence[Tensor]) -> None:
        self._layers, self._together = list(layers), _Together()
        nodes = {layer.grad_fn for layer in layers if layer.grad_fn is not None}
        whole = all(layer.grad_fn for layer in layers) and places_in_memory(layers) is not None
        self._nodes = nodes if whole else set()
        slicing = _slicing_nodes(self._nodes)
        self._together.nodes = len(slicing)
        for node in slicing:
            node.register_prehook(self._together.hand_over)

    def shared(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients of the layers as a backward pass is to return them.

        gradients: of each layer. Where they fill one piece of memory, and nobody else is to have any of them, the nodes
        of the slices will know.
        """
        places = places_in_memory(gradients) if self._nodes else None
        if places is None:
            return list(gradients)
        if not self._unwatched:
            return [gradient.clone() for gradient in gradients]
        self._together.are_in(_memory(gradients))
        return list(gradients)

    @property
    def _unwatched(self) -> bool:
        """Whether the nodes of all slices run, and no hook sees a gradient that it could keep."""
        return all(map(torch._C._will_engine_execute_node, self._nodes)) and not any(
            layer.retains_grad or layer._backward_hooks for layer in self._layers
        )


class _Together:
    """The memory in which the gradients lie, from when they are known until each of the nodes has been told."""

    def __init__(self) -> None:
        self.nodes = self._waiting = 0
        self._memory: Tensor | None = None

    def are_in(self, memory: Tensor) -> None:
        """Keep the memory, [n], in which the gradients lie."""
        self._memory, self._waiting = memory, self.nodes

    def hand_over(self, gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """Return the gradients that a node is given, those in the memory with the place where they lie."""
        if self._memory is None:
            return gradients
        told = tuple(_placed(gradient, self._memory) for gradient in gradients)
        self._waiting -= 1
        if self._waiting == 0:
            self._memory = None
        return told


class _Places(Tensor):
    """A tensor that is 0 but where it is covered, and there has the numbers of the memory, of which it is a window.

    memory: [n]. start: where the window begins, of shape `shape`. covered: places of the memory, in order.
    """

    _memory: Tensor
    _start: int
    _covered: tuple[Interval, ...]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, memory: Tensor, shape: Sequence[int], start: int, covered: tuple[Interval, ...]) -> _Places:
        found: _Places = Tensor._make_wrapper_subclass(cls, tuple(shape), dtype=memory.dtype, device=memory.device)
        return found

    def __init__(self, memory: Tensor, shape: Sequence[int], start: int, covered: tuple[Interval, ...]) -> None:  # noqa: ARG002
        self._memory, self._start, self._covered = memory, start, covered

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kept = KEPT.get(func)
        found = None if kept is None else kept(*args, **(kwargs or {}))
        if found is not None:
            return found
        args, kwargs = tree_map_only(_Places, _Places.plain, (args, kwargs or {}))
        return func(*args, **kwargs)

    def plain(self) -> Tensor:
        """Return the tensor as an ordinary one."""
        window = (self._start, self._start + self.numel())
        if self._covered == (window,):
            return self._memory[slice(*window)].view(self.shape)
        found = self._memory.new_zeros(self.numel())
        for first, last in self._covered:
            found[first - self._start : last - self._start] = self._memory[first:last]
        return found.view(self.shape)

    def with_all(self, covered: Sequence[Interval]) -> Tensor | None:
        """Return the window with the covered places of others, too; None where two of them cover the same."""
        intervals = sorted((*self._covered, *covered))
        joined: list[Interval] = intervals[:1]
        for (_, end), (first, last) in pairwise(intervals):
            if first < end:
                return None
            joined[-1:] = [(joined[-1][0], last)] if first == end else [joined[-1], (first, last)]
        found = _Places(self._memory, self.shape, self._start, tuple(joined))
        return found.plain() if joined == [(0, len(self._memory))] and self.numel() == len(self._memory) else found

    def within(self, shape: Sequence[int], dim: int, index: int) -> Tensor | None:
        """Return the tensor of that shape in which this one begins at an index, and the rest is 0."""
        dim, index = dim % len(shape), index % shape[dim]
        start = self._start - index * prod(shape[dim + 1 :])
        if prod(shape[:dim]) != 1 or start < 0 or start + prod(shape) > len(self._memory):
            return None
        return _Places(self._memory, shape, start, self._covered).with_all(())


def _select_backward(gradient: _Places, shape: Sequence[int], dim: int, index: int) -> Tensor | None:
    return gradient.within(shape, dim, index)


def _slice_backward(gradient: _Places, shape: Sequence[int], dim: int, start: int, _: int, step: int) -> Tensor | None:
    return gradient.within(shape, dim, start) if step == 1 and gradient.numel() else None


def _stack(gradients: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    placed = [gradient for gradient in gradients if isinstance(gradient, _Places)]
    if dim != 0 or len(placed) < len(gradients):
        return None
    first = placed[0]
    starts = [gradient._start for gradient in placed]
    if starts != [starts[0] + place * first.numel() for place in range(len(placed))]:
        return None
    # What watches the tensor that was unbound meets an ordinary one, as do all who watch a slice.
    stop = starts[0] + len(placed) * first.numel()
    return first._memory[starts[0] : stop].view(len(placed), *first.shape)


def _add(one: Tensor, other: Tensor, *, alpha: float = 1) -> Tensor | None:
    if not (isinstance(one, _Places) and isinstance(other, _Places)) or alpha != 1:
        return None
    same = one._memory is other._memory and (one.shape, one._start) == (other.shape, other._start)
    return one.with_all(other._covered) if same else None


KEPT: dict[Any, Callable[..., Tensor | None]] = {
    torch.ops.aten.select_backward.default: _select_backward,
    torch.ops.aten.slice_backward.default: _slice_backward,
    torch.ops.aten.stack.default: _stack,
    torch.ops.aten.add.Tensor: _add,
}
"""What need not look at numbers to say where they are; None where it needs to."""


def _placed(gradient: Tensor | None, memory: Tensor) -> Tensor | None:
    """Return a gradient as the place where it lies in the memory, or as it is where it does not."""
    if type(gradient) is not Tensor or not gradient.is_contiguous():
        return gradient
    if gradient.untyped_storage().data_ptr() != memory.untyped_storage().data_ptr():
        return gradient
    start = int(gradient.storage_offset() - memory.storage_offset())
    return _Places(memory, gradient.shape, start, ((start, start + gradient.numel()),))


def _slicing_nodes(nodes: set[Any]) -> list[Any]:
    """Return those nodes that take slices, and those whose slices they take in turn."""
    found: dict[Any, None] = {}
    for start in nodes:
        node = start
        while node is not None and node.name() in SLICING and node not in found:
            found[node] = None
            node = node.next_functions[0][0]
    return list(found)


def _memory(gradients: Sequence[Tensor]) -> Tensor:
    """Return all the memory that the gradients fill, as one row."""
    start = min(gradient.storage_offset() for gradient in gradients)
    size = len(gradients) * gradients[0].numel()
    return gradients[0].as_strided((size,), (1,), start)
