"""The predictions of all decoder layers, as P = L·B matching problems, and what matcher and criterion share of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from detr_reference.batch import Outputs
from detr_reference.boxes import upcast_half

from ..compiled import softmax as compiled_softmax
from ..compiled.calling import compiled_for
from ..compiled.highest import highest_logit
from ..like_logits import LikeLogits, copy_of
from .softmax import softmax

PART_ELEMENTS = 2**15
"""Of an intermediate result: many of them fit in the cache, and in memory that is not fetched anew from the system."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of L layers for B images, without gradient; problem p is layer p // B and image p % B.

    layers: the logits [B, Q, C] of each layer. boxes: [P, Q, 4] as cxcywh. Half precision is upcast.
    """

    layers: tuple[Tensor, ...]
    boxes: Tensor

    @cached_property
    def logits(self) -> LikeLogits:
        """The logits in memory of their own."""
        return copy_of(self.layers)

    @cached_property
    def softmax(self) -> compiled_softmax.Softmax:
        """The softmax of each query's logits, compiled; the backward pass of the losses writes the gradient over it."""
        return compiled_softmax.softmax(self.layers)

    @cached_property
    def probabilities(self) -> LikeLogits:
        """The softmax of each query's logits, in torch."""
        return softmax(self.layers)

    @cached_property
    def last_probability(self) -> Tensor:
        """That of the last column, [P, Q]."""
        return torch.cat([part[..., -1] for part in self.probabilities.parts])

    @cached_property
    def highest(self) -> Tensor:
        """The highest logit, [P, Q]; NaN if any is. On the CPU it is compiled where numba is installed."""
        if compiled_for(self.boxes, "sigmoid", "write_highest") is not None:
            return highest_logit(self.layers)
        return torch.cat([block.amax(dim=-1) for (block,) in self.logits.blocks()])

    def take_logits(self) -> LikeLogits:
        """Return the logits in memory that is the caller's to write over; who asks next has a copy of its own."""
        _ = self.highest
        taken: LikeLogits = self.logits
        del vars(self)["logits"]
        return taken

    def take_probabilities(self) -> LikeLogits:
        """Return the softmax in memory that is the caller's to write over; who asks next has it computed anew."""
        _ = self.last_probability
        taken: LikeLogits = self.probabilities
        del vars(self)["probabilities"]
        return taken


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
    logits = tuple(upcast_half(layer["pred_logits"].detach()) for layer in layers)
    boxes = torch.cat([upcast_half(layer["pred_boxes"].detach()) for layer in layers])
    return Predictions(logits, boxes)
