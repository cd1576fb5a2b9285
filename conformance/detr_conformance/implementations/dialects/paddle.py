"""The reference's twin of PaddleDetection's DETR under the suite's interfaces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.ultralytics import stacked
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def paddle_matcher(configuration: Configuration) -> dialects.PaddleMatcher:
    """PaddleDetection's matcher."""
    return dialects.PaddleMatcher(dict(zip(("class", "bbox", "giou"), configuration.cost_weights, strict=True)))


class StackedLayers(nn.Module):
    """PaddleDetection's loss, which takes the predictions of all layers as one tensor, from outputs of usual form."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.matcher = paddle_matcher(configuration)
        self.loss = dialects.PaddleDETRLoss(
            configuration.num_classes,
            self.matcher,
            {
                "class": configuration.loss_class,
                "bbox": configuration.loss_bbox,
                "giou": configuration.loss_giou,
                "no_object": configuration.class_loss.numbers["eos_coef"],
            },
            aux_loss=configuration.decoder_layers > 1,
        )

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        truth = [target["gt_bbox"] for target in targets], [target["gt_class"][:, None] for target in targets]
        losses: dict[str, Tensor] = self.loss(*stacked([*outputs.get("aux_outputs", ()), outputs]), *truth)
        return losses


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="paddle",
        # The weight of classes is one in the cross-entropy, beside that of no object, and not a factor of the loss.
        limits=replace(LIMITS, fixed={"loss_class": 1.0}),
        matcher=paddle_matcher,
        criterion=StackedLayers,
    ),
)
