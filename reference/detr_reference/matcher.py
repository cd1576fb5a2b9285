"""The matcher: the one-to-one assignment of least total cost (norm §3; Carion et al. 2020, eq. 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from .batch import Outputs, Pairs, Targets, check_output_shapes, check_output_values, check_targets
from .boxes import box_cxcywh_to_xyxy, generalized_box_iou, upcast_half

ClassCost: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def negative_probability_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the class cost [Q, n] of the softmax dialect: minus the probability of each target's label.

    logits: [Q, C]. labels: int64 [n], columns of the logits.
    """
    return -logits.softmax(dim=-1)[:, labels]


def focal_cost(alpha: float = 0.25, gamma: float = 2.0, epsilon: float = 1e-8) -> ClassCost:
    """Return the class cost of the sigmoid dialect, from logits [Q, C] and labels [n] to costs [Q, n].

    With p the sigmoid of the query's logit for the target's label, the cost is the focal loss of saying yes
    to that label in place of no: alpha (1 - p)^gamma (-log(p + epsilon)) - (1 - alpha) p^gamma (-log(1 - p +
    epsilon)). Source: norm §8; Deformable DETR (Zhu et al. 2021), on the focal loss of Lin et al. 2017.
    """

    def cost(logits: Tensor, labels: Tensor) -> Tensor:
        p = logits.sigmoid()[:, labels]
        cost_of_yes = alpha * (1 - p) ** gamma * -(p + epsilon).log()
        cost_of_no = (1 - alpha) * p**gamma * -(1 - p + epsilon).log()
        return cost_of_yes - cost_of_no

    return cost


class HungarianMatcher(nn.Module):
    """Matches each image's queries with its own targets at least total cost.

    The cost of query i and target j is
    cost_bbox |b_i - b_j|_1 + cost_class class_cost(z_i, y_j) - cost_giou GIoU(b_i, b_j),
    the L1 distance taken on cxcywh boxes. DETR trains with weights 1, 5, 2 and `negative_probability_cost`;
    Deformable DETR with 2, 5, 2 and `focal_cost()`.

    Raises ValueError if all three weights are zero.
    """

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        *,
        class_cost: ClassCost = negative_probability_cost,
    ) -> None:
        super().__init__()
        if cost_class == 0 and cost_bbox == 0 and cost_giou == 0:
            raise ValueError("cost_class, cost_bbox and cost_giou are all zero; at least one must count")
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.class_cost = class_cost

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Targets) -> Pairs:
        """Return for each image the matched (query indices, target indices).

        outputs: `pred_logits` [B, Q, C], `pred_boxes` [B, Q, 4] as cxcywh. targets: B dicts of `labels` [n],
        int64, and `boxes` [n, 4] as cxcywh. The indices are int64 on the CPU, each of length min(Q, n);
        query indices ascend.

        Raises ValueError on wrong shapes, labels outside the columns of the logits, a NaN or +inf logit, a
        box that is not finite or has a negative size, and a cost without a value (GIoU of two boxes without
        area); TypeError on float16 or bfloat16 predictions on the CPU.
        """
        check_output_shapes(outputs)
        check_precision(outputs)
        check_output_values(outputs)
        num_images, _, num_logits = outputs["pred_logits"].shape
        check_targets(targets, num_images, num_logits)
        return [
            self._match_image(image, logits, boxes, target["labels"], target["boxes"])
            for image, (logits, boxes, target) in enumerate(
                zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True)
            )
        ]

    def cost_matrix(self, logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor) -> Tensor:
        """Return the cost [Q, n] of each query with each target of one image.

        logits: [Q, C]. boxes: [Q, 4] as cxcywh. labels: int64 [n]. target_boxes: [n, 4] as cxcywh.

        Raises ValueError if a box has a negative size or a NaN.
        """
        logits, boxes, target_boxes = upcast_half(logits), upcast_half(boxes), upcast_half(target_boxes)
        class_cost = self.class_cost(logits, labels)
        l1_distance = (boxes[:, None] - target_boxes[None, :]).abs().sum(dim=-1)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))
        return self.cost_bbox * l1_distance + self.cost_class * class_cost - self.cost_giou * giou

    def _match_image(
        self, image: int, logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        cost = self.cost_matrix(logits, boxes, labels, target_boxes)
        if not cost.isfinite().all():
            raise ValueError(
                f"image {image} has a matching cost that is NaN or infinite; either a predicted and a "
                "target box both have no area, so that their GIoU is 0/0, or all logits of a query are -inf"
            )
        query_indices, target_indices = linear_sum_assignment(cost.cpu().numpy())
        return torch.as_tensor(query_indices), torch.as_tensor(target_indices)


def check_precision(outputs: Outputs) -> None:
    """Raise TypeError unless predictions are fine enough to be matched: float16 and bfloat16 are not, on the CPU."""
    for name in ("pred_logits", "pred_boxes"):
        values: Tensor = outputs[name]
        if values.device.type == "cpu" and values.dtype in (torch.float16, torch.bfloat16):
            raise TypeError(f"{name} is {values.dtype} on the CPU, too coarse to rank costs; convert it by .float()")
