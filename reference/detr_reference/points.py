"""Masks at points of the image, and which points their losses look at (norm §15).

Kirillov et al. 2020, "PointRend", section 3.1; Cheng et al. 2022, "Mask2Former", section 3.3. Points are (x, y),
relative to the image, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, grid_sample

Sampler: TypeAlias = Callable[..., Tensor]
"""Draws random numbers in [0, 1), as `torch.rand` does: called with the lengths of the dimensions, and `device`."""


def point_sample(masks: Tensor, points: Tensor, mode: str = "bilinear", padding_mode: str = "zeros") -> Tensor:
    """Return what masks [N, h, w] are at points of their own [N, P, 2]; [N, P].

    Pixels are areas, whose values are those of their centres. mode, padding_mode: as for `grid_sample`.
    """
    grid = 2 * points[:, :, None].to(masks) - 1
    found = grid_sample(masks[:, None], grid, mode=mode, padding_mode=padding_mode, align_corners=False)
    return found[:, 0, :, 0]


def uncertain_points(
    logits_at: Callable[[Tensor], Tensor],
    num_masks: int,
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
    sampler: Sampler,
    device: torch.device,
) -> Tensor:
    """Return points [N, P, 2], most of them where N masks are uncertain.

    A part of them, importance_sample_ratio, are those candidates whose logits are nearest to 0, of oversample_ratio
    times as many that are drawn; the others are drawn anew.

    logits_at: gives the logits [N, n] of the masks at points [N, n, 2].
    """
    candidates = sampler(num_masks, int(num_points * oversample_ratio), 2, device=device)
    num_uncertain = int(importance_sample_ratio * num_points)
    chosen = logits_at(candidates).abs().topk(num_uncertain, dim=1, largest=False).indices
    uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    fresh = sampler(num_masks, num_points - num_uncertain, 2, device=device)
    return torch.cat([uncertain, fresh], dim=1)


def pairwise_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over points of the cross-entropy of each mask with each target; [Q, P] and [n, P] → [Q, n]."""
    yes = binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")
    no = binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), reduction="none")
    return (yes @ labels.T + no @ (1 - labels).T) / logits.shape[1]


def pairwise_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return one minus the smoothed Dice overlap of each mask with each target; [Q, P] and [n, P] → [Q, n]."""
    probabilities = logits.sigmoid()
    both = probabilities.sum(dim=1)[:, None] + labels.sum(dim=1)[None]
    return 1 - (2 * probabilities @ labels.T + 1) / (both + 1)
