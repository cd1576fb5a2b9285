"""DETR, Deformable DETR and Co-DINO as mmdetection trains them: targets as corners in pixels, weighted losses.

Carion et al. 2020; Zhu et al. 2021; Zong et al. 2023, "DETRs with Collaborative Hybrid Assignments Training"; the
behaviour of mmdet 3.3; norm §14.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..batch import Outputs, Pairs, Targets, check_output_shapes, matched_queries, matched_targets
from ..boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, upcast_half
from ..criterion import average_num_boxes
from ..losses import box_l1_loss, sigmoid_focal_loss
from ..matcher import ClassCost, focal_cost, negative_probability_cost
from ..overlaps import overlaps_of_raised_areas
from ..postprocess import TopKPostProcess
from ..quality import quality_focal_loss

LEAST_AREA = 1e-6
"""What the areas of unions and enclosing boxes are raised to, in whatever units these are."""

LOSS_WEIGHT = {"loss_cls": 1.0, "loss_bbox": 5.0, "loss_iou": 2.0}


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, mode: str = "iou", is_aligned: bool = False, eps: float = LEAST_AREA
) -> Tensor:
    """Return the "iou" or "giou" of xyxy boxes [n, 4] and [m, 4]: of all pairs [n, m], or of aligned boxes [n].

    The areas of unions and enclosing boxes are raised to eps, before the one is taken from the other.

    Raises ValueError for another mode.
    """
    if mode not in ("iou", "giou"):
        raise ValueError(f"mode is {mode!r}; expected 'iou' or 'giou'")
    first, second = (bboxes1, bboxes2) if is_aligned else (bboxes1[:, None], bboxes2[None])
    iou, giou = overlaps_of_raised_areas(first, second, eps)
    return iou if mode == "iou" else giou


def mmdet_focal_cost(alpha: float = 0.25, gamma: float = 2.0) -> ClassCost:
    """Return the class cost of the sigmoid heads, whose logarithms have an epsilon of 1e-12."""
    return focal_cost(alpha, gamma, epsilon=1e-12)


class MMDetAssigner(nn.Module):
    """Says which target each query has, as mmdetection's HungarianAssigner: 0 is none, and j + 1 is target j.

    Overlaps are of boxes in pixels, the L1 distance is of relative boxes. DETR has the weights 1, 5, 2 and
    `negative_probability_cost`, Deformable DETR 2, 5, 2 and `mmdet_focal_cost()`.

    Raises ValueError if all three weights are zero.
    """

    def __init__(
        self,
        cls_cost: float = 1.0,
        bbox_cost: float = 5.0,
        iou_cost: float = 2.0,
        class_cost: ClassCost = negative_probability_cost,
    ) -> None:
        super().__init__()
        if cls_cost == 0 and bbox_cost == 0 and iou_cost == 0:
            raise ValueError("cls_cost, bbox_cost and iou_cost are all zero; at least one must count")
        self.cls_cost = cls_cost
        self.bbox_cost = bbox_cost
        self.iou_cost = iou_cost
        self.class_cost = class_cost

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Targets) -> list[Tensor]:
        """Return the assignment of each image, int64 [Q].

        outputs: `pred_logits` [B, Q, C] and `pred_boxes` [B, Q, 4], relative cxcywh. targets: for each image `labels`
        [n], `bboxes` [n, 4], xyxy in pixels, and `img_shape`, its (height, width).

        Raises ValueError for a cost that is NaN.
        """
        images = zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True)
        return [self.assign(upcast_half(logits), upcast_half(boxes), target) for logits, boxes, target in images]

    def assign(self, logits: Tensor, boxes: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Return the assignment of one image, int64 [Q]; logits [Q, C], boxes [Q, 4]."""
        factor = image_factor(target)
        truth = upcast_half(target["bboxes"])
        distance = (boxes[:, None] - box_xyxy_to_cxcywh(truth / factor)[None]).abs().sum(-1)
        giou = bbox_overlaps(box_cxcywh_to_xyxy(boxes) * factor, truth, "giou")
        classes = self.class_cost(logits, target["labels"])
        cost = self.cls_cost * classes + self.bbox_cost * distance - self.iou_cost * giou
        queries, objects = linear_sum_assignment(cost.cpu().numpy())
        assigned = torch.zeros(len(boxes), dtype=torch.int64)
        assigned[torch.as_tensor(queries)] = torch.as_tensor(objects) + 1
        return assigned


