"""The predictions of all decoder layers, as P = L·B matching problems, and what matcher and criterion share of them.

The logits are by far the largest tensors. They are read in blocks: on the CPU of a few images each, so that what is
computed from a block stays in the cache, and without a copy; on other devices all at once, for fewer launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

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

    num_layers: int
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
    def exponentials(self) -> LikeLogits:
        """exp(z - highest) of every logit; the backward pass of the cross-entropy turns them into the gradient."""
        return exponentials(self.logits, self.highest, self.num_layers)

    @cached_property
    def exponential_sum(self) -> Tensor:
        """The sum of exp(z - highest) over the columns, [P, Q]: softmax(z) is exp(z - highest) / exponential_sum."""
        return torch.cat([block.sum(dim=-1) for block in self.exponentials.blocks])

    def by_block(self, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Return function(logits, *values) [P, ...], called for each block of logits and of the values [P, ...]."""
        return torch.cat([function(*arguments) for arguments in by_block(self.logits, *values)])


def by_block(blocks: Sequence[Tensor], *values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Return block after block, with the values [P, ...] of its problems."""
    sizes = [len(block) for block in blocks]
    return zip(blocks, *(torch.split(value, sizes) for value in values), strict=True)


class LikeLogits(NamedTuple):
    """Numbers for each logit, the same memory twice: the layers [B, Q, C], and the blocks [b, Q, C] of the problems."""

    layers: Sequence[Tensor]
    blocks: Sequence[Tensor]


def like_logits(logits: Sequence[Tensor], num_layers: int) -> LikeLogits:
    """Return memory for a number of each logit, whose values mean nothing yet; logits: blocks [b, Q, C]."""
    if len(logits) < num_layers:
        (block,) = logits
        memory = torch.empty_like(block)
        return LikeLogits(memory.chunk(num_layers), [memory])
    images = sum(len(block) for block in logits) // num_layers
    layers = [logits[0].new_empty(images, *logits[0].shape[1:]) for _ in range(num_layers)]
    return LikeLogits(layers, [block for memory in layers for block in torch.split(memory, len(logits[0]))])


def exponentials(logits: Sequence[Tensor], highest: Tensor, num_layers: int) -> LikeLogits:
    """Return exp(z - highest) of the logits, blocks [b, Q, C], with highest [P, Q]."""
    found = like_logits(logits, num_layers)
    for written, (block, block_highest) in zip(found.blocks, by_block(logits, highest), strict=True):
        torch.sub(block, block_highest[..., None], out=written).exp_()
    return found


def at_labels(blocks: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return the numbers [P, T, Q] of each query at each label, int64 [P, T]; blocks: [b, Q, C], of each logit."""
    found = blocks[0].new_empty(*labels.shape, blocks[0].shape[1])
    for block, own, written in by_block(blocks, labels, found):
        problems = torch.arange(len(block), device=block.device)[:, None]
        # It is written = block.transpose(1, 2)[problems, own], without memory for what is copied.
        torch.ops.aten.index.Tensor_out(block.transpose(1, 2), [problems, own], out=written)
    return found


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
    return Predictions(len(layers), tuple(blocks(logits)), boxes)


def blocks(layers: Sequence[Tensor]) -> list[Tensor]:
    """Return the problems of layers [B, Q, C] in blocks [b, Q, C]: views on the CPU, else one block that holds all."""
    if layers[0].device.type != "cpu":
        return [torch.cat(list(layers))]
    _, queries, columns = layers[0].shape
    images = max(BLOCK_ELEMENTS // (queries * columns), 1)
    return [block for layer in layers for block in torch.split(layer, images)]
