"""RF-DETR with segmentation: LW-DETR, with masks at random points in the matching and in the losses of every layer.

As rfdetr 1.11 trains it; norm §15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from ..batch import (
    Outputs,
    Pairs,
    Targets,
    check_masks,
    check_output_shapes,
    check_output_values,
    check_targets,
    matched_queries,
    matched_targets,
)
from ..boxes import box_cxcywh_to_xyxy, generalized_box_iou, upcast_half
from ..losses import dice_loss
from ..masks import pad_masks
from ..matcher import check_precision
from ..points import Sampler, pairwise_cross_entropy, pairwise_dice, point_sample, uncertain_points
from ..postprocess import TopKPostProcess
from .lw_detr import LWDETRCriterion

RFDETRPostProcess = TopKPostProcess
"""RF-DETR takes the 300 highest scores of an image."""

FOCAL_GAMMA = 2.0
"""The exponent of the class cost."""

sampled = partial(point_sample, padding_mode="border")
"""Masks at points, whose pixels go on at their edges."""


class RFDETRSegMatcher(nn.Module):
    """Matches each group of queries with all targets, by classes, boxes, and masks at points.

    There is one point for so many pixels of a predicted mask. RF-DETR has the weights 2, 5, 2, 5, 5. sampler: what
    draws the points.

    Raises ValueError if all weights are zero.
    """

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        focal_alpha: float = 0.25,
        mask_point_sample_ratio: int = 16,
        cost_mask_ce: float = 1,
        cost_mask_dice: float = 1,
        focal_gamma: float = FOCAL_GAMMA,
        sampler: Sampler = torch.rand,
    ) -> None:
        super().__init__()
        if not any((cost_class, cost_bbox, cost_giou, cost_mask_ce, cost_mask_dice)):
            raise ValueError("all cost weights are zero; at least one must count")
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.focal_alpha = focal_alpha
        self.mask_point_sample_ratio = mask_point_sample_ratio
        self.cost_mask_ce = cost_mask_ce
        self.cost_mask_dice = cost_mask_dice
        self.focal_gamma = focal_gamma
        self.sampler = sampler

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Targets, group_detr: int = 1) -> Pairs:
        """Return for each image the matched (query indices, target indices), those of the first group first.

        outputs: `pred_logits` [B, Q, C], `pred_boxes` [B, Q, 4] as cxcywh, `pred_masks` [B, Q, h, w]. targets: B dicts
        of `labels` [n], `boxes` [n, 4] and `masks` [n, H, W], of one size for all images.

        Raises ValueError on wrong shapes and values, as `HungarianMatcher`, and if the number of queries is no multiple
        of group_detr; TypeError on float16 or bfloat16 predictions on the CPU.
        """
        check_output_shapes(outputs)
        check_precision(outputs)
        check_output_values(outputs)
        num_images, num_queries, num_logits = outputs["pred_logits"].shape
        check_targets(targets, num_images, num_logits)
        check_masks(outputs, targets)
        if num_queries % group_detr:
            raise ValueError(f"{num_queries} queries are not {group_detr} groups of equal size")
        predictions = (upcast_half(outputs[name]) for name in ("pred_logits", "pred_boxes", "pred_masks"))
        images = zip(*predictions, targets, strict=True)
        return [self._match_image(self.cost_matrix(*image), num_queries // group_detr) for image in images]

    def cost_matrix(self, logits: Tensor, boxes: Tensor, masks: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Return the cost [Q, n] of each query with each target of one image, at points drawn anew."""
        own, target_boxes = logits[:, target["labels"]], upcast_half(target["boxes"])
        yes = self.focal_alpha * (1 - own.sigmoid()) ** self.focal_gamma * -logsigmoid(own)
        no = (1 - self.focal_alpha) * own.sigmoid() ** self.focal_gamma * -logsigmoid(-own)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))
        num_points = masks.shape[-2] * masks.shape[-1] // self.mask_point_sample_ratio
        points = self.sampler(1, num_points, 2, device=masks.device)
        with torch.autocast(masks.device.type, enabled=False):
            predicted = sampled(masks, points.expand(len(masks), -1, -1))
            truth = target["masks"].to(masks)
            labels = sampled(truth, points.expand(len(truth), -1, -1), mode="nearest")
            of_masks = self.cost_mask_ce * pairwise_cross_entropy(predicted, labels)
            of_masks = of_masks + self.cost_mask_dice * pairwise_dice(predicted, labels)
        l1_distance = (boxes[:, None] - target_boxes[None]).abs().sum(dim=-1)
        return self.cost_class * (yes - no) + self.cost_bbox * l1_distance - self.cost_giou * giou + of_masks

    def _match_image(self, cost: Tensor, size: int) -> tuple[Tensor, Tensor]:
        if not cost.isfinite().all():
            raise ValueError("a matching cost is NaN or infinite; look for a diverged training step")
        groups = [linear_sum_assignment(part) for part in torch.split(cost.cpu(), size)]
        queries = [torch.as_tensor(own) + number * size for number, (own, _) in enumerate(groups)]
        return torch.cat(queries), torch.cat([torch.as_tensor(objects) for _, objects in groups])


