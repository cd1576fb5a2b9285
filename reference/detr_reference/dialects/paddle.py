"""DETR as PaddleDetection trains it: weighted losses, one loss of all earlier layers, targets as lists of tensors.

Carion et al. 2020; the behaviour of paddledet 2.6; norm §14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ..batch import Pairs, check_output_shapes, matched_queries, matched_targets
from ..boxes import box_cxcywh_to_xyxy, upcast_half
from ..criterion import average_num_boxes
from ..losses import box_l1_loss, weighted_cross_entropy
from ..matcher import negative_probability_cost
from ..overlaps import overlaps_with_epsilon

EPSILON = 1e-10
"""What is added to the divisors of IoU and GIoU."""

MATCHER_COEFF = {"class": 1.0, "bbox": 5.0, "giou": 2.0}
LOSS_COEFF = {"class": 1.0, "bbox": 5.0, "giou": 2.0, "no_object": 0.1}


def one_minus_giou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return 1 - GIoU, [...], of cxcywh boxes [..., 4], with broadcasting."""
    return 1 - overlaps_with_epsilon(box_cxcywh_to_xyxy(boxes1), box_cxcywh_to_xyxy(boxes2), EPSILON)[1]


class PaddleMatcher(nn.Module):
    """Matches each image's queries with its own targets.

    matcher_coeff: the weights of "class", "bbox" and "giou".

    Raises ValueError if all three weights are zero.
    """

    def __init__(self, matcher_coeff: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.matcher_coeff = matcher_coeff or MATCHER_COEFF
        if not any(self.matcher_coeff.values()):
            raise ValueError("the coefficients of class, bbox and giou are all zero; at least one must count")

    @torch.no_grad()
    def forward(self, boxes: Tensor, logits: Tensor, gt_bbox: Sequence[Tensor], gt_class: Sequence[Tensor]) -> Pairs:
        """Return for each image the matched (query indices, target indices), int64, query indices ascending.

        boxes: [B, Q, 4], cxcywh. logits: [B, Q, K+1]. gt_bbox: for each image [n, 4]. gt_class: for each image [n, 1].

        Raises ValueError for a cost that is NaN.
        """
        costs = (
            self.cost_matrix(upcast_half(image_boxes), upcast_half(image_logits), upcast_half(truth), labels.flatten())
            for image_boxes, image_logits, truth, labels in zip(boxes, logits, gt_bbox, gt_class, strict=True)
        )
        matched = (linear_sum_assignment(cost.cpu().numpy()) for cost in costs)
        return [(torch.as_tensor(queries), torch.as_tensor(targets)) for queries, targets in matched]

    def cost_matrix(self, boxes: Tensor, logits: Tensor, gt_bbox: Tensor, labels: Tensor) -> Tensor:
        """Return the cost [Q, n] of each query with each target of one image."""
        return (
            self.matcher_coeff["class"] * negative_probability_cost(logits, labels)
            + self.matcher_coeff["bbox"] * (boxes[:, None] - gt_bbox[None]).abs().sum(-1)
            + self.matcher_coeff["giou"] * one_minus_giou(boxes[:, None], gt_bbox[None])
        )


class PaddleDETRLoss(nn.Module):
    """The losses of DETR, each times its weight: the training loss is their sum.

    loss_coeff: the weights of "bbox" and "giou", and those that "class" and "no_object" have in the cross-entropy,
    which is a weighted mean. Boxes are divided by the number of targets, averaged over the ranks, at least 1.
    """

    def __init__(
        self,
        num_classes: int = 80,
        matcher: nn.Module | None = None,
        loss_coeff: Mapping[str, float] | None = None,
        aux_loss: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher or PaddleMatcher()
        self.loss_coeff = loss_coeff or LOSS_COEFF
        self.aux_loss = aux_loss

    def forward(
        self, boxes: Tensor, logits: Tensor, gt_bbox: Sequence[Tensor], gt_class: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Return loss_class, loss_bbox and loss_giou of the last layer, 0-dimensional.

        With aux_loss the same with `_aux`, sums over the layers before it.

        boxes: [L, B, Q, 4], cxcywh. logits: [L, B, Q, K+1] of L decoder layers. gt_bbox and gt_class: as for
        `PaddleMatcher`.

        Raises ValueError for predictions of other shapes.
        """
        num_gts = average_num_boxes([{"labels": labels} for labels in gt_class], logits.device)
        *earlier, last = (
            self._layer_losses(*layer, gt_bbox, gt_class, num_gts) for layer in zip(boxes, logits, strict=True)
        )
        if not self.aux_loss:
            return last
        none = logits.new_zeros(())
        return last | {f"{name}_aux": sum((layer[name] for layer in earlier), none) for name in last}

    def _layer_losses(
        self, boxes: Tensor, logits: Tensor, gt_bbox: Sequence[Tensor], gt_class: Sequence[Tensor], num_gts: float
    ) -> dict[str, Tensor]:
        check_output_shapes({"pred_logits": logits, "pred_boxes": boxes}, self.num_classes + 1)
        pairs = self.matcher(boxes, logits, gt_bbox, gt_class)
        matched, truth = boxes[matched_queries(pairs)], matched_targets(gt_bbox, pairs)
        query_classes = torch.full(logits.shape[:2], self.num_classes, dtype=torch.int64, device=logits.device)
        query_classes[matched_queries(pairs)] = matched_targets(gt_class, pairs).flatten()
        class_weights = logits.new_full((self.num_classes + 1,), self.loss_coeff["class"])
        class_weights[self.num_classes] = self.loss_coeff["no_object"]
        return {
            "loss_class": weighted_cross_entropy(logits, query_classes, class_weights),
            "loss_bbox": self.loss_coeff["bbox"] * box_l1_loss(matched, truth).sum() / num_gts,
            "loss_giou": self.loss_coeff["giou"] * one_minus_giou(matched, truth).sum() / num_gts,
        }
