"""An implementation of any profile, from the parts of the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import nn

import detr_reference as reference
from detr_conformance.base.errors import UsageError
from detr_conformance.bridges.inputs import Factory
from detr_conformance.bridges.numpy_bridge import numpy_implementation
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_conformance.implementations.declared.boxes import Overlaps
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.declared.matcher import DeclaredMatcher
from detr_conformance.implementations.declared.names import OWN, columns_before, in_order, respelt
from detr_conformance.implementations.declared.postprocess import DeclaredPostProcess
from detr_conformance.implementations.reference import LIMITS, SmallBackbone, decoder, heads, model
from detr_spec.configuration import Configuration
from detr_spec.declarable import drawn_profile
from detr_spec.implementation import Implementation
from detr_spec.profile import Profile

NAME = "declared"

SOLVED = {"assignment": ("float32", "float64")}
"""The dtypes of SciPy's solver."""


def declared_implementation(profile: Profile, built_to: Profile | None = None) -> Implementation:
    """A right implementation of the profile: every component, in PyTorch, and SciPy's solver.

    built_to: another profile that it is built to, so that it is right but for what the two differ in.
    """
    built = profile if built_to is None else built_to

    def to(factory: Factory) -> Factory:
        return lambda configuration: factory(replace(configuration, profile=built))

    whole = torch_implementation(
        name=NAME,
        profile=profile,
        limits=replace(LIMITS.with_dtypes(SOLVED), mask_points=True),
        boxes=Overlaps(built.boxes).operations,
        matcher=to(DeclaredMatcher),
        criterion=to(DeclaredCriterion),
        masks=to(DeclaredCriterion),
        postprocess=to(DeclaredPostProcess),
        heads=to(lambda configuration: _spelt(heads(configuration), configuration)),
        decoder=decoder,
        model=to(lambda configuration: _spelt(model(configuration), configuration)),
        backbone_reach=SmallBackbone.reach,
    )
    solve = SOLVERS[built.non_finite_costs]
    solver = numpy_implementation(
        name=NAME, profile=profile, solver=solve, batch_solver=lambda costs: [solve(cost) for cost in costs]
    )
    return replace(whole, assignment=solver.assignment)


SOLVERS: dict[str, Callable[..., Any]] = {
    "refuse": linear_sum_assignment,
    "forbid": lambda cost: linear_sum_assignment(np.where(np.isnan(cost) | (cost == -np.inf), 0.0, cost)),
    "unchecked": lambda cost: linear_sum_assignment(np.where(np.isfinite(cost), cost, 0.0)),
}
"""What a profile may declare of costs that are not finite; one that is neither refused nor forbids a pair is 0."""


def _spelt(module: nn.Module, configuration: Configuration) -> nn.Module:
    """The module, whose outputs have the profile's names and order of logit columns."""
    profile = configuration.profile
    for part in module.modules():
        if isinstance(part, reference.DetectionHeads):
            for parameter in part.class_embed.parameters():
                parameter.data = parameter.data.roll(columns_before(profile), dims=0)
            for parameter in part.bbox_embed.layers[-1].parameters():
                parameter.data = in_order(parameter.data.movedim(0, -1), profile).movedim(-1, 0)
    module.register_forward_hook(lambda *call: respelt(call[-1], OWN, profile.keys))
    return module


def drawn_reference(name: str) -> tuple[Implementation, ...]:
    """The reference built to a drawn profile, by its name, `declared:SEED`; raises `UsageError` without a seed."""
    _, colon, seed = name.partition(":")
    if not colon:
        raise UsageError(f"{name} is another implementation for each seed; expected {name}:SEED")
    return (declared_implementation(drawn_profile(int(seed))),)
