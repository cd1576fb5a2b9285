"""Overlaps of boxes under the rules that a profile declares."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from detr_reference.boxes import box_area, box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, generalized_box_iou, upcast_half
from detr_spec.profile import BoxRules


@dataclass(frozen=True)
class Overlaps:
    """IoU and GIoU of xyxy boxes, with what a profile adds to their divisors, or raises these to.

    Each is of all pairs, [n, 4] and [m, 4] → [n, m], or of boxes at the same place, [n, 4] and [n, 4] → [n].
    """

    rules: BoxRules

    @property
    def operations(self) -> dict[str, Callable[..., Tensor]]:
        """All operations on boxes, by their names."""
        return {
            "cxcywh_to_xyxy": box_cxcywh_to_xyxy,
            "xyxy_to_cxcywh": box_xyxy_to_cxcywh,
            "iou": self.iou,
            "giou": self.giou,
            "elementwise_giou": self.elementwise_giou,
        }

    def iou(self, first: Tensor, second: Tensor) -> Tensor:
        """The IoU of all pairs."""
        return self._iou_and_union(first[:, None], second[None])[0]

    def elementwise_iou(self, first: Tensor, second: Tensor) -> Tensor:
        """The IoU of boxes at the same place."""
        return self._iou_and_union(first, second)[0]

    def giou(self, first: Tensor, second: Tensor) -> Tensor:
        """The GIoU of all pairs; raises ValueError for boxes that are none."""
        return self._giou(first, second, first[:, None], second[None])

    def elementwise_giou(self, first: Tensor, second: Tensor) -> Tensor:
        """The GIoU of boxes at the same place; raises ValueError for boxes that are none."""
        return self._giou(first, second, first, second)

    def diou(self, left: Tensor, right: Tensor) -> Tensor:
        """IoU less the squared distance of centres over the squared enclosing diagonal, with broadcasting."""
        left, right = upcast_half(left), upcast_half(right)
        apart = (left[..., :2] + left[..., 2:] - right[..., :2] - right[..., 2:]) / 2
        near, far = torch.minimum(left[..., :2], right[..., :2]), torch.maximum(left[..., 2:], right[..., 2:])
        diagonal = (far - near).square().sum(dim=-1) + self.rules.giou_epsilon
        return self._iou_and_union(left, right)[0] - apart.square().sum(dim=-1) / diagonal

    def ciou(self, left: Tensor, right: Tensor, *, weight_moves: bool = False) -> Tensor:
        """DIoU less what the aspect ratios differ in, with broadcasting; its weight has a gradient if weight_moves."""
        left, right = upcast_half(left), upcast_half(right)
        shapes = (torch.atan((box[..., 2] - box[..., 0]) / (box[..., 3] - box[..., 1])) for box in (left, right))
        first, second = shapes
        v = 4 / math.pi**2 * (second - first) ** 2
        divisor = 1 - self._iou_and_union(left, right)[0] + v + self.rules.giou_epsilon
        weight = torch.where(v == 0, 0.0, v / torch.where(v == 0, 1.0, divisor))
        return self.diou(left, right) - (weight if weight_moves else weight.detach()) * v

    def _giou(self, first: Tensor, second: Tensor, left: Tensor, right: Tensor) -> Tensor:
        generalized_box_iou(first[:0], second[:0])  # looks at the shapes
        for boxes in (first, second):
            if self.rules.invalid == "refuse" and not (boxes[:, 2:] >= boxes[:, :2]).all():
                raise ValueError("a box has a negative size or a NaN")
        iou, union = self._iou_and_union(left, right)
        corners = torch.minimum(left[..., :2], right[..., :2]), torch.maximum(left[..., 2:], right[..., 2:])
        enclosure = box_area(torch.cat(corners, dim=-1))
        of_enclosure = self._divisor(enclosure, self.rules.giou_epsilon)
        of_union = self._divisor(union, self.rules.iou_epsilon)
        empty = of_enclosure - of_union if self.rules.adjusted == "areas" else enclosure - union
        giou = iou - empty / of_enclosure
        return giou if self.rules.zero_over_zero == "nan" else torch.where(enclosure * union == 0, -1.0, giou)

    def _iou_and_union(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        left, right = upcast_half(left), upcast_half(right)
        sides = torch.minimum(left[..., 2:], right[..., 2:]) - torch.maximum(left[..., :2], right[..., :2])
        intersection = sides.clamp(min=0).prod(dim=-1)
        union = box_area(left) + box_area(right) - intersection
        return intersection / self._divisor(union, self.rules.iou_epsilon), union

    def _divisor(self, area: Tensor, epsilon: float) -> Tensor:
        least = self.rules.least_divisor
        return area + epsilon if least is None else (area + epsilon).clamp(min=least)
