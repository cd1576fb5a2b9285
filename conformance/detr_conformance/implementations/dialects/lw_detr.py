"""The reference's twin of LW-DETR under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.group_detr import GroupMatcher, group_criterion_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects

lw_detr_criterion = group_criterion_of(dialects.LWDETRCriterion, dialects.LWDETRMatcher)
"""LW-DETR's criterion, with a matcher of its own."""

IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="lw-detr",
        limits=LIMITS,
        matcher=lambda configuration: GroupMatcher(configuration, dialects.LWDETRMatcher),
        criterion=lw_detr_criterion,
        masks=lw_detr_criterion,
        postprocess=lambda configuration: dialects.LWDETRPostProcess(configuration.top_k),
    ),
)
