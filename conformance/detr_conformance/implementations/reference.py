"""The PyTorch reference as implementations, one for each profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

import detr_reference as reference
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_spec.configuration import Configuration
from detr_spec.implementation import Limits
from detr_spec.values import MIXED_DTYPES


def box_operations_of(package: Any) -> dict[str, Callable[..., Tensor]]:
    """The box operations of the reference, or of a package with its names."""
    return {
        "cxcywh_to_xyxy": package.box_cxcywh_to_xyxy,
        "xyxy_to_cxcywh": package.box_xyxy_to_cxcywh,
        "iou": lambda first, second: package.box_iou(first, second)[0],
        "giou": package.generalized_box_iou,
        "elementwise_giou": package.elementwise_generalized_box_iou,
    }


BOXES = box_operations_of(reference)


def detr_matcher(configuration: Configuration) -> reference.HungarianMatcher:
    """The matcher of the softmax dialect."""
    return reference.HungarianMatcher(*configuration.cost_weights)


def deformable_matcher(configuration: Configuration) -> reference.HungarianMatcher:
    """The matcher of the sigmoid dialect."""
    class_cost = reference.focal_cost(**configuration.class_cost.numbers)
    return reference.HungarianMatcher(*configuration.cost_weights, class_cost=class_cost)


def detr_criterion(configuration: Configuration, kind: Any = reference.SetCriterion, matcher: Any = None) -> Any:
    """The criterion of the softmax dialect, with a matcher of its own where none is given."""
    return kind(
        configuration.num_classes,
        matcher or detr_matcher(configuration),
        configuration.weight_dict,
        configuration.class_loss.numbers["eos_coef"],
        configuration.losses,
    )


def deformable_criterion(
    configuration: Configuration, kind: Any = reference.FocalSetCriterion, matcher: Any = None
) -> Any:
    """The criterion of the sigmoid dialect, with a matcher of its own where none is given."""
    return kind(
        configuration.num_classes,
        matcher or deformable_matcher(configuration),
        configuration.weight_dict,
        configuration.losses,
        *configuration.class_loss.numbers.values(),
    )


def heads(configuration: Configuration) -> reference.DetectionHeads:
    """The detection heads of the configuration's profile."""
    return reference.DetectionHeads(
        configuration.hidden_dim, configuration.num_classes, no_object=configuration.profile.has_no_object
    )


def decoder(configuration: Configuration) -> reference.Transformer:
    """An encoder layer and the decoder."""
    return reference.Transformer(
        configuration.hidden_dim,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=configuration.decoder_layers,
        feedforward_dim=2 * configuration.hidden_dim,
        return_intermediate=configuration.return_intermediate,
    )


class SmallBackbone(nn.Sequential):
    """Two convolutions, in place of a ResNet that would take most of a check's time."""

    num_channels = 8
    reach = 16

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, kernel_size=8, stride=8), nn.ReLU(), nn.Conv2d(8, 8, kernel_size=3, padding=1))


def model(configuration: Configuration) -> reference.DETR:
    """A whole detector of five queries."""
    return reference.DETR(
        SmallBackbone(),
        decoder(configuration),
        configuration.num_classes,
        num_queries=5,
        no_object=configuration.profile.has_no_object,
    )


EVERY_DTYPE = ("float32", "float64", "float16", "bfloat16", "autocast")
MATCHED_DTYPES = ("float32", "float64", "autocast")
LIMITS = Limits(dtypes=MATCHED_DTYPES).with_dtypes(
    {
        **dict.fromkeys(("boxes", "heads", "decoder", "model"), EVERY_DTYPE),
        **dict.fromkeys(("criterion", "masks", "gradients"), (*MATCHED_DTYPES, *MIXED_DTYPES)),
        "postprocess": (*EVERY_DTYPE, "float16-logits", "bfloat16-logits"),
    }
)
"""The matcher alone refuses narrow dtypes on the CPU; the criterion matches in float32. Autocast leaves inputs so."""

_OF_BOTH: dict[str, Any] = {
    "name": "reference",
    "limits": LIMITS,
    "boxes": BOXES,
    "heads": heads,
    "decoder": decoder,
    "model": model,
    "backbone_reach": SmallBackbone.reach,
}

IMPLEMENTATIONS = (
    torch_implementation(
        profile="detr",
        matcher=detr_matcher,
        criterion=detr_criterion,
        masks=detr_criterion,
        postprocess=lambda _: reference.PostProcess(),
        **_OF_BOTH,
    ),
    torch_implementation(
        profile="deformable",
        matcher=deformable_matcher,
        criterion=deformable_criterion,
        masks=deformable_criterion,
        postprocess=lambda configuration: reference.TopKPostProcess(configuration.top_k),
        **_OF_BOTH,
    ),
)
