"""The losses of boxes: L1 and GIoU. Carion et al. 2020, section 3.1; Rezatofighi et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from detr_spec.boxes import cxcywh_to_xyxy, elementwise_giou, with_flat_kinks
from detr_spec.distances import elementwise_ciou, elementwise_diou
from detr_spec.terms.term import BoxTerm, Layer
from detr_spec.tolerance import Numbers, absolute, rounded_like


@dataclass(frozen=True, kw_only=True)
class BoxL1(BoxTerm):
    """Σ ‖b̂ − b‖₁ over matched pairs / num_boxes, boxes as (cx, cy, w, h)."""

    name = "box-l1"
    laws = BoxTerm.laws | {"pulls from afar"}

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        return absolute(layer.boxes - layer.truth).reshape(-1).sum() / layer.normaliser


@dataclass(frozen=True, kw_only=True)
class CornerL1(BoxL1):
    """Σ ‖b̂ − b‖₁ over matched pairs / num_boxes, boxes as (x0, y0, x1, y1)."""

    name = "corner-l1"

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        predicted, truth = cxcywh_to_xyxy(layer.boxes), cxcywh_to_xyxy(layer.truth)
        return absolute(predicted - truth).reshape(-1).sum() / layer.normaliser


@dataclass(frozen=True, kw_only=True)
class BoxGiou(BoxTerm):
    """Σ (1 − GIoU) over matched pairs / num_boxes."""

    name = "box-giou"
    laws = BoxTerm.laws | {"scale-invariant"}

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        predicted, truth = layer.corners(with_flat_kinks(layer.boxes)), layer.corners(layer.truth)
        giou = elementwise_giou(predicted, truth, layer.rules)
        return (1.0 - rounded_like(giou, layer.boxes)).sum() / layer.normaliser


@dataclass(frozen=True, kw_only=True)
class BoxDiou(BoxTerm):
    """Σ (1 − DIoU) over matched pairs / num_boxes. Zheng et al. 2020, "Distance-IoU Loss", equation 6."""

    name = "box-diou"

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        predicted, truth = layer.corners(with_flat_kinks(layer.boxes)), layer.corners(layer.truth)
        diou = elementwise_diou(predicted, truth, layer.rules)
        return (1.0 - rounded_like(diou, layer.boxes)).sum() / layer.normaliser


@dataclass(frozen=True, kw_only=True)
class BoxCiou(BoxTerm):
    """Σ (1 − CIoU) over matched pairs / num_boxes; α has no gradient. Zheng et al. 2020, equations 8 to 11."""

    name = "box-ciou"
    laws = BoxTerm.laws | {"compares shapes"}

    weight_moves: ClassVar[bool] = False
    """Whether α has a gradient."""

    def value(self, layer: Layer) -> Numbers:
        """Its value; []."""
        predicted, truth = layer.corners(with_flat_kinks(layer.boxes)), layer.corners(layer.truth)
        ciou = elementwise_ciou(predicted, truth, layer.rules, weight_moves=self.weight_moves)
        return (1.0 - rounded_like(ciou, layer.boxes)).sum() / layer.normaliser


@dataclass(frozen=True, kw_only=True)
class BoxCiouThroughWeight(BoxCiou):
    """The same with a gradient of α, as Keras computes it."""

    name = "box-ciou-through-weight"
    weight_moves = True
