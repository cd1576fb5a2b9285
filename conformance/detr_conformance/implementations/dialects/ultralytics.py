"""The reference's twin of Ultralytics' RT-DETR under the suite's interfaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def ultralytics_matcher(configuration: Configuration) -> dialects.UltralyticsMatcher:
    """Ultralytics' matcher."""
    gains = dict(zip(("class", "bbox", "giou"), configuration.cost_weights, strict=True))
    numbers = configuration.class_cost.numbers
    return dialects.UltralyticsMatcher(gains, numbers["alpha"], numbers["gamma"])


class StackedLayers(nn.Module):
    """Ultralytics' loss, which takes the predictions of all layers as one tensor, from outputs of the usual form."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        gains = configuration.loss_class, configuration.loss_bbox, configuration.loss_giou
        self.matcher = ultralytics_matcher(configuration)
        self.loss = dialects.UltralyticsDetectionLoss(
            configuration.num_classes,
            dict(zip(("class", "bbox", "giou"), gains, strict=True)),
            aux_loss=configuration.decoder_layers > 1,
            matcher=self.matcher,
            **configuration.class_loss.numbers,
        )

    def forward(self, outputs: dict[str, Any], targets: dict[str, Any]) -> dict[str, Tensor]:
        """The losses of all layers."""
        predictions, meta = stacked([*outputs.get("aux_outputs", ()), outputs]), outputs["dn_meta"]
        denoising = () if meta is None else (*stacked(outputs["dn_outputs"]), meta)
        losses: dict[str, Tensor] = self.loss(predictions, targets, *denoising)
        return losses


def stacked(layers: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """The boxes and the logits of all layers."""
    boxes, logits = ([layer[name] for layer in layers] for name in ("pred_boxes", "pred_logits"))
    return torch.stack(boxes), torch.stack(logits)


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="ultralytics",
        limits=LIMITS,
        matcher=ultralytics_matcher,
        criterion=StackedLayers,
    ),
)
