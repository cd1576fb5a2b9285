"""Images of several sizes as one batch, with a mask that tells padding from image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class ImageBatch(NamedTuple):
    """Images of one batch, padded right and below to one size.

    pixels: [B, C, H, W], zero in the padding. padding: bool [B, H, W], true outside the image.
    """

    pixels: Tensor
    padding: Tensor


def pad_images(images: Sequence[Tensor]) -> ImageBatch:
    """Return images [C, H_b, W_b], each of its own size, as one batch of the largest height and width.

    Raises ValueError if there is no image, one is not [C, H, W] with H, W >= 1, or they differ in C.
    """
    if not images:
        raise ValueError("a batch needs at least one image, got none")
    for place, image in enumerate(images):
        if image.dim() != 3 or image.shape[0] != images[0].shape[0] or image.numel() == 0:
            raise ValueError(
                "images must have shape [C, H, W] with the same C and H, W >= 1, "
                f"but images[0] is {list(images[0].shape)} and images[{place}] is {list(image.shape)}"
            )
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    pixels = [_padded(image, height, width, 0.0) for image in images]
    padding = [_padded(image.new_zeros(image.shape[1:], dtype=torch.bool), height, width, True) for image in images]
    return ImageBatch(torch.stack(pixels), torch.stack(padding))


def resize_padding(padding: Tensor, height: int, width: int) -> Tensor:
    """Return the padding mask, bool [B, H, W], at the size of a feature map, bool [B, height, width].

    Each position of the feature map takes the mask at the upper left of the pixels it stands for, so the first row
    and column, which every image has, are never padding alone.
    """
    rows = torch.arange(height, device=padding.device) * padding.shape[1] // height
    columns = torch.arange(width, device=padding.device) * padding.shape[2] // width
    return padding[:, rows[:, None], columns[None, :]]


def _padded(values: Tensor, height: int, width: int, filling: float) -> Tensor:
    return pad(values, (0, width - values.shape[-1], 0, height - values.shape[-2]), value=filling)
