"""The reference's twin of D-FINE under the suite's interfaces."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from detr_conformance.bridges.inputs import Factory
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.rt_detr import loss_weights, matcher_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects
from detr_spec.configuration import Configuration


def criterion_of(kind: Callable[..., nn.Module], matcher: Callable[..., nn.Module], alpha: str) -> Factory:
    """Criteria of a kind, of D-FINE or a successor, each with a matcher; alpha: its name for that of the classes."""

    def build(configuration: Configuration) -> nn.Module:
        fgl, ddf = configuration.profile.further_losses
        edges, classes = fgl.term.numbers, configuration.class_loss.numbers
        return kind(
            matcher_of(matcher)(configuration),
            loss_weights(configuration) | {further.key: further.weight for further in (fgl, ddf)},
            gamma=classes["gamma"],
            num_classes=configuration.num_classes,
            reg_max=int(edges["reg_max"]),
            up=edges["up"],
            reg_scale=edges["scale"],
            temperature=ddf.term.numbers["temperature"],
            **{alpha: classes["alpha"]},
        )

    return build


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="d-fine",
        limits=LIMITS,
        matcher=matcher_of(dialects.DFINEMatcher),
        criterion=criterion_of(dialects.DFINECriterion, dialects.DFINEMatcher, "alpha"),
        postprocess=lambda configuration: dialects.DFINEPostProcessor(configuration.top_k),
    ),
)
