"""Grounding DINO, as Open-GroundingDino trains it: labels are phrases, and logits are over the tokens of a text.

Liu et al. 2023, "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection"; norm §16.

Beside logits and boxes, outputs hold the texts of the images: `label_maps`, for each image a map [K, T] that is 1
where a token belongs to a phrase and 0 elsewhere, and `text_mask`, bool [B, T], which is false where a text has ended.
A label is the number of a phrase of its own image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ..batch import Outputs, Pairs, Targets, check_output_shapes, check_targets, matched_queries, matched_targets
from ..boxes import box_cxcywh_to_xyxy, upcast_half
from ..criterion import Matcher, average_num_boxes
from ..losses import sigmoid_focal_loss
from ..matcher import check_precision
from .denoising import with_suffix
from .epsilon_boxes import elementwise_generalized_box_iou, generalized_box_iou

EPSILON = 1e-8


class GroundingDINOMatcher(nn.Module):
    """Matches each image's queries with its targets at least total cost; the weights that it trains with are 1, 5, 2.

    The cost of the class of a target is the mean, over the tokens of its phrase, of the focal loss of saying yes to a
    token in place of no. Raises ValueError if all three weights are zero.
    """

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ) -> None:
        super().__init__()
        if cost_class == 0 and cost_bbox == 0 and cost_giou == 0:
            raise ValueError("cost_class, cost_bbox and cost_giou are all zero; at least one must count")
        self.cost_class, self.cost_bbox, self.cost_giou = cost_class, cost_bbox, cost_giou
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Targets) -> Pairs:
        """Return for each image the matched (query indices, target indices), int64, query indices ascending.

        outputs: `pred_logits` [B, Q, T], `pred_boxes` [B, Q, 4] as cxcywh, `label_maps`. A cost that is not finite
        counts as 0. Raises ValueError on wrong shapes, labels that are no phrase, and boxes of negative size or with a
        NaN; TypeError on float16 or bfloat16 predictions on the CPU.
        """
        check_precision(outputs)
        check_texts(outputs, targets)
        images = zip(outputs["pred_logits"], outputs["pred_boxes"], outputs["label_maps"], targets, strict=True)
        return [self._match_image(*image) for image in images]

    def _match_image(
        self, logits: Tensor, boxes: Tensor, label_map: Tensor, target: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        boxes, target_boxes = upcast_half(boxes), upcast_half(target["boxes"])
        class_cost = self.class_cost(upcast_half(logits), label_map[target["labels"]])
        distance = (boxes[:, None] - target_boxes[None, :]).abs().sum(dim=-1)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))
        cost = self.cost_bbox * distance + self.cost_class * class_cost - self.cost_giou * giou
        cost = cost.nan_to_num(0.0, 0.0, 0.0)
        query_indices, target_indices = linear_sum_assignment(cost.cpu().numpy())
        return torch.as_tensor(query_indices), torch.as_tensor(target_indices)

    def class_cost(self, logits: Tensor, phrases: Tensor) -> Tensor:
        """Return the class cost [Q, n] of each query with each target.

        logits: [Q, T]. phrases: [n, T], 1 at the tokens of each target's phrase.
        """
        p = logits.sigmoid()
        cost_of_yes = self.focal_alpha * (1 - p) ** self.focal_gamma * -(p + EPSILON).log()
        cost_of_no = (1 - self.focal_alpha) * p**self.focal_gamma * -(1 - p + EPSILON).log()
        return (cost_of_yes - cost_of_no) @ shares(phrases).T.to(logits)


class GroundingDINOCriterion(nn.Module):
    """The losses of every decoder layer, over the tokens of phrases, and those of the encoder's proposals.

    loss_ce is the sum of the focal losses of the tokens of all texts, a matched query saying yes to those of its
    target's phrase, over the number of matched pairs of this process. loss_bbox and loss_giou are those of DAB-DETR.
    """

    def __init__(
        self,
        matcher: Matcher,
        weight_dict: Mapping[str, float],
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ) -> None:
        super().__init__()
        self.matcher, self.weight_dict = matcher, weight_dict
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma

    def forward(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Return the losses and metrics of a batch: loss_ce, loss_bbox, loss_giou, loss_xy, loss_hw.

        outputs: as of the matcher, with `text_mask`; `aux_outputs`, a list of such, adds the same with the suffix `_i`,
        and `interm_outputs` with `_interm`. Raises as the matcher does.
        """
        num_boxes = average_num_boxes(targets, outputs["pred_logits"].device)
        layers = {f"_{layer}": auxiliary for layer, auxiliary in enumerate(outputs.get("aux_outputs", []))}
        if "interm_outputs" in outputs:
            layers["_interm"] = outputs["interm_outputs"]
        losses: dict[str, Tensor] = {}
        for suffix, layer in {"": outputs, **layers}.items():
            check_texts(layer, targets)
            pairs = self._match(layer, targets)
            found = self.loss_of_classes(layer, targets, pairs) | self.loss_of_boxes(layer, targets, pairs, num_boxes)
            losses |= with_suffix(found, suffix)
        return losses

    def _match(self, outputs: Outputs, targets: Targets) -> Pairs:
        predictions = {name: upcast_half(outputs[name]) for name in ("pred_logits", "pred_boxes")}
        return self.matcher({**predictions, "label_maps": outputs["label_maps"]}, targets)

    def loss_of_classes(self, outputs: Outputs, targets: Targets, pairs: Pairs) -> dict[str, Tensor]:
        """Return loss_ce of one layer, under its pairs."""
        logits: Tensor = outputs["pred_logits"]
        positive = torch.zeros_like(logits, dtype=torch.bool)
        for image, (queries, objects) in enumerate(pairs):
            labels = targets[image]["labels"][objects]
            positive[image, queries] = outputs["label_maps"][image][labels] > 0
        counted = outputs["text_mask"][:, None].expand_as(logits)
        losses = sigmoid_focal_loss(logits[counted], positive[counted], self.focal_alpha, self.focal_gamma)
        return {"loss_ce": losses.sum() / max(sum(len(queries) for queries, _ in pairs), 1)}

    def loss_of_boxes(self, outputs: Outputs, targets: Targets, pairs: Pairs, num_boxes: float) -> dict[str, Tensor]:
        """Return loss_bbox and loss_giou of one layer, and two metrics, the parts of the first."""
        boxes = outputs["pred_boxes"][matched_queries(pairs)]
        target_boxes = matched_targets([target["boxes"] for target in targets], pairs)
        distances = (boxes - target_boxes).abs()
        giou = elementwise_generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target_boxes))
        return {
            "loss_bbox": distances.sum() / num_boxes,
            "loss_giou": (1 - giou).sum() / num_boxes,
            "loss_xy": distances[:, :2].detach().sum() / num_boxes,
            "loss_hw": distances[:, 2:].detach().sum() / num_boxes,
        }


