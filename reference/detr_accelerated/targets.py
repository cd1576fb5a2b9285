"""The targets of a batch, packed once for all decoder layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detr_reference.batch import Targets

PADDING_LABEL = 0
PADDING_SIDE = 0.5
"""A padding box is a proper one, so that its IoU with any box, and the gradient of that, are numbers to be masked."""


@dataclass(frozen=True)
class PackedTargets:
    """The targets of B images, padded to the T of the image that has most.

    labels: int64 [B, T]. boxes: [B, T, 4] as cxcywh. sizes: n of each image.
    """

    labels: Tensor
    boxes: Tensor
    sizes: tuple[int, ...]

    @property
    def longest(self) -> int:
        """T, the largest number of targets of an image."""
        return self.labels.shape[1]


def pack_targets(targets: Targets) -> PackedTargets:
    """Return the targets of a batch in padded tensors on their device; boxes keep their gradient.

    targets: one dict for each image, of `labels` [n] and `boxes` [n, 4].
    """
    sizes = tuple(len(target["labels"]) for target in targets)
    longest = max(sizes)
    labels = torch.cat([target["labels"] for target in targets])
    boxes = torch.cat([target["boxes"] for target in targets])
    # The element after the last target is the padding.
    labels = torch.cat([labels, labels.new_full((1,), PADDING_LABEL)])
    boxes = torch.cat([boxes, boxes.new_full((1, 4), PADDING_SIDE)])
    ends = torch.tensor(sizes).cumsum(0)[:, None]
    places = torch.arange(longest)[None, :] + ends - torch.tensor(sizes)[:, None]
    places = torch.where(places < ends, places, sum(sizes)).to(labels.device, non_blocking=True)
    return PackedTargets(labels[places], boxes[places], sizes)
