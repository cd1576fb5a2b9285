"""The reference's twin of the TensorFlow Model Garden's DETR under the suite's interfaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration

BOXES: dict[str, Callable[..., Tensor]] = {
    "cxcywh_to_xyxy": dialects.cycxhw_to_yxyx,
    "xyxy_to_cxcywh": dialects.yxyx_to_cycxhw,
    "iou": dialects.bbox_overlap,
    "giou": dialects.bbox_generalized_overlap,
    "elementwise_giou": dialects.generalized_overlap,
}


class OfLayers(nn.Module):
    """The losses, which take a list of all layers' outputs."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.losses = dialects.TFModelsDetectionLoss(
            configuration.columns,
            tf_models_matcher(configuration),
            configuration.loss_class,
            configuration.loss_bbox,
            configuration.loss_giou,
            configuration.class_loss.numbers["eos_coef"],
        )
        self.matcher = self.losses.matcher

    def forward(self, outputs: Mapping[str, Any], labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses of all layers together."""
        losses: dict[str, Tensor] = self.losses([*outputs.get("aux_outputs", ()), outputs], labels)
        return losses


class OfImages(nn.Module):
    """Detections as a dictionary for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.detections = dialects.TFModelsDetections()

    def forward(self, outputs: Mapping[str, Tensor], sizes: Tensor) -> list[dict[str, Tensor]]:
        """Scores, labels and boxes of each image."""
        found = self.detections(outputs, sizes)
        parts = (found[f"detection_{name}"] for name in ("scores", "classes", "boxes"))
        return [dict(zip(("scores", "labels", "boxes"), image, strict=True)) for image in zip(*parts, strict=True)]


def tf_models_matcher(configuration: Configuration) -> dialects.TFModelsMatcher:
    """The Model Garden's matcher."""
    return dialects.TFModelsMatcher(*configuration.cost_weights)


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="tf-models",
        limits=LIMITS,
        boxes=BOXES,
        matcher=tf_models_matcher,
        criterion=OfLayers,
        postprocess=lambda _: OfImages(),
    ),
)
