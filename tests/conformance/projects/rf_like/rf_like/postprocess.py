"""The post-processing."""

import torch
from torch import nn

from rf_like.boxes import box_cxcywh_to_xyxy


class PostProcess(nn.Module):
    def __init__(self, num_select=300):
        super().__init__()
        self.num_select = num_select

    @torch.no_grad()
    def forward(self, outputs, target_sizes):
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        classes = logits.shape[-1]
        scores, places = logits.sigmoid().flatten(1).topk(min(self.num_select, logits.shape[1] * classes), dim=1)
        scale = torch.stack([target_sizes[:, 1], target_sizes[:, 0]] * 2, dim=1).to(boxes.dtype)
        return [
            {"scores": score, "labels": place % classes, "boxes": box_cxcywh_to_xyxy(box[place // classes]) * factor}
            for score, place, box, factor in zip(scores, places, boxes, scale, strict=True)
        ]
