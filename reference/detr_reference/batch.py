"""What passes between the parts of set prediction, and the preconditions on it.

- Outputs: `pred_logits` [B, Q, C] and `pred_boxes` [B, Q, 4], cxcywh in [0, 1]; optionally `pred_masks`
  [B, Q, h, w], and `aux_outputs`, a list of such dicts, one for each earlier decoder layer.
- Targets: one dict for each image, of `labels` [n], int64, and `boxes` [n, 4], cxcywh in [0, 1]; optionally
  `masks` [n, H, W], bool.
- Pairs: for each image the query indices and the target indices of its matches, int64, on the CPU.

B images, Q queries, C columns of the logits, n targets of an image, M matched pairs of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Outputs: TypeAlias = Mapping[str, Any]
Targets: TypeAlias = Sequence[Mapping[str, Tensor]]
Pairs: TypeAlias = list[tuple[Tensor, Tensor]]


def matched_queries(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the image index [M] and the query index [M] of all M matched queries of a batch.

    The two together index any prediction: `pred_boxes[matched_queries(pairs)]` is [M, 4].
    """
    images = torch.cat([torch.full_like(queries, image) for image, (queries, _) in enumerate(pairs)])
    queries = torch.cat([queries for queries, _ in pairs])
    return images, queries


def matched_targets(values: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """Return the values [M, ...] of all M matched targets, in the order of `matched_queries`.

    values: for each image one value for each of its targets, [n, ...].
    """
    return torch.cat([value[targets] for value, (_, targets) in zip(values, pairs, strict=True)])


def check_output_shapes(outputs: Outputs, num_logits: int | None = None) -> None:
    """Raise ValueError unless logits are [B, Q, num_logits] (any number if None) and boxes [B, Q, 4]."""
    logits: Tensor = outputs["pred_logits"]
    boxes: Tensor = outputs["pred_boxes"]
    if logits.dim() != 3 or logits.numel() == 0:
        raise ValueError(
            f"pred_logits must have shape [B, Q, C] with at least one image, query and class, got {list(logits.shape)}"
        )
    if num_logits is not None and logits.shape[2] != num_logits:
        raise ValueError(
            f"pred_logits must have {num_logits} columns for this number of classes, got {logits.shape[2]}; "
            "the softmax dialect has one more than classes, for no-object, and the sigmoid dialect has not"
        )
    if boxes.shape != (*logits.shape[:2], 4):
        raise ValueError(
            f"pred_boxes must have shape {[*logits.shape[:2], 4]} beside pred_logits {list(logits.shape)}, "
            f"got {list(boxes.shape)}"
        )


def check_output_values(outputs: Outputs) -> None:
    """Raise ValueError if a logit is NaN or +inf (-inf rules a class out), or a box is not proper cxcywh."""
    if not (outputs["pred_logits"] < torch.inf).all():
        raise ValueError("pred_logits holds NaN or +inf; look for a diverged training step")
    _check_box_values(outputs["pred_boxes"], "pred_boxes")


def check_targets(targets: Targets, num_images: int, num_labels: int) -> None:
    """Raise ValueError unless each image has one well-formed target, with labels in [0, num_labels - 1]."""
    if len(targets) != num_images:
        raise ValueError(f"there is not one target for each image: images {num_images}, targets {len(targets)}")
    for image, target in enumerate(targets):
        labels, boxes = target["labels"], target["boxes"]
        if labels.dim() != 1 or labels.dtype != torch.int64:
            raise ValueError(
                f"targets[{image}]['labels'] must be int64 of shape [n], got {labels.dtype} {list(labels.shape)}"
            )
        if boxes.shape != (len(labels), 4):
            raise ValueError(
                f"targets[{image}]['boxes'] must have shape {[len(labels), 4]}, one box for each label, "
                f"got {list(boxes.shape)}"
            )
        outside = labels[(labels < 0) | (labels >= num_labels)]
        if len(outside):
            raise ValueError(
                f"targets[{image}]['labels'] must lie in [0, {num_labels - 1}], got {int(outside[0])}; "
                "labels start at 0, and num_classes must exceed the largest"
            )
        _check_box_values(boxes, f"targets[{image}]['boxes']")


def check_masks(outputs: Outputs, targets: Targets) -> None:
    """Raise ValueError unless pred_masks is [B, Q, h, w] and the masks of each image are [n, H, W]."""
    pred_masks: Tensor = outputs["pred_masks"]
    batch_and_queries = list(outputs["pred_logits"].shape[:2])
    if pred_masks.dim() != 4 or list(pred_masks.shape[:2]) != batch_and_queries or pred_masks.numel() == 0:
        raise ValueError(
            f"pred_masks must have shape {batch_and_queries} + [h, w] with h, w >= 1, got {list(pred_masks.shape)}"
        )
    for image, target in enumerate(targets):
        count, shape = len(target["labels"]), list(target["masks"].shape)
        if len(shape) != 3 or shape[0] != count or 0 in shape[1:]:
            raise ValueError(
                f"targets[{image}]['masks'] must have shape [{count}, H, W] with H, W >= 1, "
                f"one mask for each label, got {shape}"
            )


def _check_box_values(boxes: Tensor, name: str) -> None:
    if not boxes.isfinite().all():
        raise ValueError(f"{name} holds NaN or an infinite value")
    if (boxes[..., 2:] < 0).any():
        raise ValueError(f"{name} holds a negative width or height; boxes are (cx, cy, w, h), not corners")
