"""The reference's twin of DINO under the suite's interfaces."""

from __future__ import annotations

from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.dialects.conditional_detr import criterion_of, matcher_of
from detr_conformance.implementations.reference import LIMITS
from detr_reference import dialects

IMPLEMENTATIONS = (
    torch_implementation(
        name="dialects",
        profile="dino",
        limits=LIMITS,
        matcher=matcher_of(dialects.DINOMatcher),
        criterion=criterion_of(dialects.DINOCriterion, dialects.DINOMatcher),
        postprocess=lambda configuration: dialects.DINOPostProcess(configuration.top_k),
    ),
)
