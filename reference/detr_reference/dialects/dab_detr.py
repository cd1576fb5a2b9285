"""DAB-DETR: overlaps that are divided by areas and 1e-6, and the parts of the L1 loss as metrics.

Liu et al. 2022, "DAB-DETR: Dynamic Anchor Boxes are Better Queries for DETR"; norm §13.
"""

from __future__ import annotations

from torch import Tensor

from ..batch import Outputs, Pairs, Targets, matched_queries, matched_targets
from ..boxes import box_cxcywh_to_xyxy, upcast_half
from ..postprocess import TopKPostProcess
from .conditional_detr import ConditionalDETRCriterion, ConditionalDETRMatcher
from .epsilon_boxes import elementwise_generalized_box_iou, generalized_box_iou

DABDETRPostProcess = TopKPostProcess
"""DAB-DETR takes the 300 highest scores of an image."""


class DABDETRMatcher(ConditionalDETRMatcher):
    """Matches with the focal class cost, and overlaps of `epsilon_boxes`."""

    def cost_matrix(self, logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor) -> Tensor:
        """Return the cost [Q, n] of each query with each target of one image, as `HungarianMatcher.cost_matrix`."""
        logits, boxes, target_boxes = upcast_half(logits), upcast_half(boxes), upcast_half(target_boxes)
        distance = (boxes[:, None] - target_boxes[None, :]).abs().sum(dim=-1)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))
        return self.cost_class * self.class_cost(logits, labels) + self.cost_bbox * distance - self.cost_giou * giou


class DABDETRCriterion(ConditionalDETRCriterion):
    """The losses of Conditional DETR, with overlaps of `epsilon_boxes`.

    Beside them are two metrics, which sum to loss_bbox: loss_xy, of centres, and loss_hw, of sides.
    """

    def _layer_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        if "boxes" in self.losses:
            boxes = outputs["pred_boxes"][matched_queries(pairs)]
            target_boxes = matched_targets([target["boxes"] for target in targets], pairs)
            giou = elementwise_generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))
            losses["loss_giou"] = (1 - giou).sum() / num_boxes
            distances = (boxes - target_boxes).detach().abs()
            losses["loss_xy"] = distances[:, :2].sum() / num_boxes
            losses["loss_hw"] = distances[:, 2:].sum() / num_boxes
        return losses
