"""DETR as the TensorFlow Model Garden trains it: background is class 0, boxes have y before x, ranks are summed.

Carion et al. 2020; norm §14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..batch import Outputs
from ..boxes import upcast_half
from ..overlaps import overlap_areas

EPSILON = 1e-8
"""What is added to the areas of union and enclosing box, before the one is taken from the other."""

BACKGROUND = 0


def cycxhw_to_yxyx(boxes: Tensor) -> Tensor:
    """Return (cy - h/2, cx - w/2, cy + h/2, cx + w/2) of boxes (cy, cx, h, w); [..., 4]."""
    centres, sides = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=-1)


def yxyx_to_cycxhw(boxes: Tensor) -> Tensor:
    """Return (cy, cx, h, w) of boxes as two corners (y, x); [..., 4]."""
    near, far = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(near + far) / 2, far - near], dim=-1)


def generalized_overlap(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """Return the GIoU [...] of boxes as two corners [..., 4], with broadcasting."""
    intersection, union, enclosure = overlap_areas(boxes, gt_boxes)
    union, enclosure = union + EPSILON, enclosure + EPSILON
    return intersection / union - (enclosure - union) / enclosure


def bbox_overlap(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """Return the IoU [N, M] of boxes as two corners, [N, 4] and [M, 4]."""
    intersection, union, _ = overlap_areas(boxes[:, None], gt_boxes[None])
    return intersection / (union + EPSILON)


def bbox_generalized_overlap(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """Return the GIoU [N, M] of boxes as two corners, [N, 4] and [M, 4]."""
    return generalized_overlap(boxes[:, None], gt_boxes[None])


class TFModelsMatcher(nn.Module):
    """Matches the queries of each image with as many places, of which the objects come first and the others are free.

    A cost that is not finite is that of a free place, which is as high as any object's can be and one class cost more.

    Raises ValueError if all three weights are zero.
    """

    def __init__(self, lambda_cls: float = 1.0, lambda_box: float = 5.0, lambda_giou: float = 2.0) -> None:
        super().__init__()
        if lambda_cls == 0 and lambda_box == 0 and lambda_giou == 0:
            raise ValueError("lambda_cls, lambda_box and lambda_giou are all zero; at least one must count")
        self.lambda_cls = lambda_cls
        self.lambda_box = lambda_box
        self.lambda_giou = lambda_giou

    @torch.no_grad()
    def forward(self, outputs: Outputs, labels: Mapping[str, Tensor]) -> Tensor:
        """Return the query of each place and the places, int64 [B, 2, Q].

        outputs: `cls_outputs` [B, Q, K+1] and `box_outputs` [B, Q, 4], (cy, cx, h, w). labels: `classes` [B, Q], from
        1, and 0 where a place is free, and `boxes` [B, Q, 4].

        Raises ValueError unless there are as many places as queries.
        """
        logits, boxes = upcast_half(outputs["cls_outputs"]), upcast_half(outputs["box_outputs"])
        queries, places = logits.shape[1], labels["classes"].shape[1]
        if places != queries:
            raise ValueError(f"labels are padded to {places} places; expected {queries}, one for each query")
        images = zip(logits, boxes, labels["classes"], upcast_half(labels["boxes"]), strict=True)
        # Each place, a row, has one query.
        matched = [linear_sum_assignment(self.cost_matrix(*image).T.cpu().numpy())[1] for image in images]
        found = torch.stack([torch.as_tensor(own, dtype=torch.int64) for own in matched])
        return torch.stack([found, torch.arange(queries).expand_as(found)], dim=1)

    def cost_matrix(self, logits: Tensor, boxes: Tensor, classes: Tensor, gt_boxes: Tensor) -> Tensor:
        """Return the cost [Q, Q] of each query of one image in each place."""
        cost = (
            -self.lambda_cls * logits.softmax(-1)[:, classes]
            + self.lambda_box * (boxes[:, None] - gt_boxes[None]).abs().sum(-1)
            - self.lambda_giou * bbox_generalized_overlap(cycxhw_to_yxyx(boxes), cycxhw_to_yxyx(gt_boxes))
        )
        # No distance of boxes within the image exceeds 4, and no GIoU is below -1.
        highest = self.lambda_cls + 4 * self.lambda_box + self.lambda_giou
        return cost.where((classes != BACKGROUND) & cost.isfinite(), highest)


class TFModelsDetectionLoss(nn.Module):
    """The losses of DETR, times their weights, and their sum; those of all layers are added up.

    num_classes: K + 1, background among them. lambda_cls, lambda_box, lambda_giou: the weights. background_cls_weight:
    that of background in the cross-entropy.
    Divisors are those of all ranks together, whose gradients are to be added.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: TFModelsMatcher,
        lambda_cls: float = 1.0,
        lambda_box: float = 5.0,
        lambda_giou: float = 2.0,
        background_cls_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher
        self.lambda_cls = lambda_cls
        self.lambda_box = lambda_box
        self.lambda_giou = lambda_giou
        self.background_cls_weight = background_cls_weight

    def forward(self, outputs: Sequence[Outputs], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return cls_loss, box_loss, giou_loss and their sum, loss, 0-dimensional; of all layers together.

        outputs: those of each decoder layer, and labels, as for `TFModelsMatcher`.
        """
        layers = [self.build_losses(layer, labels) for layer in outputs]
        names = ("loss", "cls_loss", "box_loss", "giou_loss")
        return {name: torch.stack(parts).sum() for name, parts in zip(names, zip(*layers, strict=True), strict=True)}

    def build_losses(self, outputs: Outputs, labels: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the sum of one layer's losses, and those of classes, boxes and overlaps, 0-dimensional.

        Raises ValueError for another number of logit columns than there are classes.
        """
        logits, boxes = outputs["cls_outputs"], outputs["box_outputs"]
        if logits.shape[-1] != self.num_classes:
            raise ValueError(f"cls_outputs has {logits.shape[-1]} columns; expected {self.num_classes}")
        queries = self.matcher(outputs, labels)[:, 0].to(logits.device)
        images = torch.arange(len(queries), device=logits.device)[:, None]
        background = labels["classes"] == BACKGROUND

        surprise = cross_entropy(logits[images, queries].flatten(0, 1), labels["classes"].flatten(), reduction="none")
        class_weights = torch.ones_like(surprise).masked_fill(background.flatten(), self.background_cls_weight)
        cls_loss = self.lambda_cls * divide_no_nan((class_weights * surprise).sum(), class_weights.sum())

        assigned, num_boxes = boxes[images, queries], (~background).sum()
        distance = (assigned - labels["boxes"]).abs().sum(-1)
        giou = generalized_overlap(cycxhw_to_yxyx(assigned), cycxhw_to_yxyx(labels["boxes"]))
        box_loss = self.lambda_box * divide_no_nan(distance.masked_fill(background, 0).sum(), num_boxes)
        giou_loss = self.lambda_giou * divide_no_nan((1 - giou).masked_fill(background, 0).sum(), num_boxes)
        return cls_loss + box_loss + giou_loss, cls_loss, box_loss, giou_loss


def divide_no_nan(total: Tensor, divisor: Tensor) -> Tensor:
    """Return a total over the divisor of all ranks, 0 where that is 0; [] each."""
    whole = divisor.detach().clone().float() if divisor.dtype == torch.int64 else divisor.detach().clone()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(whole)
    return total / whole if whole else total * 0


class TFModelsDetections(nn.Module):
    """Detections of every query, the best class beside background of each."""

    @torch.no_grad()
    def forward(self, outputs: Outputs, image_sizes: Tensor) -> dict[str, Tensor]:
        """Return `detection_scores` and `detection_classes` [B, Q], from 1, and `detection_boxes` [B, Q, 4], yxyx.

        outputs: as for `TFModelsMatcher`. image_sizes: (height, width) [B, 2] in pixels.
        """
        scores, classes = outputs["cls_outputs"].softmax(-1)[..., 1:].max(-1)
        boxes = cycxhw_to_yxyx(outputs["box_outputs"])
        pixels = image_sizes.repeat(1, 2)[:, None].to(boxes)
        return {"detection_scores": scores, "detection_classes": classes + 1, "detection_boxes": boxes * pixels}
