"""The reference's twin of DEIM under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.d_fine import criterion_of
from detr_conformance.implementations.dialects.rt_detr import matcher_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects

IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="deim",
        limits=LIMITS,
        matcher=matcher_of(dialects.DEIMMatcher),
        criterion=criterion_of(dialects.DEIMCriterion, dialects.DEIMMatcher, "mal_alpha"),
        postprocess=lambda configuration: dialects.DEIMPostProcessor(configuration.top_k),
    ),
)
