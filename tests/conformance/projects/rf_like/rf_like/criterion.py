"""The criterion."""

import torch
import torch.distributed
from torch import nn

from rf_like.boxes import box_cxcywh_to_xyxy, generalized_box_iou
from rf_like.matcher import HungarianMatcher

__all__ = ["HungarianMatcher", "SetCriterion"]


class SetCriterion(nn.Module):
    def __init__(self, num_classes, matcher, weight_dict, focal_alpha, losses, focal_gamma=2.0, group_detr=1):
        super().__init__()
        self.num_classes, self.matcher, self.weight_dict = num_classes, matcher, weight_dict
        self.losses, self.alpha, self.gamma, self.group_detr = losses, focal_alpha, focal_gamma, group_detr

    def forward(self, outputs, targets):
        if outputs["pred_logits"].shape[-1] != self.num_classes:
            raise ValueError(f"expected {self.num_classes} columns of logits")
        num_boxes = self.num_boxes(targets, outputs["pred_boxes"].device)
        losses = self.layer(outputs, targets, num_boxes)
        for place, layer in enumerate(outputs.get("aux_outputs", [])):
            of_layer = self.layer(layer, targets, num_boxes)
            losses |= {f"{name}_{place}": value for name, value in of_layer.items() if name != "class_error"}
        return losses

    def num_boxes(self, targets, device):
        count = torch.as_tensor(float(sum(len(target["labels"]) for target in targets)), device=device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(count)
            count = count / torch.distributed.get_world_size()
        return count.clamp(min=1).item()

    def layer(self, outputs, targets, num_boxes):
        pairs = self.matcher(outputs, targets)
        found = {"labels": self.loss_labels, "boxes": self.loss_boxes, "cardinality": self.loss_cardinality}
        losses = {}
        for name in self.losses:
            losses |= found[name](outputs, targets, pairs, num_boxes)
        return losses

    def loss_labels(self, outputs, targets, pairs, num_boxes):
        logits = outputs["pred_logits"]
        wanted = torch.zeros_like(logits)
        for image, (queries, places) in enumerate(pairs):
            wanted[image, queries, targets[image]["labels"][places]] = 1
        cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        probability = logits.sigmoid()
        wrong = probability * (1 - wanted) + (1 - probability) * wanted
        weight = self.alpha * wanted + (1 - self.alpha) * (1 - wanted)
        loss = (weight * wrong**self.gamma * cross_entropy).sum() / num_boxes
        return {"loss_ce": loss, "class_error": self.class_error(logits, targets, pairs)}

    @torch.no_grad()
    def class_error(self, logits, targets, pairs):
        matched = torch.cat([logits[image, queries] for image, (queries, _) in enumerate(pairs)])
        labels = torch.cat([target["labels"][places] for target, (_, places) in zip(targets, pairs, strict=True)])
        if not len(labels):
            return logits.new_tensor(100.0)
        return 100 - 100 * (matched.argmax(-1) == labels).to(logits.dtype).mean()

    def loss_boxes(self, outputs, targets, pairs, num_boxes):
        predicted = torch.cat([outputs["pred_boxes"][image, queries] for image, (queries, _) in enumerate(pairs)])
        wanted = torch.cat([target["boxes"][places] for target, (_, places) in zip(targets, pairs, strict=True)])
        overlap = generalized_box_iou(box_cxcywh_to_xyxy(predicted), box_cxcywh_to_xyxy(wanted)).diagonal()
        return {
            "loss_bbox": (predicted - wanted).abs().sum() / num_boxes,
            "loss_giou": (1 - overlap).sum() / num_boxes,
        }

    @torch.no_grad()
    def loss_cardinality(self, outputs, targets, pairs, num_boxes):
        logits = outputs["pred_logits"]
        found = (logits.sigmoid() > 0.5).any(-1).sum(-1)
        wanted = torch.as_tensor([len(target["labels"]) for target in targets], device=logits.device)
        return {"cardinality_error": (found - wanted).abs().to(logits.dtype).mean()}