class GroundingDINOPostProcess(nn.Module):
    """The k highest of an image's scores of queries and phrases; Grounding DINO takes 300.

    The score of a phrase is the mean of the sigmoids of its tokens. Raises ValueError if k < 1.
    """

    def __init__(self, k: int = 300) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = k

    @torch.no_grad()
    def forward(self, outputs: Outputs, target_sizes: Tensor) -> list[dict[str, Tensor]]:
        """Return for each image `scores` [k], descending, `labels` [k] and `boxes` [k, 4], xyxy in pixels.

        outputs: as of the matcher. target_sizes: [B, 2], (height, width). If k exceeds the number of queries and
        phrases, all are returned. Raises ValueError on wrong shapes.
        """
        check_output_shapes(outputs)
        images = zip(outputs["pred_logits"], outputs["pred_boxes"], outputs["label_maps"], target_sizes, strict=True)
        return [self._detections(*image) for image in images]

    def _detections(self, logits: Tensor, boxes: Tensor, label_map: Tensor, size: Tensor) -> dict[str, Tensor]:
        # Not a product of matrices, which in bfloat16 may let the NaN of one query into the row of another.
        probabilities = (logits.sigmoid()[:, None] * shares(label_map).to(logits)).sum(dim=-1)
        scores, positions = probabilities.flatten().topk(min(self.k, probabilities.numel()))
        queries, labels = positions // len(label_map), positions % len(label_map)
        height, width = size.to(boxes)
        pixels = box_cxcywh_to_xyxy(boxes[queries]) * torch.stack([width, height, width, height])
        return {"scores": scores, "labels": labels, "boxes": pixels}


def shares(phrases: Tensor) -> Tensor:
    """Return what part each token has of the mean over its phrase; [n, T] → [n, T], each row of sum 1."""
    return phrases / phrases.sum(dim=-1, keepdim=True)


def check_texts(outputs: Outputs, targets: Targets) -> None:
    """Raise ValueError unless logits, boxes, maps and targets fit each other, and labels are phrases of their image."""
    check_output_shapes(outputs)
    logits, label_maps = outputs["pred_logits"], outputs["label_maps"]
    check_targets(targets, len(logits), max(map(len, label_maps), default=0))
    for image, (target, label_map) in enumerate(zip(targets, label_maps, strict=True)):
        if label_map.shape != (len(label_map), logits.shape[-1]):
            raise ValueError(
                f"label_maps[{image}] must have shape [K, {logits.shape[-1]}], a column for each of the logits, "
                f"got {list(label_map.shape)}"
            )
        if (target["labels"] >= len(label_map)).any():
            raise ValueError(
                f"targets[{image}]['labels'] must lie in [0, {len(label_map) - 1}], the phrases of its image, "
                f"got {int(target['labels'].max())}"
            )
