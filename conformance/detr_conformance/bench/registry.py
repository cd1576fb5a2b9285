"""All contestants, ours first."""

from __future__ import annotations

from detr_conformance.bench.contestant import Contestant
from detr_conformance.bench.others import OTHERS
from detr_conformance.bench.ours import OURS
from detr_spec.profile import Profile

CONTESTANTS: tuple[Contestant, ...] = (*OURS, *OTHERS)


def contestants_of(profile: Profile) -> tuple[tuple[int, Contestant], ...]:
    """The contestants of a dialect, each with its place in `CONTESTANTS`."""
    return tuple(item for item in enumerate(CONTESTANTS) if item[1].profile.name == profile.name)
