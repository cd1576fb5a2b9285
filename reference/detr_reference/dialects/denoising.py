"""What losses of denoising queries need: which of them have targets, and names of their own (norm §4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..batch import Pairs, Targets


def denoising_pairs(queries: Sequence[Tensor], targets: Targets, groups: int) -> Pairs:
    """Return the pairs of each image: in each group of denoising queries, the one made from target j has target j.

    queries: for each image its queries that are made from targets, int64, one group after another.
    """
    return [
        (own, torch.arange(len(target["labels"]), device=own.device).repeat(groups))
        for own, target in zip(queries, targets, strict=True)
    ]


def with_suffix(losses: Mapping[str, Tensor], suffix: str) -> dict[str, Tensor]:
    """Return the same losses, each name followed by a suffix."""
    return {f"{name}{suffix}": loss for name, loss in losses.items()}
