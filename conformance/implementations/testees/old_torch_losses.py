"""DETR's losses for a PyTorch of years ago: a testee for another interpreter, with another torch than the judge's.

uv venv --python 3.8 old && uv pip install --python old/bin/python numpy scipy torch==1.12.1
PYTHONPATH=FOLDER_OF_DETR_TESTEE detr-spec check "process:old/bin/python old_torch_losses.py"
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detr_testee import serve, torch_testee
from scipy.optimize import linear_sum_assignment
from torch import nn


def corners(boxes):
    """Boxes (cx, cy, w, h) as (x0, y0, x1, y1)."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def centres(boxes):
    """Boxes (x0, y0, x1, y1) as (cx, cy, w, h)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def area(boxes):
    """The areas of boxes in corners."""
    size = boxes[..., 2:] - boxes[..., :2]
    return size[..., 0] * size[..., 1]


def overlap(first, second):
    """IoU and GIoU of boxes in corners whose shapes broadcast; refuses boxes of negative size, and NaN."""
    for boxes in (first, second):
        if not bool((boxes[..., 2:] >= boxes[..., :2]).all()):
            raise ValueError("a box has a negative size or a NaN")
    both = (torch.min(first[..., 2:], second[..., 2:]) - torch.max(first[..., :2], second[..., :2])).clamp(min=0)
    intersection = both[..., 0] * both[..., 1]
    union = area(first) + area(second) - intersection
    around = torch.max(first[..., 2:], second[..., 2:]) - torch.min(first[..., :2], second[..., :2])
    enclosing = around[..., 0] * around[..., 1]
    iou = intersection / union
    return iou, iou - (enclosing - union) / enclosing


def pairwise(which):
    """IoU (0) or GIoU (1) of all pairs."""
    return lambda first, second: overlap(first[:, None], second[None])[which]


class Matcher(nn.Module):
    """Assigns queries to targets at the least total cost, image by image."""

    def __init__(self, cost_class, cost_bbox, cost_giou):
        super().__init__()
        if not (cost_class or cost_bbox or cost_giou):
            raise ValueError("all costs are zero")
        self.weights = cost_class, cost_bbox, cost_giou

    @torch.no_grad()
    def forward(self, outputs, targets):
        """Pairs of query and target indices, one an image."""
        images = zip(outputs["pred_logits"], outputs["pred_boxes"], targets)
        return [self.match(logits, boxes, target) for logits, boxes, target in images]

    def match(self, logits, boxes, target):
        """The query and the target indices of one image."""
        class_weight, box_weight, giou_weight = self.weights
        cost = (
            box_weight * (boxes[:, None] - target["boxes"][None]).abs().sum(-1)
            - class_weight * logits.softmax(-1)[:, target["labels"]]
            - giou_weight * pairwise(1)(corners(boxes), corners(target["boxes"]))
        )
        rows, columns = linear_sum_assignment(cost.cpu().numpy())
        return torch.as_tensor(rows, dtype=torch.int64), torch.as_tensor(columns, dtype=torch.int64)


class Criterion(nn.Module):
    """The losses of all decoder layers."""

    def __init__(self, configuration):
        super().__init__()
        self.matcher = Matcher(*configuration.cost_weights)
        self.weight_dict = configuration.weight_dict
        self.no_object = configuration.num_classes
        weight = torch.ones(configuration.num_classes + 1)
        weight[-1] = configuration.class_loss.eos_coef
        self.register_buffer("class_weight", weight)

    def forward(self, outputs, targets):
        """The losses by name."""
        if len(targets) != len(outputs["pred_logits"]):
            raise ValueError("expected one target an image")
        if any(bool((target["labels"] >= self.no_object).any()) for target in targets):
            raise ValueError("a label has no class")
        losses = self.layer(outputs, targets, last=True)
        for place, layer in enumerate(outputs.get("aux_outputs", ())):
            losses.update({f"{key}_{place}": loss for key, loss in self.layer(layer, targets).items()})
        return losses

    def layer(self, outputs, targets, last=False):
        """The losses of one decoder layer."""
        logits, boxes = outputs["pred_logits"], outputs["pred_boxes"]
        pairs = self.matcher(outputs, targets)
        images = torch.cat([torch.full_like(queries, image) for image, (queries, _) in enumerate(pairs)])
        queries = torch.cat([queries for queries, _ in pairs])
        labels = torch.cat([target["labels"][chosen] for target, (_, chosen) in zip(targets, pairs)])
        goals = torch.cat([target["boxes"][chosen] for target, (_, chosen) in zip(targets, pairs)])
        classes = torch.full(logits.shape[:2], self.no_object, dtype=torch.int64)
        classes[images, queries] = labels
        count = max(sum(len(target["labels"]) for target in targets), 1)
        predicted = boxes[images, queries]
        foreground = (logits.argmax(-1) != self.no_object).sum(1)
        sizes = torch.as_tensor([len(target["labels"]) for target in targets])
        losses = {
            "loss_ce": F.cross_entropy(logits.transpose(1, 2), classes, self.class_weight),
            "loss_bbox": (predicted - goals).abs().sum() / count,
            "loss_giou": (1 - overlap(corners(predicted), corners(goals))[1]).sum() / count,
            "cardinality_error": (foreground - sizes).abs().to(logits.dtype).mean().detach(),
        }
        if last:
            hits = (logits[images, queries].argmax(-1) == labels).to(logits.dtype)
            losses["class_error"] = 100 - 100 * (hits.mean() if len(hits) else hits.sum()).detach()
        return losses


@torch.no_grad()
def detections(outputs, sizes):
    """The best foreground class of each query, and its box in pixels."""
    scores, labels = outputs["pred_logits"].softmax(-1)[..., :-1].max(-1)
    scale = sizes.flip(1).repeat(1, 2)[:, None].to(outputs["pred_boxes"].dtype)
    boxes = corners(outputs["pred_boxes"]) * scale
    return [dict(zip(("scores", "labels", "boxes"), image)) for image in zip(scores, labels, boxes)]


if __name__ == "__main__":
    serve(
        torch_testee(
            name="losses on torch " + torch.__version__,
            profile="detr",
            boxes={
                "cxcywh_to_xyxy": corners,
                "xyxy_to_cxcywh": centres,
                "iou": pairwise(0),
                "giou": pairwise(1),
                "elementwise_giou": lambda first, second: overlap(first, second)[1],
            },
            matcher=lambda configuration: Matcher(*configuration.cost_weights),
            criterion=Criterion,
            postprocess=lambda _: detections,
        )
    )
