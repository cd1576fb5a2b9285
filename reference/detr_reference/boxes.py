"""Box formats, areas, IoU and generalised IoU (norm §2), with no epsilon anywhere.

Two formats occur: `cxcywh` is (centre x, centre y, width, height), `xyxy` is (x0, y0, x1, y1) with (x0, y0)
the corner of the smallest coordinates. Every function keeps the gradient and works in any unit.
"""

from __future__ import annotations

import torch
from torch import Tensor


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Return boxes [..., 4] given as cxcywh in the format xyxy."""
    center_x, center_y, width, height = boxes.unbind(-1)
    return torch.stack(
        [center_x - width / 2, center_y - height / 2, center_x + width / 2, center_y + height / 2], dim=-1
    )


def box_xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Return boxes [..., 4] given as xyxy in the format cxcywh."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Return the areas [...] of xyxy boxes [..., 4]; float16 and bfloat16 give float32."""
    x0, y0, x1, y1 = upcast_half(boxes).unbind(-1)
    return (x1 - x0) * (y1 - y0)


def box_iou(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IoU and the union's area, each [n, m], of all pairs of a box of each set.

    IoU = I / U with I the area of the intersection and U = |a| + |b| - I. It is NaN (0 / 0) for two boxes
    without area. Both arguments are xyxy, [n, 4] and [m, 4]; float16 and bfloat16 give float32.

    Raises ValueError if an argument is not [n, 4].
    """
    _check_shape(boxes1, "boxes1")
    _check_shape(boxes2, "boxes2")
    return _iou_and_union(boxes1[:, None], boxes2[None, :])


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the generalised IoU [n, m] of all pairs of a box of each set.

    GIoU = IoU - (E - U) / E with E the area of the smallest box that encloses both (Rezatofighi et al.
    2019). It lies in [-1, 1], and is NaN for two boxes without area. Both arguments are xyxy, [n, 4] and [m,
    4]; float16 and bfloat16 give float32.

    Raises ValueError if an argument is not [n, 4], or holds a box with x1 < x0, y1 < y0 or a NaN.
    """
    check_proper(boxes1, "boxes1")
    check_proper(boxes2, "boxes2")
    return _generalized_iou(boxes1[:, None], boxes2[None, :])


def elementwise_generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the generalised IoU [n] of each box with the box at the same place in the other set.

    It is the diagonal of `generalized_box_iou`, under the same conditions.

    Raises ValueError as `generalized_box_iou` does, and if the two sets differ in length.
    """
    check_proper(boxes1, "boxes1")
    check_proper(boxes2, "boxes2")
    if len(boxes1) != len(boxes2):
        raise ValueError(
            f"boxes1 and boxes2 are paired one to one, but hold {len(boxes1)} and {len(boxes2)} boxes; "
            "use generalized_box_iou for all pairs"
        )
    return _generalized_iou(boxes1, boxes2)


def elementwise_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the IoU [n] of each box with the box at the same place in the other set, as `box_iou`.

    Raises ValueError if an argument is not [n, 4].
    """
    _check_shape(boxes1, "boxes1")
    _check_shape(boxes2, "boxes2")
    return _iou_and_union(boxes1, boxes2)[0]


def upcast_half(values: Tensor) -> Tensor:
    """Return float16 and bfloat16 values as float32, and any other tensor as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _iou_and_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and union area [...] of xyxy boxes [..., 4] that broadcast against each other."""
    boxes1, boxes2 = upcast_half(boxes1), upcast_half(boxes2)
    upper_left = torch.maximum(boxes1[..., :2], boxes2[..., :2])
    lower_right = torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    width, height = (lower_right - upper_left).clamp(min=0).unbind(-1)
    intersection = width * height
    union = box_area(boxes1) + box_area(boxes2) - intersection
    return intersection / union, union


def _generalized_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the generalised IoU [...] of xyxy boxes [..., 4] that broadcast against each other."""
    boxes1, boxes2 = upcast_half(boxes1), upcast_half(boxes2)
    iou, union = _iou_and_union(boxes1, boxes2)
    upper_left = torch.minimum(boxes1[..., :2], boxes2[..., :2])
    lower_right = torch.maximum(boxes1[..., 2:], boxes2[..., 2:])
    enclosure = box_area(torch.cat([upper_left, lower_right], dim=-1))
    return iou - (enclosure - union) / enclosure


def _check_shape(boxes: Tensor, name: str) -> None:
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must have shape [n, 4], got {list(boxes.shape)}")


def check_proper(boxes: Tensor, name: str) -> None:
    """Raise ValueError unless boxes are [n, 4], xyxy of sides that are not negative, without a NaN."""
    _check_shape(boxes, name)
    proper = (boxes[:, 2:] >= boxes[:, :2]).all(dim=1)
    if not proper.all():
        first = int((~proper).nonzero()[0])
        raise ValueError(
            f"{name} must be (x0, y0, x1, y1) with x0 <= x1, y0 <= y1 and no NaN, but {name}[{first}] is "
            f"{boxes[first].tolist()}; were centre-size boxes passed without conversion, or negative sizes?"
        )
