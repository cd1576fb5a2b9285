"""Grounding DINO in Hugging Face transformers, whose loss MM-Grounding-DINO has too.

Declared, as documented or said in the code: the key names, the class loss over num_boxes, overlaps without an epsilon,
no class_error, costs that are not finite become the largest number, so that broken queries rank last; the focal numbers
of the matcher and the γ of the loss are fixed. The text mask has a row for each query, as the model makes it. Labels
and the number of targets are not looked at. The encoder's predictions are given to the same criterion in a second call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from families import UNCHECKED
from torch import Tensor, nn
from transformers.loss.loss_grounding_dino import GroundingDinoHungarianMatcher, GroundingDinoImageLoss
from transformers_losses import set_up_accelerate

from detr_conformance import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.profile import BoxRules
from detr_spec.profiles import GROUNDING_DINO
from detr_spec.terms import Focal

PROFILE = replace(
    GROUNDING_DINO,
    class_loss=Focal(),
    boxes=BoxRules(),
    keys=replace(
        GROUNDING_DINO.keys,
        logits="logits",
        auxiliary="auxiliary_outputs",
        labels="class_labels",
        cardinality="cardinality_error",
        box_centre=None,
        box_size=None,
        encoder_loss=None,
    ),
    non_finite_logits="rank-last",
    narrow_dtypes="unchecked",
    **UNCHECKED,
)


def matcher(configuration: Configuration) -> GroundingDinoHungarianMatcher:
    """The matcher."""
    return GroundingDinoHungarianMatcher(*configuration.cost_weights)


class Criterion(nn.Module):
    """The criterion, with the text mask of each query."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        set_up_accelerate()
        self.matcher = matcher(configuration)
        losses = ["labels", "boxes", "cardinality"]
        self.criterion = GroundingDinoImageLoss(self.matcher, configuration.class_loss.alpha, losses)

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all decoder layers."""
        layers = {"auxiliary_outputs": [_with_mask(layer) for layer in outputs.get("auxiliary_outputs", ())]}
        given = _with_mask(outputs) | (layers if "auxiliary_outputs" in outputs else {})
        losses: dict[str, Tensor] = self.criterion(given, targets)
        return losses


def _with_mask(layer: dict[str, Any]) -> dict[str, Any]:
    mask = layer["text_mask"][:, None].expand_as(layer["logits"])
    return {**layer, "text_mask": mask, "label_maps": tuple(layer["label_maps"])}


IMPLEMENTATION = torch_implementation(
    name="transformers-grounding-dino-loss",
    profile=PROFILE,
    limits=Limits(
        dtypes=("float32",), fixed={"class_cost.alpha": 0.25, "class_cost.gamma": 2.0, "class_loss.gamma": 2.0}
    ),
    matcher=matcher,
    criterion=Criterion,
)
