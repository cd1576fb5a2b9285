"""The losses of boxes: L1 and GIoU. Carion et al. 2020, section 3.1; Rezatofighi et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass

from detr_spec.boxes import cxcywh_to_xyxy, elementwise_giou, with_flat_kinks
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
