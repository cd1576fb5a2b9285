"""Losses of the distributions that a box's edges are read from, as plain formulas (norm §12).

An edge has R + 1 distances from a reference box, and a logit for each. Peng et al. 2024, "D-FINE", section 4.1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import kl_div


def edge_distances(reg_max: int, up: float, reg_scale: float, like: Tensor) -> Tensor:
    """Return the R + 1 distances that an edge may have, ascending from -2 up reg_scale, closer to each other near 0.

    reg_max: R, an even number. like: a tensor whose dtype and device they have.
    """
    reach = like.new_tensor(up * reg_scale)
    step = (reach + 1) ** (2 / (reg_max - 2))
    beyond = torch.stack([*(step**power - 1 for power in range(1, reg_max // 2)), 2 * reach])
    return torch.cat([-beyond.flip(0), beyond.new_zeros(1), beyond])


def edge_targets(references: Tensor, boxes: Tensor, distances: Tensor, reg_scale: float) -> tuple[Tensor, Tensor]:
    """Return the number of the distance below each edge's, int64 [M, 4], and how near the edge is to the next, [M, 4].

    references: cxcywh [M, 4]. boxes: xyxy [M, 4]. Edges are left, top, right and bottom; one that is farther away than
    all distances has the last one, or the first.
    """
    centres, units = references[:, :2], references[:, 2:] / reg_scale + 1e-16
    outwards = torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], dim=1)
    wanted = outwards / units.repeat(1, 2) - reg_scale / 2
    below = torch.searchsorted(distances, wanted.contiguous(), right=True) - 1
    below = below.clamp(0, len(distances) - 2)
    nearness = (wanted - distances[below]) / (distances[below + 1] - distances[below])
    return below, nearness.clamp(0, 1)


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T² times the divergence of each edge's distribution at a temperature T from its teacher's; [..., 4].

    logits and teacher: [..., 4, R + 1]; the teacher has no gradient.
    """
    wanted = (teacher.detach() / temperature).softmax(dim=-1)
    divergence = kl_div((logits / temperature).log_softmax(dim=-1), wanted, reduction="none").sum(dim=-1)
    return temperature**2 * divergence


def decoupled_mean(losses: Tensor, matched: Tensor, num_matched: int, num_others: int) -> Tensor:
    """Return the mean of the losses [B, Q, 4] of matched queries and that of others, weighed by roots of numbers; [].

    matched: bool [B, Q]. The mean over no queries is 0.
    """
    of_matched, of_others = (losses[own].mean() if own.any() else losses.new_zeros(()) for own in (matched, ~matched))
    first, second = num_matched**0.5, num_others**0.5
    loss: Tensor = (of_matched * first + of_others * second) / (first + second)
    return loss


def fine_grained_loss(logits: Tensor, below: Tensor, nearness: Tensor) -> Tensor:
    """Return the cross-entropy of each edge towards two neighbouring distances, the nearer the more; [M, 4].

    logits: [M, 4, R + 1]. below and nearness: as of `edge_targets`.
    """
    surprise = -logits.log_softmax(dim=-1)
    to_below, to_next = (surprise.gather(-1, index[..., None])[..., 0] for index in (below, below + 1))
    return (1 - nearness) * to_below + nearness * to_next
