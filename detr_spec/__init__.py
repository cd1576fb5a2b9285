"""detr-spec: what a DETR set-prediction loss must do, as executable invariants."""

from detr_spec.configuration import Configuration
from detr_spec.implementation import Assignment, BoxOperations, Heads, Implementation, Limits
from detr_spec.invariant import MUST, SHOULD, Invariant, all_invariants, find_invariants, invariant
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR, PROFILES, named_profile
from detr_spec.values import Answer, Detections, InvalidValue, Losses, Matching, Outputs, Target
from detr_spec.violation import NotProvided, Violation

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
