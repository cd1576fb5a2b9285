"""What the sigmoid dialect asks of the logits of all decoder layers, compiled by numba."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from .calling import imported, in_threads, threads_worth

ELEMENTS_WORTH_A_THREAD = 2**19


def highest_logit(layers: Sequence[Tensor]) -> Tensor:
    """Return the highest logit of each query, [P, Q], NaN if any is, of layers [B, Q, C] on the CPU.

    They are float32 or float64, and numba is installed.
    """
    write_highest = imported("sigmoid", "write_highest")
    images, queries, _ = layers[0].shape
    found = layers[0].new_empty(len(layers) * images, queries)
    tasks = [
        partial(write_highest, logits.contiguous().numpy(), own.numpy())
        for logits, own in zip(layers, torch.split(found, images), strict=True)
    ]
    in_threads(threads_worth(len(layers) * layers[0].numel(), ELEMENTS_WORTH_A_THREAD), tasks)
    return found
