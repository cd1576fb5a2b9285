"""An implementation of any profile, from the parts of the reference."""

from __future__ import annotations

from dataclasses import replace

from scipy.optimize import linear_sum_assignment
from torch import nn

import detr_reference as reference
from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.declared.boxes import Overlaps
from detr_conformance.declared.criterion import DeclaredCriterion
from detr_conformance.declared.matcher import DeclaredMatcher
from detr_conformance.declared.names import declared_outputs
from detr_conformance.declared.postprocess import DeclaredPostProcess
from detr_conformance.errors import UsageError
from detr_conformance.reference import LIMITS, SmallBackbone, decoder, heads, model
from detr_spec.configuration import Configuration
from detr_spec.declarable import drawn_profile
from detr_spec.implementation import Implementation
from detr_spec.profile import Profile

NAME = "declared"

SOLVED = {"assignment": ("float32", "float64")}
"""The dtypes of SciPy's solver."""


def declared_implementation(profile: Profile) -> Implementation:
    """A right implementation of the profile: every component, in PyTorch, and SciPy's solver."""
    overlaps = Overlaps(profile.boxes)
    whole = torch_implementation(
        name=NAME,
        profile=profile,
        limits=replace(LIMITS, component_dtypes={**LIMITS.component_dtypes, **SOLVED}),
        boxes={
            "cxcywh_to_xyxy": reference.box_cxcywh_to_xyxy,
            "xyxy_to_cxcywh": reference.box_xyxy_to_cxcywh,
            "iou": overlaps.iou,
            "giou": overlaps.giou,
            "elementwise_giou": overlaps.elementwise_giou,
        },
        matcher=DeclaredMatcher,
        criterion=DeclaredCriterion,
        masks=DeclaredCriterion,
        postprocess=DeclaredPostProcess,
        heads=lambda configuration: _spelt(heads(configuration), configuration),
        decoder=decoder,
        model=lambda configuration: _spelt(model(configuration), configuration),
        backbone_reach=SmallBackbone.reach,
    )
    solver = numpy_implementation(name=NAME, profile=profile, solver=linear_sum_assignment)
    return replace(whole, assignment=solver.assignment)


def _spelt(module: nn.Module, configuration: Configuration) -> nn.Module:
    """The module, whose outputs have the profile's names."""
    module.register_forward_hook(lambda *call: declared_outputs(call[-1], configuration.profile.keys))
    return module


def drawn_implementation(name: str) -> Implementation:
    """The reference built to a drawn profile, by its name, `declared:SEED`; raises `UsageError` without a seed."""
    _, colon, seed = name.partition(":")
    if not colon:
        raise UsageError(f"{name} is another implementation for each seed; expected {name}:SEED, or {name} in a soak")
    return declared_implementation(drawn_profile(int(seed)))
