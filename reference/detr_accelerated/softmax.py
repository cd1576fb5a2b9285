"""The softmax of the logits of all decoder layers, in a form that serves costs, losses and gradient alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .compiled import Function, compiled, in_threads, threads_worth

BLOCK_ELEMENTS = 2**20

ELEMENTS_WORTH_A_THREAD = 2**20
"""A thread takes about as long to start as a quarter of so many exponentials."""


class Softmax(NamedTuple):
    """softmax(z) = exponentials / exponential_sum, with the division left out; for P problems and Q queries.

    exponentials: exp(z - highest) [P, Q, C]. exponential_sum: their sum [P, Q]. highest_but_last: the highest logit of
    all columns but the last, [P, Q], and -inf if there is one column. last_logit: that of the last, [P, Q].
    """

    exponentials: Tensor
    exponential_sum: Tensor
    highest_but_last: Tensor
    last_logit: Tensor

    @property
    def highest(self) -> Tensor:
        """The highest logit, [P, Q]; NaN if any is."""
        return torch.maximum(self.highest_but_last, self.last_logit)


def softmax(layers: Sequence[Tensor]) -> Softmax:
    """Return the softmax of the logits [B, Q, C] of layers; of float32 on the CPU it is compiled where numba is."""
    fits = layers[0].device.type == "cpu" and layers[0].dtype == torch.float32
    kernel = compiled("numba_softmax", "write_softmax") if fits else None
    return softmax_in_torch(layers) if kernel is None else _softmax_in_kernel(kernel, layers)


def softmax_in_torch(layers: Sequence[Tensor]) -> Softmax:
    """Return what `softmax` does, on any device and of any dtype."""
    numbers = torch.cat(list(layers))
    parts = [_softmax_in_place(block) for (block,) in in_blocks(numbers)]
    return Softmax(numbers, *map(torch.cat, zip(*parts, strict=True)))


def _softmax_in_place(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write the exponentials over the logits [b, Q, C], and return the other parts of `Softmax`."""
    last_logit = logits[..., -1].clone()
    highest_but_last = (
        torch.full_like(last_logit, -torch.inf) if logits.shape[2] == 1 else logits[..., :-1].amax(dim=-1)
    )
    logits.sub_(torch.maximum(highest_but_last, last_logit)[..., None]).exp_()
    return logits.sum(dim=-1), highest_but_last, last_logit


def _softmax_in_kernel(kernel: Function, layers: Sequence[Tensor]) -> Softmax:
    images, queries, columns = layers[0].shape
    problems = len(layers) * images
    numbers = layers[0].new_empty(problems, queries, columns)
    of_queries = layers[0].new_empty(3, problems, queries)
    parts = zip(layers, torch.split(numbers, images), torch.split(of_queries, images, dim=1), strict=True)
    tasks = [
        partial(kernel, logits.contiguous().numpy(), written.numpy(), *found.numpy())
        for logits, written, found in parts
    ]
    in_threads(min(threads_worth(numbers.numel(), ELEMENTS_WORTH_A_THREAD), len(tasks)), tasks)
    return Softmax(numbers, *of_queries)


def in_blocks(*values: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Return the values [P, ...] as views: on the CPU of a few problems at a time, so that the first's stay in the
    cache, and on other devices whole, for fewer launches."""
    problems = len(values[0])
    if values[0].device.type == "cpu":
        problems = BLOCK_ELEMENTS // max(values[0][0].numel(), 1)
    return zip(*(torch.split(value, max(problems, 1)) for value in values), strict=True)
