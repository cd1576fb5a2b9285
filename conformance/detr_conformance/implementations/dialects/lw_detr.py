"""The reference's twin of LW-DETR under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.group_detr import GroupMatcher, group_criterion_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects

IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="lw-detr",
        limits=LIMITS,
        matcher=GroupMatcher,
        criterion=group_criterion_of(dialects.LWDETRCriterion),
        masks=group_criterion_of(dialects.LWDETRCriterion),
        postprocess=lambda configuration: dialects.LWDETRPostProcess(configuration.top_k),
    ),
)
