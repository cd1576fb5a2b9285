"""detr-spec: what a DETR set-prediction loss must do, as executable invariants."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from detr_spec.configuration import Configuration
from detr_spec.implementation import Assignment, BoxOperations, Heads, Implementation, Limits
from detr_spec.invariant import MUST, SHOULD, Invariant, invariant
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR, PROFILES, named_profile
from detr_spec.values import Answer, Detections, InvalidValue, Losses, Matching, Outputs, Target
from detr_spec.violation import NotProvided, Violation

if TYPE_CHECKING:
    from detr_spec.invariants import all_invariants, find_invariants

__all__ = [
    "DEFORMABLE",
    "DETR",
    "MUST",
    "PROFILES",
    "SHOULD",
    "Answer",
    "Assignment",
    "BoxOperations",
    "Configuration",
    "Detections",
    "Heads",
    "Implementation",
    "InvalidValue",
    "Invariant",
    "Limits",
    "Losses",
    "Matching",
    "NotProvided",
    "Outputs",
    "Profile",
    "Target",
    "Violation",
    "all_invariants",
    "find_invariants",
    "invariant",
    "named_profile",
]


def __getattr__(name: str) -> Any:
    """`all_invariants` and `find_invariants`, which import every invariant, and Hypothesis with them."""
    if name in ("all_invariants", "find_invariants"):
        return getattr(import_module("detr_spec.invariants"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
