"""The reference built to a profile, with its numbers in buffers of float32 whatever the dtype of the call."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any

import torch

from detr_conformance import torch_implementation
from detr_conformance.implementations.declared.boxes import Overlaps
from detr_conformance.implementations.declared.criterion import DeclaredCriterion
from detr_conformance.implementations.declared.matcher import DeclaredMatcher
from detr_conformance.implementations.declared.postprocess import DeclaredPostProcess
from detr_spec.implementation import Implementation, Limits
from detr_spec.parts import Part
from detr_spec.profile import Profile


class InBuffers:
    """Stands where a configuration does: its numbers, and those of its parts, are tensors [] of float32."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def __getattr__(self, name: str) -> Any:
        return _held(getattr(self._given, name))


def _held(value: Any) -> Any:
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float32)
    if isinstance(value, tuple):
        return tuple(map(_held, value))
    if isinstance(value, dict):
        return {key: _held(item) for key, item in value.items()}
    if isinstance(value, Part):
        return replace(value, **{name: _held(number) for name, number in value.numbers.items()})
    return InBuffers(value) if is_dataclass(value) else value


def in_buffers(profile: Profile, limits: Limits) -> Implementation:
    """The implementation of a profile whose numbers are held in float32."""
    held: Any = InBuffers
    return torch_implementation(
        name="in buffers",
        profile=profile,
        limits=limits,
        boxes=Overlaps(held(profile.boxes)).operations,
        matcher=lambda configuration: DeclaredMatcher(held(configuration)),
        criterion=lambda configuration: DeclaredCriterion(held(configuration)),
        masks=lambda configuration: DeclaredCriterion(held(configuration)),
        postprocess=lambda configuration: DeclaredPostProcess(held(configuration)),
    )