class Matched(NamedTuple):
    """The matched pairs of a layer: where the queries are, and of each its boxes in both units, label, and divisor."""

    where: tuple[Tensor, Tensor]
    labels: Tensor
    boxes: Tensor
    target_boxes: Tensor
    pixels: tuple[Tensor, Tensor]
    num_total_pos: float

    @property
    def logits(self) -> tuple[Tensor, Tensor, Tensor]:
        """The index of each query's logit at the label of its target."""
        return *self.where, self.labels


class MMDetLoss(nn.Module):
    """The losses of mmdetection's heads, each times its weight: the training loss is their sum.

    loss_weight: by the names loss_cls, loss_bbox and loss_iou. Losses of boxes are divided by the number of matched
    pairs, averaged over the ranks, at least 1.
    """

    encoder_classes = False
    """Whether the encoder's proposals learn the classes of targets; they learn class 0 otherwise."""

    def __init__(
        self, num_classes: int, assigner: MMDetAssigner, loss_weight: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.assigner = assigner
        self.loss_weight = loss_weight or LOSS_WEIGHT

    @property
    @abstractmethod
    def cls_out_channels(self) -> int:
        """The number of columns that the logits must have."""

    @abstractmethod
    def loss_cls(self, cls_scores: Tensor, matched: Matched) -> Tensor:
        """Return the loss of the classes [] of logits [B, Q, C]."""

    def forward(
        self,
        all_layers_cls_scores: Sequence[Tensor],
        all_layers_bbox_preds: Sequence[Tensor],
        batch_gt_instances: Sequence[Mapping[str, Tensor]],
        batch_img_metas: Sequence[Mapping[str, Any]],
        enc_cls_scores: Tensor | None = None,
        enc_bbox_preds: Tensor | None = None,
        dn_meta: Mapping[str, int] | None = None,
    ) -> dict[str, Tensor]:
        """Return loss_cls, loss_bbox and loss_iou of the last layer, and with `d0.`, `d1.` … those of the others.

        Those of the encoder's proposals begin with `enc_`, those of denoising queries with `dn_` and `d0.dn_` ….

        all_layers_cls_scores: L logits [B, Q, C]. all_layers_bbox_preds: L relative boxes [B, Q, 4], cxcywh.
        batch_gt_instances: for each image `labels` [n] and `bboxes` [n, 4], xyxy in pixels. batch_img_metas: for each
        image `img_shape`, its (height, width). enc_cls_scores, enc_bbox_preds: the encoder's proposals, likewise.
        dn_meta: the first `num_denoising_queries` of each layer's queries are denoising ones, `num_denoising_groups`
        groups of them; the first of each group are made from the targets of an image, the others learn no object.

        Raises ValueError for predictions of other shapes.
        """
        targets = [{**own, **meta} for own, meta in zip(batch_gt_instances, batch_img_metas, strict=True)]
        layers = [*zip(all_layers_cls_scores, all_layers_bbox_preds, strict=True)]
        count = 0 if dn_meta is None else dn_meta["num_denoising_queries"]
        losses = of_layers(
            "", [self.loss_by_feat_single(own[:, count:], box[:, count:], targets) for own, box in layers]
        )
        if enc_cls_scores is not None and enc_bbox_preds is not None:
            zeros = [{**target, "labels": torch.zeros_like(target["labels"])} for target in targets]
            proposed = targets if self.encoder_classes else zeros
            losses |= of_layers("enc_", [self.loss_by_feat_single(enc_cls_scores, enc_bbox_preds, proposed)])
        if dn_meta is not None:
            pairs = denoising_pairs(targets, count, dn_meta["num_denoising_groups"])
            denoised = [self.loss_of_pairs(own[:, :count], box[:, :count], targets, pairs) for own, box in layers]
            losses |= of_layers("dn_", denoised)
        return losses

    def loss_by_feat_single(self, cls_scores: Tensor, bbox_preds: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Return the weighted losses of one layer."""
        outputs = {"pred_logits": cls_scores, "pred_boxes": bbox_preds}
        check_output_shapes(outputs, self.cls_out_channels)
        assigned = self.assigner(outputs, targets)
        pairs = [(own.nonzero()[:, 0], own[own > 0] - 1) for own in assigned]
        return self.loss_of_pairs(cls_scores, bbox_preds, targets, pairs)

    def loss_of_pairs(
        self, cls_scores: Tensor, bbox_preds: Tensor, targets: Targets, pairs: Pairs
    ) -> dict[str, Tensor]:
        """Return the weighted losses of one layer, of which these pairs of each image are matched."""
        matched = matched_pairs(bbox_preds, targets, pairs)
        giou = bbox_overlaps(*matched.pixels, "giou", is_aligned=True)
        losses = {
            "loss_cls": self.loss_cls(cls_scores, matched),
            "loss_bbox": box_l1_loss(matched.boxes, matched.target_boxes).sum() / matched.num_total_pos,
            "loss_iou": (1 - giou).sum() / matched.num_total_pos,
        }
        return {name: self.loss_weight[name] * loss for name, loss in losses.items()}


class MMDetDETRLoss(MMDetLoss):
    """The losses of DETRHead: a softmax over K classes and, at index K, no object, whose weight is bg_cls_weight.

    The sum of weighted cross-entropies is divided by the sum of weights, which is raised to 1.
    """

    def __init__(
        self,
        num_classes: int,
        assigner: MMDetAssigner,
        loss_weight: Mapping[str, float] | None = None,
        bg_cls_weight: float = 0.1,
    ) -> None:
        super().__init__(num_classes, assigner, loss_weight)
        self.bg_cls_weight = bg_cls_weight

    @property
    def cls_out_channels(self) -> int:
        """K + 1, the classes and no object."""
        return self.num_classes + 1

    def loss_cls(self, cls_scores: Tensor, matched: Matched) -> Tensor:
        """Return the cross-entropy []."""
        labels = torch.full(cls_scores.shape[:2], self.num_classes, dtype=torch.int64, device=cls_scores.device)
        labels[matched.where] = matched.labels
        weights = cls_scores.new_ones(self.cls_out_channels)
        weights[self.num_classes] = self.bg_cls_weight
        total = cross_entropy(cls_scores.flatten(0, 1), labels.flatten(), weights, reduction="sum")
        return total / weights[labels].sum().clamp(min=1)


class MMDetFocalLoss(MMDetLoss):
    """The losses of DeformableDETRHead and its heirs: K sigmoids, the focal loss divided by the matched pairs."""

    def __init__(
        self,
        num_classes: int,
        assigner: MMDetAssigner,
        loss_weight: Mapping[str, float] | None = None,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        super().__init__(num_classes, assigner, loss_weight)
        self.alpha = alpha
        self.gamma = gamma

    @property
    def cls_out_channels(self) -> int:
        """K, the classes alone."""
        return self.num_classes

    def loss_cls(self, cls_scores: Tensor, matched: Matched) -> Tensor:
        """Return the focal loss []."""
        positive = torch.zeros_like(cls_scores, dtype=torch.bool)
        positive[matched.logits] = True
        return sigmoid_focal_loss(cls_scores, positive, self.alpha, self.gamma).sum() / matched.num_total_pos


class MMDetDINOLoss(MMDetFocalLoss):
    """The losses of DINOHead: as MMDetFocalLoss, with the classes of targets for proposals."""

    encoder_classes = True


class CoDINOLoss(MMDetLoss):
    """The losses of CoDINOHead's decoder: K sigmoids, whose targets are the overlaps of matched pairs.

    These are of relative boxes, while those in loss_iou are of boxes in pixels.
    """

    encoder_classes = True

    def __init__(
        self,
        num_classes: int,
        assigner: MMDetAssigner,
        loss_weight: Mapping[str, float] | None = None,
        beta: float = 2.0,
    ) -> None:
        super().__init__(num_classes, assigner, loss_weight)
        self.beta = beta

    @property
    def cls_out_channels(self) -> int:
        """K, the classes alone."""
        return self.num_classes

    def loss_cls(self, cls_scores: Tensor, matched: Matched) -> Tensor:
        """Return the quality focal loss []."""
        boxes, target_boxes = (box_cxcywh_to_xyxy(own) for own in (matched.boxes, matched.target_boxes))
        iou = bbox_overlaps(boxes.detach(), target_boxes, is_aligned=True)
        quality = torch.zeros_like(cls_scores)
        quality[matched.logits] = iou.to(cls_scores.dtype)
        return quality_focal_loss(cls_scores, quality, self.beta).sum() / matched.num_total_pos


class MMDetPostProcess(nn.Module):
    """The highest scores of an image, with boxes in its pixels and within its edges.

    Raises ValueError if max_per_img < 1.
    """

    def __init__(self, max_per_img: int = 100) -> None:
        super().__init__()
        self.top_k = TopKPostProcess(max_per_img)

    @torch.no_grad()
    def forward(self, outputs: Outputs, img_shapes: Tensor) -> list[dict[str, Tensor]]:
        """Return `scores`, `labels` and `boxes` of each image as `TopKPostProcess`; img_shapes: (height, width)."""
        found = self.top_k(outputs, img_shapes)
        for detections, shape in zip(found, img_shapes, strict=True):
            edges = shape.flip(0).repeat(2).to(detections["boxes"])
            detections["boxes"] = detections["boxes"].clamp(min=0).minimum(edges)
        return list(found)


def of_layers(prefix: str, losses: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the losses of layers by their names, those of layers before the last one with `d0.`, `d1.` … before."""
    *earlier, last = losses
    named = {f"{prefix}{name}": loss for name, loss in last.items()}
    for layer, own in enumerate(earlier):
        named |= {f"d{layer}.{prefix}{name}": loss for name, loss in own.items()}
    return named


def denoising_pairs(targets: Targets, queries: int, groups: int) -> Pairs:
    """Return the pairs of each image: in each group of denoising queries, if there are any, query j has target j."""
    starts = torch.arange(groups if queries else 0) * (queries // groups)
    counts = [len(target["labels"]) for target in targets]
    return [
        ((starts[:, None] + torch.arange(count)).flatten(), torch.arange(count).repeat(len(starts))) for count in counts
    ]


def image_factor(target: Mapping[str, Tensor]) -> Tensor:
    """Return (width, height, width, height) of the image of a target, [4]."""
    return target["img_shape"].flip(0).repeat(2).to(upcast_half(target["bboxes"]))


def matched_pairs(bbox_preds: Tensor, targets: Targets, pairs: Pairs) -> Matched:
    """Return the matched pairs of relative boxes [B, Q, 4] with the targets of each image."""
    where = matched_queries(pairs)
    factor = matched_targets([image_factor(target).expand(len(target["labels"]), 4) for target in targets], pairs)
    boxes = bbox_preds[where]
    target_boxes = box_xyxy_to_cxcywh(matched_targets([target["bboxes"] for target in targets], pairs) / factor)
    return Matched(
        where,
        matched_targets([target["labels"] for target in targets], pairs),
        boxes,
        target_boxes,
        (box_cxcywh_to_xyxy(boxes) * factor, box_cxcywh_to_xyxy(target_boxes) * factor),
        average_num_boxes([{"labels": queries} for queries, _ in pairs], bbox_preds.device),
    )
