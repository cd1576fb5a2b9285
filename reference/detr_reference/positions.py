"""Sine position embedding of a feature map whose images have padding (norm §1; Carion et al. 2020, appendix A.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0


def sine_positions(padding: Tensor, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the position embedding [B, D, h, w], D = dim: the first D/2 channels tell the row, the others the column.

    A row or column is counted from 1 over the positions inside the image and divided by their number, so every
    image spans (0, 2π] whatever its padding; a coordinate u becomes the sines and cosines of u / T^(2i / (D/2)) in
    channels 2i and 2i + 1, T = 10000 (the absolute encoding of Parmar et al. 2018, once for each axis). Padded
    positions get finite numbers that mean nothing.
    padding: bool [B, h, w], true outside the image.

    Raises ValueError if dim is not a positive multiple of 4 or padding is not bool [B, h, w].
    """
    if dim < 4 or dim % 4:
        raise ValueError(f"dim must be a positive multiple of 4, for sine and cosine of two axes, got {dim}")
    if padding.dim() != 3 or padding.dtype != torch.bool:
        raise ValueError(f"padding must be bool of shape [B, h, w], got {padding.dtype} {list(padding.shape)}")
    inside = (~padding).to(torch.float32)
    rows, columns = _normalised_counts(inside, axis=1), _normalised_counts(inside, axis=2)
    embedding = torch.cat([_sines_and_cosines(rows, dim // 2), _sines_and_cosines(columns, dim // 2)], dim=-1)
    return embedding.permute(0, 3, 1, 2).to(dtype)


def _normalised_counts(inside: Tensor, axis: int) -> Tensor:
    """Return 2π k / n, [B, h, w], at the k-th of n inside positions along an axis; 0 where there is none."""
    return 2 * math.pi * inside.cumsum(axis) / inside.sum(axis, keepdim=True).clamp(min=1)


def _sines_and_cosines(coordinates: Tensor, channels: int) -> Tensor:
    """Return coordinates [...] as sines and cosines of decreasing frequency, alternating, [..., channels]."""
    exponents = torch.arange(0, channels, 2, device=coordinates.device) / channels
    angles = coordinates[..., None] / TEMPERATURE**exponents
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
