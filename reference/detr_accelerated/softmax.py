"""The softmax of the logits of all decoder layers, in a form that serves costs, losses and gradient alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .compiled import Function, compiled_for, in_threads, threads_worth
from .like_logits import LikeLogits, memory_like

ELEMENTS_WORTH_A_THREAD = 2**20
"""A thread takes about as long to start as a quarter of so many exponentials."""


class Softmax(NamedTuple):
    """softmax(z) = exponentials / exponential_sum, with the division left out; for P problems and Q queries.

    exponentials: exp(z - highest) of every logit. exponential_sum: their sums [P, Q]. highest_but_last: the highest
    logit of all columns but the last, [P, Q], and -inf if there is one column. last_logit: that of the last, [P, Q].
    """

    exponentials: LikeLogits
    exponential_sum: Tensor
    highest_but_last: Tensor
    last_logit: Tensor

    @property
    def highest(self) -> Tensor:
        """The highest logit, [P, Q]; NaN if any is."""
        return torch.maximum(self.highest_but_last, self.last_logit)


def softmax(layers: Sequence[Tensor]) -> Softmax:
    """Return the softmax of the logits [B, Q, C] of layers; of float32 on the CPU it is compiled where numba is."""
    is_single = layers[0].dtype == torch.float32
    kernel = compiled_for(layers[0], "numba_softmax", "write_softmax") if is_single else None
    return softmax_in_torch(layers) if kernel is None else _softmax_in_kernel(kernel, layers)


def softmax_in_torch(layers: Sequence[Tensor]) -> Softmax:
    """Return what `softmax` does, on any device and of any dtype."""
    exponentials = memory_like(layers)
    parts = [_write_softmax(logits, block) for logits, block in exponentials.beside(layers)]
    return Softmax(exponentials, *map(torch.cat, zip(*parts, strict=True)))


def _write_softmax(logits: Tensor, exponentials: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write the exponentials of the logits [b, Q, C], and return the other parts of `Softmax`."""
    last_logit = logits[..., -1].clone()
    highest_but_last = (
        torch.full_like(last_logit, -torch.inf) if logits.shape[2] == 1 else logits[..., :-1].amax(dim=-1)
    )
    highest = torch.maximum(highest_but_last, last_logit)
    torch.sub(logits, highest[..., None], out=exponentials).exp_()
    return exponentials.sum(dim=-1), highest_but_last, last_logit


def _softmax_in_kernel(kernel: Function, layers: Sequence[Tensor]) -> Softmax:
    images, queries, _ = layers[0].shape
    exponentials = memory_like(layers)
    of_queries = layers[0].new_empty(3, len(layers) * images, queries)
    tasks = [
        partial(kernel, logits.contiguous().numpy(), written.numpy(), *found.numpy())
        for logits, written, found in zip(
            layers, exponentials.layers, torch.split(of_queries, images, dim=1), strict=True
        )
    ]
    threads = threads_worth(len(layers) * layers[0].numel(), ELEMENTS_WORTH_A_THREAD)
    in_threads(min(threads, len(tasks)), tasks)
    return Softmax(exponentials, *of_queries)
