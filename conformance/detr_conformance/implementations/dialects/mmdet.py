"""The reference's twins of mmdetection's heads under the suite's interfaces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.rt_detr import loss_weights
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_reference.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from detr_spec.configuration import Configuration


def softmax_assigner(configuration: Configuration) -> dialects.MMDetAssigner:
    """The assigner of DETRHead."""
    return dialects.MMDetAssigner(*configuration.cost_weights)


def focal_assigner(configuration: Configuration) -> dialects.MMDetAssigner:
    """The assigner of DeformableDETRHead and its heirs."""
    numbers = configuration.class_cost.numbers
    return dialects.MMDetAssigner(
        *configuration.cost_weights, dialects.mmdet_focal_cost(numbers["alpha"], numbers["gamma"])
    )


class OfLayers(nn.Module):
    """A head's losses, which takes lists of layers, and sizes apart, from outputs and targets of the usual form."""

    def __init__(self, loss: dialects.MMDetLoss) -> None:
        super().__init__()
        self.loss, self.matcher = loss, loss.assigner

    def forward(self, outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The losses of all layers."""
        layers = [*outputs.get("aux_outputs", ()), outputs]
        predictions = [[layer[name] for layer in layers] for name in ("pred_logits", "pred_boxes")]
        instances = [{name: target[name] for name in ("labels", "bboxes")} for target in targets]
        losses: dict[str, Tensor] = self.loss(*predictions, instances, [{"img_shape": t["img_shape"]} for t in targets])
        return losses


def losses_of(
    kind: Callable[..., dialects.MMDetLoss], assigner: Callable[[Configuration], dialects.MMDetAssigner]
) -> Callable[[Configuration], OfLayers]:
    """The losses of a head, with an assigner of their own."""

    def build(configuration: Configuration) -> OfLayers:
        return OfLayers(
            kind(
                configuration.num_classes,
                assigner(configuration),
                loss_weights(configuration),
                *configuration.class_loss.numbers.values(),
            )
        )

    return build


BOXES: dict[str, Callable[..., Tensor]] = {
    "cxcywh_to_xyxy": box_cxcywh_to_xyxy,
    "xyxy_to_cxcywh": box_xyxy_to_cxcywh,
    "iou": dialects.bbox_overlaps,
    "giou": partial(dialects.bbox_overlaps, mode="giou"),
    "elementwise_giou": partial(dialects.bbox_overlaps, mode="giou", is_aligned=True),
}

IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="mmdet",
        limits=LIMITS,
        boxes=BOXES,
        matcher=softmax_assigner,
        criterion=losses_of(dialects.MMDetDETRLoss, softmax_assigner),
    ),
    *(
        torch_implementation(
            name="dialects",
            profile=profile,
            limits=LIMITS,
            boxes=BOXES,
            matcher=focal_assigner,
            criterion=losses_of(kind, focal_assigner),
            postprocess=lambda configuration: dialects.MMDetPostProcess(configuration.top_k),
        )
        for profile, kind in (("mmdet-focal", dialects.MMDetFocalLoss), ("co-dino", dialects.CoDINOLoss))
    ),
)
