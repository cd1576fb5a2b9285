"""Post-processing: from outputs to the detections of each image, in pixels (norm §5 and §8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .batch import Outputs, check_output_shapes
from .boxes import box_cxcywh_to_xyxy
from .letterbox import Letterbox


class PostProcess(nn.Module):
    """The softmax dialect: each query gives one detection, of its most probable class but no-object.

    letterbox: how images were put into the model's input, which predicted boxes are relative to then.
    """

    def __init__(self, letterbox: Letterbox | None = None) -> None:
        super().__init__()
        self.letterbox = letterbox

    @torch.no_grad()
    def forward(self, outputs: Outputs, target_sizes: Tensor) -> list[dict[str, Tensor]]:
        """Return for each image `scores` [Q], `labels` [Q], int64, and `boxes` [Q, 4], xyxy in pixels.

        outputs: `pred_logits` [B, Q, K+1], `pred_boxes` [B, Q, 4] as cxcywh. target_sizes: [B, 2], the
        (height, width) to which each image's boxes are scaled. All queries stay, in their order: nothing is
        thresholded, clamped or suppressed.

        Raises ValueError on wrong shapes.
        """
        check_output_shapes(outputs)
        boxes = _boxes_in_pixels(outputs["pred_boxes"], target_sizes, self.letterbox)
        probabilities = outputs["pred_logits"].softmax(dim=-1)
        scores, labels = probabilities[..., :-1].max(dim=-1)
        return _detections(scores, labels, boxes)


class TopKPostProcess(nn.Module):
    """The sigmoid dialect: the k highest of an image's Q*K scores, whichever query they are of.

    A query may give several detections of different classes. Deformable DETR has k = 100. letterbox: as for
    `PostProcess`.

    Raises ValueError if k < 1.
    """

    def __init__(self, k: int = 100, letterbox: Letterbox | None = None) -> None:
        super().__init__()
        self.letterbox = letterbox
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = k

    @torch.no_grad()
    def forward(self, outputs: Outputs, target_sizes: Tensor) -> list[dict[str, Tensor]]:
        """Return for each image `scores` [k], descending, `labels` [k] and `boxes` [k, 4], xyxy in pixels.

        outputs: `pred_logits` [B, Q, K], `pred_boxes` [B, Q, 4] as cxcywh. target_sizes: [B, 2], the
        (height, width) to which each image's boxes are scaled. If k exceeds Q*K, all Q*K are returned.

        Raises ValueError on wrong shapes.
        """
        check_output_shapes(outputs)
        boxes = _boxes_in_pixels(outputs["pred_boxes"], target_sizes, self.letterbox)
        all_scores = outputs["pred_logits"].sigmoid().flatten(1)
        scores, positions = all_scores.topk(min(self.k, all_scores.shape[1]), dim=1)
        num_classes = outputs["pred_logits"].shape[2]
        labels = positions % num_classes
        queries = positions // num_classes
        boxes = boxes.gather(1, queries[..., None].expand(-1, -1, 4))
        return _detections(scores, labels, boxes)


def _boxes_in_pixels(boxes: Tensor, target_sizes: Tensor, letterbox: Letterbox | None) -> Tensor:
    """Return relative cxcywh boxes [B, Q, 4] as xyxy in pixels of each image's (height, width) [B, 2]."""
    if target_sizes.shape != (len(boxes), 2):
        raise ValueError(
            f"target_sizes must have shape {[len(boxes), 2]}, one (height, width) for each image, "
            f"got {list(target_sizes.shape)}"
        )
    if letterbox is not None:
        return letterbox.boxes_in_image(box_cxcywh_to_xyxy(boxes), target_sizes)
    height, width = target_sizes.to(boxes).unbind(1)
    scale = torch.stack([width, height, width, height], dim=1)
    return box_cxcywh_to_xyxy(boxes) * scale[:, None]


def _detections(scores: Tensor, labels: Tensor, boxes: Tensor) -> list[dict[str, Tensor]]:
    return [
        {"scores": image_scores, "labels": image_labels, "boxes": image_boxes}
        for image_scores, image_labels, image_boxes in zip(scores, labels, boxes, strict=True)
    ]
