"""The reference's twin of Conditional DETR under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.inputs import Factory
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects


def matcher_of(kind: type[dialects.ConditionalDETRMatcher | dialects.GroundingDINOMatcher]) -> Factory:
    """Matchers of a kind, of Conditional DETR or a successor."""
    return lambda configuration: kind(
        *configuration.cost_weights,
        configuration.class_cost.numbers["alpha"],
        configuration.class_cost.numbers["gamma"],
    )


def criterion_of(
    kind: type[dialects.ConditionalDETRCriterion], matcher: type[dialects.ConditionalDETRMatcher]
) -> Factory:
    """Criteria of a kind, each with a matcher of its own."""
    return lambda configuration: kind(
        configuration.num_classes,
        matcher_of(matcher)(configuration),
        configuration.weight_dict,
        configuration.class_loss.numbers["alpha"],
        configuration.losses,
        configuration.class_loss.numbers["gamma"],
    )


IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="conditional",
        limits=LIMITS,
        matcher=matcher_of(dialects.ConditionalDETRMatcher),
        criterion=criterion_of(dialects.ConditionalDETRCriterion, dialects.ConditionalDETRMatcher),
        postprocess=lambda configuration: dialects.ConditionalDETRPostProcess(configuration.top_k),
    ),
)
