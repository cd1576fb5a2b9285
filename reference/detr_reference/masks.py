"""The losses of predicted segmentation masks (norm §4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from .batch import Pairs, matched_queries, matched_targets
from .losses import dice_loss, sigmoid_focal_loss

MASK_FOCAL_ALPHA = 0.25
MASK_FOCAL_GAMMA = 2.0


def mask_losses(
    pred_masks: Tensor, target_masks: Sequence[Tensor], pairs: Pairs, num_boxes: float
) -> dict[str, Tensor]:
    """Return `loss_mask` and `loss_dice`, each [], summed over the matched pairs and divided by num_boxes.

    loss_mask is the focal loss, as a mean over pixels. Predictions are upsampled to the size of the padded
    targets, and the padding counts as background.

    pred_masks: logits [B, Q, h, w]. target_masks: for each image bool [n, H, W], each with its own H and W.
    """
    targets = matched_targets(pad_masks(target_masks), pairs)
    matched = pred_masks[matched_queries(pairs)]
    upsampled = interpolate(matched[:, None], size=targets.shape[-2:], mode="bilinear", align_corners=False).squeeze(1)
    logits, masks = upsampled.flatten(1), targets.flatten(1)
    focal = sigmoid_focal_loss(logits, masks, MASK_FOCAL_ALPHA, MASK_FOCAL_GAMMA).mean(dim=1)
    return {
        "loss_mask": focal.sum() / num_boxes,
        "loss_dice": dice_loss(logits, masks).sum() / num_boxes,
    }


def pad_masks(masks: Sequence[Tensor]) -> list[Tensor]:
    """Return each image's masks [n, H, W] as bool, padded right and below with False to the largest size."""
    height = max(mask.shape[1] for mask in masks)
    width = max(mask.shape[2] for mask in masks)
    return [pad(mask.to(torch.bool), (0, width - mask.shape[2], 0, height - mask.shape[1])) for mask in masks]
