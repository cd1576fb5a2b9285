"""The predictions of all decoder layers, as P = L·B matching problems, and what matcher and criterion share of them.

The logits are by far the largest tensors. They are read in blocks: on the CPU of a few images each, so that what is
computed from a block stays in the cache, and without a copy; on other devices all at once, for fewer launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from detr_reference.batch import Outputs
from detr_reference.boxes import upcast_half

BLOCK_ELEMENTS = 2**20
PART_ELEMENTS = 2**15
"""Of an intermediate result: many of them fit in the cache, and in memory that is not fetched anew from the system."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of L layers for B images, without gradient; problem p is layer p // B and image p % B.

    logits: blocks [b, Q, C] of the problems in order. boxes: [P, Q, 4] as cxcywh. Half precision is upcast.
    """

    logits: tuple[Tensor, ...]
    boxes: Tensor

    @cached_property
    def last_logit(self) -> Tensor:
        """The logit of the last column, [P, Q]; in the softmax dialect that of no-object."""
        return self.by_block(lambda logits: logits[..., -1])

    @cached_property
    def highest_but_last(self) -> Tensor:
        """The highest logit of all columns but the last, [P, Q], and -inf if there is one column."""
        if self.logits[0].shape[2] == 1:
            return torch.full_like(self.last_logit, -torch.inf)
        return self.by_block(lambda logits: logits[..., :-1].amax(dim=-1))

    @cached_property
    def highest(self) -> Tensor:
        """The highest logit, [P, Q]; NaN if any is."""
        return torch.maximum(self.highest_but_last, self.last_logit)

    @cached_property
    def exponential_sum(self) -> Tensor:
        """The sum of exp(z - highest) over the columns, [P, Q]: softmax(z) is exp(z - highest) / exponential_sum."""
        # One block of memory for all: to get fresh memory from the system takes longer than the arithmetic.
        scratch = torch.empty_like(self.logits[0])

        def sums(logits: Tensor, highest: Tensor) -> Tensor:
            return torch.sub(logits, highest[..., None], out=scratch[: len(logits)]).exp_().sum(dim=-1)

        return self.by_block(sums, self.highest)

    def at_labels(self, labels: Tensor) -> Tensor:
        """Return the logits [P, T, Q] of each query at each label, int64 [P, T]."""
        found = self.logits[0].new_empty(*labels.shape, self.logits[0].shape[1])
        sizes = [len(block) for block in self.logits]
        for block, *parts in zip(self.logits, torch.split(labels, sizes), torch.split(found, sizes), strict=True):
            columns, written = parts[0][..., None].expand_as(parts[1]), parts[1]
            torch.gather(block.transpose(1, 2), 1, columns, out=written)
        return found

    def by_block(self, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Return function(logits, *values) [P, ...], called for each block of logits and of the values [P, ...]."""
        sizes = [len(block) for block in self.logits]
        parts = [torch.split(value, sizes) for value in values]
        return torch.cat([function(*arguments) for arguments in zip(self.logits, *parts, strict=True)])


def in_parts(elements: int, *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Return the values [P, ...] as views, on the CPU of a few problems at a time.

    elements: how many numbers an intermediate result has of each problem.
    """
    problems = len(values[0])
    if values[0].device.type == "cpu":
        problems = PART_ELEMENTS // max(elements, 1)
    return zip(*(torch.split(value, max(problems, 1)) for value in values), strict=True)


def stack_predictions(layers: Sequence[Outputs]) -> Predictions:
    """Return the predictions of layers of one shape.

    layers: dicts of `pred_logits` [B, Q, C] and `pred_boxes` [B, Q, 4].
    """
    logits = [upcast_half(layer["pred_logits"].detach()) for layer in layers]
    boxes = torch.cat([upcast_half(layer["pred_boxes"].detach()) for layer in layers])
    return Predictions(tuple(blocks(logits)), boxes)


def blocks(layers: Sequence[Tensor]) -> list[Tensor]:
    """Return the problems of layers [B, Q, C] in blocks [b, Q, C]: views on the CPU, else one block that holds all."""
    if layers[0].device.type != "cpu":
        return [torch.cat(list(layers))]
    _, queries, columns = layers[0].shape
    images = max(BLOCK_ELEMENTS // (queries * columns), 1)
    return [block for layer in layers for block in torch.split(layer, images)]
