"""The softmax of the logits of all decoder layers, compiled by numba, in a form that serves all that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..like_logits import LikeLogits, memory_like
from .calling import imported, in_threads, threads_worth

ELEMENTS_WORTH_A_THREAD = 2**19
"""A thread takes less time to start than half of so many exponentials take."""


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
    """Return the softmax of the logits, float32 or float64 [B, Q, C], of layers on the CPU; numba is installed."""
    write_softmax = imported("softmax", "write_softmax")
    images, queries, _ = layers[0].shape
    exponentials = memory_like(layers)
    of_queries = layers[0].new_empty(3, len(layers) * images, queries)
    tasks = [
        partial(write_softmax, logits.contiguous().numpy(), written.numpy(), *found.numpy())
        for logits, written, found in zip(
            layers, exponentials.layers, torch.split(of_queries, images, dim=1), strict=True
        )
    ]
    in_threads(threads_worth(len(layers) * layers[0].numel(), ELEMENTS_WORTH_A_THREAD), tasks)
    return Softmax(exponentials, *of_queries)
