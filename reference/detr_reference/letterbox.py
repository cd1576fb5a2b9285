"""Boxes back from the square input of a model, into which an image was scaled by one ratio and padded (norm §5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Letterbox:
    """How an image was put into an input of side x side pixels: scaled until its longer side fits, and padded.

    centred: whether the padding is on both sides, or on the right and below alone. whole_pixels: whether the scaled
    image and the padding before it are of whole pixels, as those of tensors are; otherwise they are as computed.
    """

    side: int = 640
    centred: bool = True
    whole_pixels: bool = True

    def boxes_in_image(self, boxes: Tensor, sizes: Tensor) -> Tensor:
        """Return boxes [B, Q, 4], xyxy relative to the input, in pixels of each image's (height, width) [B, 2]."""
        sizes = sizes.to(torch.float64)
        ratio = self.side / sizes.max(dim=1, keepdim=True).values
        padding = self._before(sizes * ratio).flip(1).repeat(1, 2)
        return (boxes * self.side - padding.to(boxes)[:, None]) / ratio.to(boxes)[:, None]

    def _before(self, scaled: Tensor) -> Tensor:
        """Return the padding above and on the left of images that were scaled to (height, width); [B, 2] -> [B, 2]."""
        if not self.centred:
            return torch.zeros_like(scaled)
        if self.whole_pixels:
            return ((self.side - scaled.round()) / 2).floor()
        return (self.side - scaled) / 2
