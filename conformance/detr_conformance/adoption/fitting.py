"""Which profile fits: a few invariants of each candidate, on a few cases, without shrinking what fails."""

from __future__ import annotations

from dataclasses import dataclass

from detr_conformance.judging.judge import not_asked
from detr_conformance.judging.search import first_failure
from detr_spec.implementation import Implementation
from detr_spec.invariant import Domain, Invariant
from detr_spec.invariants import all_invariants

TELLING = (
    "criterion.classification-value",
    "matcher.optimal-cost",
    "criterion.keys",
    "criterion.l1-value",
    "criterion.giou-value",
    "criterion.no-object-weight",
    "criterion.unmatched-query-any-class",
    "criterion.logit-shift",
    "auxiliary.keys",
    "matcher.valid-pairs",
    "matcher.logit-shift",
    "matcher.absent-classes",
    "postprocess.scores",
    "postprocess.labels",
    "postprocess.foreground-labels",
    "boxes.giou-definition",
)
"""The invariants that tell dialects apart, and those without which nothing else is worth asking; the most telling come
first."""

CASES = 8


@dataclass(frozen=True)
class Fit:
    """How an implementation with one profile fared: the telling invariants that held, and those that did not."""

    implementation: Implementation
    held: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def share(self) -> float:
        """The share of the invariants that held; 0 where none was asked."""
        return len(self.held) / max(1, len(self.held) + len(self.failed))

    def __str__(self) -> str:
        return f"{len(self.held)} of {len(self.held) + len(self.failed)}"


def fit(implementation: Implementation, least: float = 0.0) -> Fit | None:
    """How the implementation fares with the profile that it declares; None once less than a share is sure to hold."""
    invariants = {item.id: item for item in all_invariants()}
    telling = map(invariants.__getitem__, TELLING)
    asked = [item for item in telling if not_asked(item, implementation) is None]
    held: list[str] = []
    failed: list[str] = []
    for item in asked:
        (held if _holds(item, implementation) else failed).append(item.id)
        if (len(asked) - len(failed)) / len(asked) < least:
            return None
    return Fit(implementation, tuple(held), tuple(failed))


def _holds(invariant: Invariant, implementation: Implementation) -> bool:
    domain = Domain(implementation.profile, implementation.limits.of(invariant.component))
    try:
        found = first_failure(invariant, domain, implementation.component(invariant.component), CASES, seed=0)
    except Exception:
        return False
    return found.failure is None
