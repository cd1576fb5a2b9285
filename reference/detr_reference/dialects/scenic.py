"""DETR as google-research/scenic trains it: no object is column 0, and the targets of a batch are padded arrays.

Carion et al. 2020; norm §14.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..batch import Outputs, check_output_shapes
from ..boxes import box_cxcywh_to_xyxy, upcast_half
from ..criterion import average_num_boxes
from ..losses import box_l1_loss
from ..matcher import negative_probability_cost
from ..overlaps import overlaps_with_epsilon

EPSILON = 1e-6
"""What is added to the divisors of IoU and GIoU."""

LOSS_TERMS_WEIGHTS = {"loss_class": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


def padded_giou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the GIoU [...] of cxcywh boxes [..., 4], with broadcasting."""
    return overlaps_with_epsilon(box_cxcywh_to_xyxy(boxes1), box_cxcywh_to_xyxy(boxes2), EPSILON)[1]


class ScenicMatcher(nn.Module):
    """Matches each image's queries with its own targets, and those that are left with padding.

    DETR has the weights 1, 5, 2. The distance is of centres and sides.

    Raises ValueError if all three weights are zero.
    """

    def __init__(self, class_loss_coef: float = 1.0, bbox_loss_coef: float = 5.0, giou_loss_coef: float = 2.0) -> None:
        super().__init__()
        if class_loss_coef == 0 and bbox_loss_coef == 0 and giou_loss_coef == 0:
            raise ValueError("the coefficients of class, bbox and giou are all zero; at least one must count")
        self.class_loss_coef = class_loss_coef
        self.bbox_loss_coef = bbox_loss_coef
        self.giou_loss_coef = giou_loss_coef

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Mapping[str, Tensor]) -> Tensor:
        """Return the matched pairs, int64 [B, 2, min(Q, N)]: query indices, which ascend, and target indices.

        outputs: `pred_logits` [B, Q, K+1] and `pred_boxes` [B, Q, 4], cxcywh. targets: `labels` [B, N], from 1, and 0
        for padding, and `boxes` [B, N, 4].

        Raises ValueError for a cost that is NaN.
        """
        logits, boxes = upcast_half(outputs["pred_logits"]), upcast_half(outputs["pred_boxes"])
        images = zip(logits, boxes, targets["labels"], upcast_half(targets["boxes"]), strict=True)
        pairs = (linear_sum_assignment(self.cost_matrix(*image).cpu().numpy()) for image in images)
        return torch.stack([torch.stack([torch.as_tensor(side) for side in pair]) for pair in pairs])

    def cost_matrix(self, logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor) -> Tensor:
        """Return the cost [Q, N] of each query with each target of one image, and with padding."""
        cost = (
            self.class_loss_coef * negative_probability_cost(logits, labels)
            + self.bbox_loss_coef * (boxes[:, None] - target_boxes[None]).abs().sum(-1)
            - self.giou_loss_coef * padded_giou(boxes[:, None], target_boxes[None])
        )
        real = labels > 0
        # Padding costs more than any object, and not so much more that differences between these round away.
        return cost.where(real, cost[:, real].max() + 1) if real.any() else torch.zeros_like(cost)


class ScenicLoss(nn.Module):
    """The losses of DETR whose L1 distance is of corners, and their weighted sum, `total_loss`.

    num_classes: K + 1, no object among them, which is class 0. loss_terms_weights: by the names of losses; they count
    for every layer. eos_coef: the weight of no object in the cross-entropy, whose divisor, the sum
    of weights, is at least 1. Losses of boxes are divided by the matched pairs.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: ScenicMatcher,
        loss_terms_weights: Mapping[str, float] | None = None,
        eos_coef: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher
        self.loss_terms_weights = loss_terms_weights or LOSS_TERMS_WEIGHTS
        self.eos_coef = eos_coef

    def forward(self, outputs: Outputs, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return loss_class, loss_bbox, loss_giou and total_loss, 0-dimensional.

        Those of an auxiliary output i are called `loss_class_aux_i` and so on. outputs and targets: as for
        `ScenicMatcher`; `aux_outputs`: a list of such outputs.

        Raises ValueError for predictions of other shapes.
        """
        losses = self._layer_losses(outputs, targets)
        total = self._weighted(losses)
        for layer, layer_outputs in enumerate(outputs.get("aux_outputs", [])):
            own = self._layer_losses(layer_outputs, targets)
            total = total + self._weighted(own)
            losses |= {f"{name}_aux_{layer}": loss for name, loss in own.items()}
        return losses | {"total_loss": total}

    def _weighted(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.loss_terms_weights[name] * loss for name, loss in losses.items()]).sum()

    def _layer_losses(self, outputs: Outputs, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        check_output_shapes(outputs, self.num_classes)
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        queries, objects = self.matcher(outputs, targets).to(logits.device).unbind(1)
        labels = targets["labels"].gather(1, objects)
        query_classes = torch.zeros(logits.shape[:2], dtype=labels.dtype, device=logits.device)
        query_classes = query_classes.scatter(1, queries, labels)
        class_weights = logits.new_ones(self.num_classes)
        class_weights[0] = self.eos_coef
        surprise = cross_entropy(logits.flatten(0, 1), query_classes.flatten(), class_weights, reduction="sum")
        num_matched = average_num_boxes([{"labels": own[own > 0]} for own in labels], logits.device)
        images, places = (labels > 0).nonzero(as_tuple=True)
        matched = boxes[images, queries[images, places]]
        truth = targets["boxes"][images, objects[images, places]]
        corners = box_cxcywh_to_xyxy(matched), box_cxcywh_to_xyxy(truth)
        return {
            "loss_class": surprise / class_weights[query_classes].sum().clamp(min=1),
            "loss_bbox": box_l1_loss(*corners).sum() / num_matched,
            "loss_giou": (1 - padded_giou(matched, truth)).sum() / num_matched,
        }