class RFDETRSegCriterion(LWDETRCriterion):
    """The losses of LW-DETR, and those of masks at points in every layer. RF-DETR trains with 13 groups.

    losses: as for the other criteria, "masks" for loss_mask_ce and loss_mask_dice. The weights are 5, 5, 2, 5, 5.
    matcher: called with outputs, targets and the number of groups, as `RFDETRSegMatcher`.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: Callable[..., Pairs],
        weight_dict: Mapping[str, float],
        focal_alpha: float,
        losses: Sequence[str],
        group_detr: int = 1,
        sum_group_losses: bool = False,
        mask_point_sample_ratio: int = 16,
        focal_gamma: float = FOCAL_GAMMA,
        sampler: Sampler = torch.rand,
    ) -> None:
        own = [name for name in losses if name != "masks"]
        super().__init__(num_classes, matcher, weight_dict, focal_alpha, own, group_detr, sum_group_losses, focal_gamma)
        self.has_masks = "masks" in losses
        self.mask_point_sample_ratio = mask_point_sample_ratio
        self.sampler = sampler

    def _check(self, outputs: Outputs, auxiliary: Sequence[Outputs], targets: Targets) -> None:
        super()._check(outputs, auxiliary, targets)
        for layer in (outputs, *auxiliary):
            check_masks(layer, targets)

    def _match(self, outputs: Outputs, targets: Targets) -> Pairs:
        names = ("pred_logits", "pred_boxes", "pred_masks")
        return self.matcher({name: upcast_half(outputs[name]) for name in names}, targets, group_detr=self.groups)

    def _layer_losses(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        losses = super()._layer_losses(outputs, targets, pairs, num_boxes)
        if self.has_masks:
            losses |= self._mask_losses(upcast_half(outputs["pred_masks"]), targets, pairs, num_boxes)
        return losses

    def _mask_losses(self, masks: Tensor, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        matched, (height, width) = masks[matched_queries(pairs)], masks.shape[-2:]
        truth = matched_targets(pad_masks([target["masks"] for target in targets]), pairs).to(masks)
        num_points = max(height, height * width // self.mask_point_sample_ratio)
        with torch.no_grad():
            drawn = len(matched), num_points, 3.0, 0.75, self.sampler, masks.device
            points = uncertain_points(partial(sampled, matched), *drawn)
            labels = sampled(truth, points, mode="nearest")
        logits = sampled(matched, points)
        cross_entropy = binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=1)
        return {
            "loss_mask_ce": cross_entropy.sum() / num_boxes,
            "loss_mask_dice": dice_loss(logits, labels).sum() / num_boxes,
        }
