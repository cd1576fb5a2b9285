"""The targets of a batch, packed once for all decoder layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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
    labels, boxes = ([target[name] for target in targets] for name in ("labels", "boxes"))
    return PackedTargets(
        pad_sequence(labels, batch_first=True, padding_value=PADDING_LABEL),
        pad_sequence(boxes, batch_first=True, padding_value=PADDING_SIDE),
        tuple(map(len, labels)),
    )
