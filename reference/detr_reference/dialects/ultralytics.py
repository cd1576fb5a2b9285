"""RT-DETR as Ultralytics trains it: targets of all images one after another, one loss of all earlier layers.

Zhao et al. 2024, "DETRs Beat YOLOs on Real-time Object Detection"; the behaviour of ultralytics 8.4; norm §14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ..batch import Pairs, check_output_shapes, matched_queries, matched_targets
from ..boxes import box_cxcywh_to_xyxy, upcast_half
from ..losses import box_l1_loss, sigmoid_focal_loss
from ..matcher import focal_cost
from ..overlaps import overlaps_with_epsilon
from ..quality import varifocal_loss_through_weights
from .targets import overlap_targets

EPSILON = 1e-7
"""What is added to the divisors of IoU and GIoU."""

COST_GAIN = {"class": 1.0, "bbox": 5.0, "giou": 2.0}
LOSS_GAIN = {"class": 1.0, "bbox": 5.0, "giou": 2.0}


def iou_and_giou(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and GIoU [...] of cxcywh boxes [..., 4], with broadcasting."""
    return overlaps_with_epsilon(box_cxcywh_to_xyxy(boxes1), box_cxcywh_to_xyxy(boxes2), EPSILON)


def padded_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the IoU [...] of xyxy boxes [..., 4], with broadcasting."""
    return overlaps_with_epsilon(boxes1, boxes2, EPSILON)[0]


class UltralyticsMatcher(nn.Module):
    """Matches the queries of each image with its own targets, whose indices count those of the whole batch.

    cost_gain: the weights of "class", "bbox" and "giou". Costs that are not finite become 0.

    Raises ValueError if all three weights are zero.
    """

    def __init__(self, cost_gain: Mapping[str, float] | None = None, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        self.cost_gain = cost_gain or COST_GAIN
        if not any(self.cost_gain.values()):
            raise ValueError("the cost gains of class, bbox and giou are all zero; at least one must count")
        self.class_cost = focal_cost(alpha, gamma)

    @torch.no_grad()
    def forward(
        self, pred_bboxes: Tensor, pred_scores: Tensor, gt_bboxes: Tensor, gt_cls: Tensor, gt_groups: Sequence[int]
    ) -> Pairs:
        """Return for each image the matched (query indices, target indices), int64, query indices ascending.

        pred_bboxes: [B, Q, 4], cxcywh. pred_scores: logits, [B, Q, K]. gt_bboxes: [N, 4] and gt_cls: [N], the targets
        of all images. gt_groups: how many of them each image has. A target index is its row in gt_bboxes.
        """
        pairs = []
        starts = accumulate(gt_groups, initial=0)
        for boxes, scores, start, count in zip(pred_bboxes, pred_scores, starts, gt_groups, strict=False):
            own = slice(start, start + count)
            cost = self.cost_matrix(upcast_half(boxes), upcast_half(scores), upcast_half(gt_bboxes[own]), gt_cls[own])
            queries, targets = linear_sum_assignment(cost.cpu().numpy())
            pairs.append((torch.as_tensor(queries), torch.as_tensor(targets) + start))
        return pairs

    def cost_matrix(self, boxes: Tensor, scores: Tensor, gt_bboxes: Tensor, gt_cls: Tensor) -> Tensor:
        """Return the cost [Q, n] of each query with each target of one image."""
        _, giou = iou_and_giou(boxes[:, None], gt_bboxes[None])
        cost = (
            self.cost_gain["class"] * self.class_cost(scores, gt_cls)
            + self.cost_gain["bbox"] * (boxes[:, None] - gt_bboxes[None]).abs().sum(-1)
            + self.cost_gain["giou"] * (1 - giou)
        )
        return cost.where(cost.isfinite(), 0.0)


class UltralyticsDetectionLoss(nn.Module):
    """The losses of RT-DETR with varifocal targets, each times its weight: the training loss is their sum.

    loss_gain: the weights of "class", "bbox" and "giou". Each process counts its own matched pairs.
    """

    def __init__(
        self,
        nc: int = 80,
        loss_gain: Mapping[str, float] | None = None,
        aux_loss: bool = True,
        gamma: float = 1.5,
        alpha: float = 0.25,
        matcher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.nc = nc
        self.loss_gain = loss_gain or LOSS_GAIN
        self.aux_loss = aux_loss
        self.gamma = gamma
        self.alpha = alpha
        self.matcher = matcher or UltralyticsMatcher({"class": 2, "bbox": 5, "giou": 2})

    def forward(
        self,
        preds: tuple[Tensor, Tensor],
        batch: Mapping[str, Any],
        dn_bboxes: Tensor | None = None,
        dn_scores: Tensor | None = None,
        dn_meta: Mapping[str, Any] | None = None,
    ) -> dict[str, Tensor]:
        """Return loss_class, loss_bbox and loss_giou of the last layer, 0-dimensional.

        With aux_loss the same with `_aux`, sums over the layers before it. Those of denoising queries have `_dn` after
        that, and are 0 where there are none.

        preds: boxes [L, B, Q, 4], cxcywh, and logits [L, B, Q, nc] of L decoder layers. batch: `cls` [N], `bboxes`
        [N, 4] and `gt_groups`, as for `UltralyticsMatcher`. dn_bboxes, dn_scores: those of denoising queries. dn_meta:
        `dn_pos_idx`, for each image the denoising queries that have a target, and `dn_num_group`, for how many groups.

        Raises ValueError for predictions of other shapes.
        """
        losses = self._losses(*preds, batch)
        if dn_bboxes is None or dn_scores is None or dn_meta is None:
            return losses | {f"{name}_dn": loss.new_zeros(()) for name, loss in losses.items()}
        starts = accumulate(batch["gt_groups"], initial=0)
        pairs = [
            (queries, torch.arange(start, start + count).repeat(dn_meta["dn_num_group"]))
            for queries, start, count in zip(dn_meta["dn_pos_idx"], starts, batch["gt_groups"], strict=False)
        ]
        denoising = self._losses(dn_bboxes, dn_scores, batch, pairs)
        return losses | {f"{name}_dn": loss for name, loss in denoising.items()}

    def _losses(
        self, bboxes: Tensor, scores: Tensor, batch: Mapping[str, Any], pairs: Pairs | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of the last layer, and with aux_loss the sums of those before; pairs: of every layer."""
        *earlier, last = (self._layer_losses(*layer, batch, pairs) for layer in zip(bboxes, scores, strict=True))
        if not self.aux_loss:
            return last
        none = last["loss_class"].new_zeros(())
        return last | {f"{name}_aux": sum((layer[name] for layer in earlier), none) for name in last}

    def _layer_losses(
        self, bboxes: Tensor, scores: Tensor, batch: Mapping[str, Any], pairs: Pairs | None
    ) -> dict[str, Tensor]:
        outputs = {"pred_logits": scores, "pred_boxes": bboxes}
        check_output_shapes(outputs, self.nc)
        gt_cls, gt_bboxes, gt_groups = batch["cls"], batch["bboxes"], batch["gt_groups"]
        if pairs is None:
            pairs = self.matcher(bboxes, scores, gt_bboxes, gt_cls, gt_groups)
        # Target indices count the targets of the whole batch, so that each image has the same list of targets.
        targets = [{"labels": gt_cls, "boxes": gt_bboxes}] * len(gt_groups)
        matched = bboxes[matched_queries(pairs)]
        matched_bboxes = matched_targets([gt_bboxes] * len(gt_groups), pairs)
        count = max(len(matched), 1)
        _, giou = iou_and_giou(matched, matched_bboxes)
        losses = {
            "loss_class": self._class_losses(outputs, targets, pairs),
            "loss_bbox": box_l1_loss(matched, matched_bboxes),
            "loss_giou": 1 - giou,
        }
        return {name: self.loss_gain[name.removeprefix("loss_")] * loss.sum() / count for name, loss in losses.items()}

    def _class_losses(self, outputs: Mapping[str, Tensor], targets: list[dict[str, Tensor]], pairs: Pairs) -> Tensor:
        """Return the varifocal loss of each logit, and its focal loss where nothing is matched; [B, Q, nc]."""
        scores = outputs["pred_logits"]
        positive, iou = overlap_targets(outputs, targets, pairs, padded_iou)
        if not positive.any():
            return sigmoid_focal_loss(scores, positive, self.alpha, self.gamma)
        return varifocal_loss_through_weights(scores, positive, iou, self.alpha, self.gamma)
