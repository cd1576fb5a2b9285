"""The loss of Conditional DETR and DAB-DETR in Hugging Face transformers.

Declared, as documented: the key names `logits`, `class_labels` and `auxiliary_outputs`; no class_error ("removed
logging parameter"); the training loss beside its parts. The matcher replaces costs that are not finite, so that broken
logits rank last. DAB-DETR has the same loss function: no 1e-6 is added to areas, and no part of the L1 loss is
reported. The focal α and γ of the matcher are fixed, and so is the γ of the loss.

It is called as both models call it, with the predictions of all layers stacked, and does not show its matching. The
matcher alone, and the boxes, are those of Deformable DETR, which `transformers_losses` has; `transformers_families` has
the image processor of both.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.loss.loss_deformable_detr import DeformableDetrForObjectDetectionLoss
from transformers_losses import set_up_accelerate

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profile import replace
from detr_spec.profiles import CONDITIONAL

PROFILE = replace(
    CONDITIONAL,
    keys=replace(
        CONDITIONAL.keys,
        logits="logits",
        auxiliary="auxiliary_outputs",
        labels="class_labels",
        class_error=None,
        total="loss",
    ),
    non_finite_logits="rank-last",
)


class Loss(nn.Module):
    """The loss function of a model, which is given the layers' predictions stacked."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        set_up_accelerate()
        cost_class, cost_bbox, cost_giou = configuration.cost_weights
        self.config = SimpleNamespace(
            class_cost=cost_class,
            bbox_cost=cost_bbox,
            giou_cost=cost_giou,
            num_labels=configuration.num_classes,
            focal_alpha=configuration.class_loss.numbers["alpha"],
            cls_loss_coefficient=configuration.loss_class,
            bbox_loss_coefficient=configuration.loss_bbox,
            giou_loss_coefficient=configuration.loss_giou,
            decoder_layers=configuration.decoder_layers,
            auxiliary_loss=configuration.decoder_layers > 1,
        )
        """What it reads of a model's configuration, whose numbers are whole there, or might."""

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers, and their weighted sum."""
        layers = [*outputs.get("auxiliary_outputs", ()), outputs]
        logits, boxes = (torch.stack([layer[name] for layer in layers]) for name in ("logits", "pred_boxes"))
        given = logits[-1], targets, logits.device, boxes[-1], self.config, logits, boxes
        total, losses, _ = DeformableDetrForObjectDetectionLoss(*given)
        return {**losses, "loss": total}


IMPLEMENTATION = torch_implementation(
    name="transformers-conditional-detr-loss",
    profile=PROFILE,
    limits=Limits(fixed={"class_cost.alpha": 0.25, "class_cost.gamma": 2.0, "class_loss.gamma": 2.0}),
    criterion=Loss,
)
