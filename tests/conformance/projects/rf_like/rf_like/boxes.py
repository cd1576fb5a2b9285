"""Box arithmetic."""

import torch


def box_cxcywh_to_xyxy(boxes):
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def generalized_box_iou(first, second):
    for boxes in (first, second):
        if not (boxes[:, 2:] >= boxes[:, :2]).all():
            raise ValueError("a box has x1 < x0 or y1 < y0, or is not a number")
    first, second = first[:, None], second[None]

    def area(boxes):
        return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])

    low, high = torch.maximum(first, second), torch.minimum(first, second)
    inner = torch.cat([low[..., :2], torch.maximum(high[..., 2:], low[..., :2])], dim=-1)
    outer = torch.cat([high[..., :2], low[..., 2:]], dim=-1)
    intersection = area(inner)
    union = area(first) + area(second) - intersection
    return intersection / union - (area(outer) - union) / area(outer)
