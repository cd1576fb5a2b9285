"""Memory of the size of the logits, by far the largest tensors: how much at once, and in which pieces it is read.

What is computed from the logits has memory of its own, and becomes their gradient in the end. On the CPU it is
read in blocks of a few problems, so that one stays in the cache; on other devices all at once, for fewer launches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .slices import places_in_memory

BLOCK_ELEMENTS = 2**19

MEMORY_BYTES = 2**25 - 2**12
"""Memory of larger pieces glibc gives back to the system when they are freed, and that of many small ones, too; to have
it from there anew, page by page, takes longer than to compute what lies in it."""


class LikeLogits(NamedTuple):
    """A number for each logit of P = L·B problems: parts [k·B, Q, C], each of k layers."""

    parts: tuple[Tensor, ...]
    images: int

    @property
    def layers(self) -> list[Tensor]:
        """The numbers of each layer, [B, Q, C], as views."""
        return [layer for part in self.parts for layer in torch.split(part, self.images)]

    def with_parts(self, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Return part after part, with the values [P, ...] of its problems."""
        sizes = [len(part) for part in self.parts]
        return zip(self.parts, *(torch.split(value, sizes) for value in values), strict=True)

    def blocks(self, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Return block after block, of a few problems on the CPU, with the values [P, ...] of its problems."""
        problems = self._problems_of_block
        for part in self.with_parts(*values):
            yield from zip(*(torch.split(value, problems) for value in part), strict=True)

    @property
    def _problems_of_block(self) -> int:
        part = self.parts[0]
        if part.device.type != "cpu":
            return max(len(part), 1)
        return max(BLOCK_ELEMENTS // max(part[0].numel(), 1), 1)


def memory_like(layers: Sequence[Tensor]) -> LikeLogits:
    """Return memory for a number of each logit, whose values mean nothing yet; layers: [B, Q, C] each.

    Layers that are slices of one tensor have theirs in one piece, in the same order.
    """
    first = layers[0]
    images = len(first)
    together = len(layers)
    places = places_in_memory(layers)
    if places is not None:
        return LikeLogits(_parts_at(places, first.new_empty(len(layers) * images, *first.shape[1:]), images), images)
    if first.device.type == "cpu":
        together = max(MEMORY_BYTES // max(first.numel() * first.element_size(), 1), 1)
    counts = [min(together, len(layers) - start) for start in range(0, len(layers), together)]
    return LikeLogits(tuple(first.new_empty(count * images, *first.shape[1:]) for count in counts), images)


def _parts_at(places: Sequence[int], memory: Tensor, images: int) -> tuple[Tensor, ...]:
    """Return the memory of layers at these places, in as few parts as have it side by side."""
    starts = [at for at in range(len(places)) if at == 0 or places[at] != places[at - 1] + 1]
    runs = [places[start:stop] for start, stop in pairwise([*starts, len(places)])]
    return tuple(memory[run[0] * images : (run[-1] + 1) * images] for run in runs)


def copy_of(layers: Sequence[Tensor]) -> LikeLogits:
    """Return a copy of the logits [B, Q, C] of layers."""
    memory = memory_like(layers)
    for logits, written in zip(layers, memory.layers, strict=True):
        written.copy_(logits)
    return memory
