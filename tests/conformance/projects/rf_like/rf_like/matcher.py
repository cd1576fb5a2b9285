"""The matcher."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from rf_like.boxes import box_cxcywh_to_xyxy, generalized_box_iou


class HungarianMatcher(nn.Module):
    def __init__(self, cost_class=2, cost_bbox=5, cost_giou=2, focal_alpha=0.25, focal_gamma=2.0):
        super().__init__()
        self.weights = cost_class, cost_bbox, cost_giou
        self.alpha, self.gamma = focal_alpha, focal_gamma

    @torch.no_grad()
    def forward(self, outputs, targets):
        if not len(targets) == len(outputs["pred_logits"]):
            raise ValueError("expected one target for each image")
        return [
            self.pairs(logits, boxes, target)
            for logits, boxes, target in zip(outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True)
        ]

    def pairs(self, logits, boxes, target):
        if logits.dtype in (torch.float16, torch.bfloat16):
            raise TypeError(f"the matcher does not compute in {logits.dtype}")
        labels = target["labels"]
        if (labels < 0).any() or (labels >= logits.shape[-1]).any():
            raise ValueError("a label has no class")
        probability = logits.sigmoid()
        yes = self.alpha * (1 - probability) ** self.gamma * -(probability + 1e-8).log()
        no = (1 - self.alpha) * probability**self.gamma * -(1 - probability + 1e-8).log()
        cost_class = (yes - no)[:, labels]
        cost_bbox = torch.cdist(boxes, target["boxes"], p=1)
        cost_giou = -generalized_box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(target["boxes"]))
        parts = zip(self.weights, (cost_class, cost_bbox, cost_giou), strict=True)
        cost = sum(weight * part for weight, part in parts)
        rows, columns = linear_sum_assignment(cost.cpu().numpy())
        return torch.as_tensor(rows), torch.as_tensor(columns)
